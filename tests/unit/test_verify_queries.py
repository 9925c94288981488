"""The user's own queries: what their list may hold, and when an answer is as expected."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from steps.backup.verify_expect import answer, duration, expectation, mismatch
from steps.backup.verify_queries import Question, parse
from steps.errors import BadParameters

MOMENT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172800)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "d", "1w", "1.5h", "-1h", "1h x"])
def test_what_is_no_length_of_time_is_told(text: str) -> None:
    with pytest.raises(BadParameters, match="no length of time"):
        duration(text)


GOOD: list[tuple[Any, list[tuple[Any, ...]]]] = [
    (42, [(42,)]),
    (42, [(Decimal("42.00"),)]),
    ("42.5", [(Decimal("42.50"),)]),
    (0.1, [(0.1,)]),
    (0.3, [(Decimal("0.3"),)]),
    (True, [(1,)]),
    (None, [(None,)]),
    ("Zoë", [("Zoë",)]),
    ("Zoë", [("Zoë".encode(),)]),
    ("0xFF00", [(b"\xff\x00",)]),
    (date(2026, 11, 20), [(date(2026, 11, 20),)]),
    ("2026-11-20 12:00:00", [(datetime(2026, 11, 20, 12),)]),
    ([], []),
    ([[1, "a"], [2, None]], [(1, "a"), (2, None)]),
    ([1, 2], [(1,), (2,)]),
    (">= 100", [(100,)]),
    ("> 1_000", [(Decimal("1000.5"),)]),
    ("!= 0", [(1,)]),
    ("<= 5", [("5",)]),
    ("< 2026-11-21", [(date(2026, 11, 20),)]),
    ("newer than 1d", [(datetime(2026, 11, 20, 3, 0, 1),)]),
    ("older than 1d", [(datetime(2026, 11, 20, 2, 59, 59),)]),
    ("newer than 1h", [("2026-11-21 02:30:00",)]),
    ("any rows", [(1,), (2,)]),
    ("not a comparison", [("not a comparison",)]),
]


@pytest.mark.parametrize(("expect", "rows"), GOOD)
def test_an_answer_as_expected(expect: Any, rows: list[tuple[Any, ...]]) -> None:
    assert mismatch(expect, rows, MOMENT) == ""


BAD: list[tuple[Any, list[tuple[Any, ...]], str]] = [
    (42, [(41,)], "the value is 41"),
    (42, [("forty-two",)], "the value is forty-two"),
    (0, [(None,)], "the value is NULL"),
    (None, [(0,)], "the value is 0"),
    (True, [(2,)], "the value is 2"),
    ("a", [("A",)], "the value is A"),
    (42, [], "the answer is 0 rows; one value was expected"),
    (42, [(42, 1)], "the answer is a row of 2 values; one value was expected"),
    ([], [(1,)], "the answer has 1 rows, 0 were expected"),
    ([1, 2], [(1,)], "the answer has 1 rows, 2 were expected"),
    ([[1, "a"]], [(1, "b")], "row 1, column 2 is b, a was expected"),
    ([[1]], [(1, 2)], "row 1 has 2 values, 1 were expected"),
    (">= 100", [(99,)], "the value is 99"),
    (">= 100", [(None,)], "the value is NULL, which is not >= 100"),
    (">= 100", [("many",)], "the value many cannot be compared with 100"),
    ("< 2026-11-21", [(5,)], "the value 5 cannot be compared"),
    ("newer than 1d", [(datetime(2026, 11, 20, 3, 0),)], "the value is 2026-11-20 03:00:00, that is 86400 s before"),
    ("older than 1d", [(datetime(2026, 11, 20, 3, 0, 1),)], "that is 86399 s before the backup's moment"),
    ("newer than 1d", [("yesterday",)], "the value yesterday is no time"),
    ("newer than 1d", [(None,)], "the value NULL is no time"),
    ("any rows", [], "there is no row"),
]


@pytest.mark.parametrize(("expect", "rows", "said"), BAD)
def test_an_answer_that_is_not_as_expected_says_why(expect: Any, rows: list[tuple[Any, ...]], said: str) -> None:
    assert mismatch(expect, rows, MOMENT).startswith(said) or said in mismatch(expect, rows, MOMENT)


def test_long_answers_are_cut_for_people() -> None:
    assert answer([(n, "x") for n in range(5)]) == "(0, x), (1, x), (2, x) and 2 more rows"
    assert answer([("y" * 300,)]).endswith("… (300 characters)")
    assert (answer([]), expectation([]), expectation([[1, None]])) == ("no row", "no row", "(1, NULL)")


GOOD_LIST = """
- name: orders
  sql: SELECT COUNT(*) FROM shop.orders;
  expect: ">= 100"
- {name: nothing lost, sql: SELECT 1 FROM shop.lost, expect: []}
"""


def test_queries_are_read_from_every_key() -> None:
    found = parse({"b.yaml": "- {name: two, sql: SELECT 2, expect: 2}", "a.yaml": GOOD_LIST}, "ConfigMap c")
    assert [each.name for each in found] == ["orders", "nothing lost", "two"]
    assert found[0] == Question("orders", "SELECT COUNT(*) FROM shop.orders", ">= 100")
    assert found[1].expect == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", r"ConfigMap c, key q is no YAML: .*line 1"),
        ("name: x", r"key q holds dict; a list of entries was expected"),
        ("- SELECT 1", r"key q, entry 1 is 'SELECT 1'; a map with name, sql and expect"),
        ("- {name: x, sql: SELECT 1}", r"entry 1 lacks expect \(an expect of \[\] means: no row\)"),
        ("- {name: x, sql: SELECT 1, expects: 1}", r"has the field expects; it takes expect, name, sql"),
        ("- {name: x, sql: 5, expect: 1}", r"entry 1: sql is 5; a text was expected"),
        ("- {name: x, sql: SELECT 1, expect: {a: 1}}", r"entry 1 \(x\): expect is a map"),
        ("- {name: x, sql: SELECT 1, expect: [[1], [1, 2]]}", r"rows of different lengths"),
        ("- {name: x, sql: SELECT 1, expect: newer than soon}", r"'soon' is no length of time"),
        ("- {name: x, sql: SELECT 1, expect: '> ten'}", r"compares with 'ten', which is neither a number nor a time"),
        ("- {name: x, sql: S, expect: 1}\n- {name: x, sql: S, expect: 1}", r"more than one query named x"),
    ],
)
def test_a_list_that_cannot_be_used_names_the_place(text: str, said: str) -> None:
    with pytest.raises(BadParameters, match=said):
        parse({"q": text}, "ConfigMap c")
