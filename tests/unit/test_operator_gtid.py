"""GTID sets as values."""

from __future__ import annotations

import pytest

from tiphys.local.operator.gtid import GtidSet

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "bbbbbbbb-71ca-11e1-9e33-c80aa9429562"
parse = GtidSet.parse


def test_notation_of_the_server_is_read() -> None:
    text = f"{A}:1-5:7:9-10,\n{B.upper()}:3:tag_one:1-2"
    assert parse(text).parts == {A: ((1, 5), (7, 7), (9, 10)), B: ((3, 3),), f"{B}:tag_one": ((1, 2),)}
    assert len(parse(text)) == 11
    assert parse("") == parse("  ")


@pytest.mark.parametrize(
    ("big", "small", "contained"),
    [
        (f"{A}:1-10", f"{A}:2-5:9", True),
        (f"{A}:1-10", f"{A}:9-11", False),
        (f"{A}:1-4:6-10", f"{A}:5", False),
        (f"{A}:1-4,{A}:5-10", f"{A}:1-10", True),
        (f"{A}:1-10", f"{B}:1", False),
        (f"{A}:1-10", f"{A}:red:1", False),
        ("", "", True),
        ("", f"{A}:1", False),
    ],
)
def test_containment(big: str, small: str, contained: bool) -> None:
    assert parse(big).contains(parse(small)) is contained


def test_union_joins_neighbours() -> None:
    assert parse(f"{A}:1-3:8").union(parse(f"{A}:4-7,{B}:1")).parts == {A: ((1, 8),), B: ((1, 1),)}


def test_what_is_no_set_is_refused() -> None:
    with pytest.raises(ValueError, match="no GTID set"):
        parse("nonsense")
