"""Sample rows: exact counts, keys that fit each other, sensible careers, and the same again from the same seed."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from datetime import date
from typing import Any

import pytest

from steps.errors import Refused
from steps.mysql.sample_data import BLOCK, BLOCK_ROWS, DEPARTMENTS, FIXED_ROWS, SMALLEST, TABLES, TODAY, blocks, make
from steps.mysql.sample_load import MARKS, DataSet, Found, batches, decide

Rows = dict[str, list[tuple[Any, ...]]]


def data(rows: int, seed: int = 1) -> Rows:
    """All rows of a data set, as values."""
    made: Rows = {table: [] for table in TABLES}
    for block in blocks(rows):
        for table, texts in make(seed, block).items():
            made[table] += [ast.literal_eval(text) for text in texts]
    return made


@pytest.fixture(scope="module")
def sample() -> Rows:
    return data(40_000)


@pytest.mark.parametrize("rows", [SMALLEST, 1001, 1002, 1003, BLOCK_ROWS + FIXED_ROWS, BLOCK_ROWS + FIXED_ROWS + 1])
@pytest.mark.parametrize("more", [0, 5, 11_849])
def test_exactly_as_many_rows_as_asked(rows: int, more: int) -> None:
    for block in blocks(rows + more):
        assert sum(map(len, make(7, block).values())) == block.rows
    assert sum(block.rows for block in blocks(rows + more)) == rows + more


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    block = blocks(30_000)[1]
    assert make(1, block) == make(1, block)
    assert make(1, block)["salaries"] != make(2, block)["salaries"]


def test_a_larger_data_set_begins_as_a_smaller_one() -> None:
    small, large = data(20_000), data(40_000)
    whole = [row for row in small["employees"] if row[0] < 10_001 + BLOCK]
    assert large["employees"][: len(whole)] == whole


def test_primary_keys_are_unique(sample: Rows) -> None:
    keys = {
        "departments": lambda row: row[0],
        "employees": lambda row: row[0],
        "dept_emp": lambda row: row[:2],
        "dept_manager": lambda row: row[:2],
        "titles": lambda row: row[:3],
        "salaries": lambda row: (row[0], row[2]),
    }
    for table, key in keys.items():
        assert len({key(row) for row in sample[table]}) == len(sample[table]), table


def test_every_reference_leads_somewhere(sample: Rows) -> None:
    employees = {row[0] for row in sample["employees"]}
    departments = {row[0] for row in sample["departments"]}
    for table in ("dept_emp", "dept_manager", "titles", "salaries"):
        assert {row[0] for row in sample[table]} <= employees, table
    for table in ("dept_emp", "dept_manager"):
        assert {row[1] for row in sample[table]} <= departments, table


def test_every_employee_has_a_department_a_title_and_a_salary(sample: Rows) -> None:
    employees = {row[0] for row in sample["employees"]}
    for table in ("dept_emp", "titles", "salaries"):
        assert {row[0] for row in sample[table]} == employees, table


def test_every_department_had_two_managers_one_after_the_other(sample: Rows) -> None:
    by_department = defaultdict(list)
    for number, department, begins, ends in sample["dept_manager"]:
        by_department[department].append((begins, ends, number))
    assert len(by_department) == len(DEPARTMENTS)
    for former, present in map(sorted, by_department.values()):
        assert former[1] == present[0] and present[1] == "9999-01-01"
    titles = {(row[0], row[2]) for row in sample["titles"] if row[1] == "Manager"}
    assert titles == {(row[0], row[2]) for row in sample["dept_manager"]}


def test_periods_follow_each_other_and_begin_when_hired(sample: Rows) -> None:
    hired = {row[0]: row[5] for row in sample["employees"]}
    for table, begins, ends in (("salaries", 2, 3), ("titles", 2, 3), ("dept_emp", 2, 3)):
        periods = defaultdict(list)
        for row in sample[table]:
            periods[row[0]].append((row[begins], row[ends]))
        for number, spans in periods.items():
            spans.sort()
            assert spans[0][0] == hired[number], (table, number)
            assert all(one[1] == other[0] for one, other in zip(spans, spans[1:], strict=False)), (table, number)
            assert all(begin < end for begin, end in spans), (table, number)


def test_people_are_of_working_age_and_in_the_past(sample: Rows) -> None:
    for _, birth, _, _, _, hire in sample["employees"]:
        age = (date.fromisoformat(hire) - date.fromisoformat(birth)).days / 365
        assert 19.9 < age < 45.1
        assert date.fromisoformat(hire) < TODAY


def test_the_shape_is_a_company_s(sample: Rows) -> None:
    share = {table: len(sample[table]) / 40_000 for table in TABLES}
    assert 0.70 < share["salaries"] < 0.75 and 0.07 < share["employees"] < 0.08
    current = sum(row[3] == "9999-01-01" for row in sample["salaries"]) / len(sample["employees"])
    assert 0.75 < current < 0.85
    pay = sorted(row[1] for row in sample["salaries"])
    assert pay[0] > 20_000 and pay[-1] < 250_000 and 45_000 < pay[len(pay) // 2] < 80_000
    largest = Counter(row[1] for row in sample["dept_emp"]).most_common(1)[0][0]
    assert dict(sample["departments"])[largest] == "Development"
    assert any(not row[2].isascii() for row in sample["employees"])


def test_rows_go_in_statements_of_limited_size() -> None:
    rows = [f"({n},'x')" for n in range(1000)]
    texts = list(batches(rows, 1000))
    assert ",".join(texts) == ",".join(rows) and max(map(len, texts)) <= 1000 and len(texts) > 5
    assert list(batches([])) == []


WANTED = DataSet(20_000, 1)
ALL = frozenset(block.number for block in blocks(20_000))


def found(asked: DataSet | None = WANTED, done: frozenset[int] = ALL, *others: str) -> Found:
    return Found(True, frozenset({*TABLES, MARKS, *others}), asked, done)


def test_what_to_do_with_what_is_there() -> None:
    assert decide(Found(False), "s", WANTED, False) == "make"
    assert decide(Found(True), "s", WANTED, False) == "make", "an empty schema holds nothing to lose"
    assert decide(found(), "s", WANTED, False) == "nothing"
    assert decide(found(done=frozenset({0})), "s", WANTED, False) == "resume"
    half = Found(True, frozenset({MARKS, "departments"}), WANTED, frozenset())
    assert decide(half, "s", WANTED, False) == "make", "it broke off before its tables were there"
    assert decide(found(DataSet(20_000, 2)), "s", WANTED, False) == "make", "ours can be made again from its seed"
    assert decide(found(), "s", WANTED, True) == "make"


def test_what_others_made_is_left_alone() -> None:
    foreign = Found(True, frozenset({"orders"}))
    mixed = found(DataSet(20_000, 2), ALL, "orders")
    for each in (foreign, mixed):
        with pytest.raises(Refused, match="did not make .*orders.*replace=true"):
            decide(each, "s", WANTED, False)
        assert decide(each, "s", WANTED, True) == "make"
    # One whose tables happen to have our names, without our marks.
    with pytest.raises(Refused):
        decide(Found(True, frozenset(TABLES)), "s", WANTED, False)
