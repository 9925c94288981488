"""Sample rows shaped like the well-known employees database: the same seed and number of rows, the same rows.

Everything is made in blocks of employees. A block depends on the seed and its own number only, so blocks can be made
in any order and by any number of workers, and a larger data set begins with the rows of a smaller one (but for the
last block's end). How many rows an employee has follows from the years of service; each block has every number of
years equally often, so a block's number of rows is known before it is made. Dates end at a fixed day.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from random import Random

from steps.mysql.sample_names import (
    DEPARTMENTS,
    FIRST,
    LADDER,
    LADDERS,
    LAST,
    MANAGER,
    STARTING_PAY,
    WEIGHTS,
)

GENERATION = 1
"""Changes when the same seed and rows no longer give the same data."""

LONGEST, REPEATS = 18, 50
BLOCK = LONGEST * REPEATS
"""Employees in a whole block: each number of years from 1 to LONGEST occurs REPEATS times."""

FIRST_EMPLOYEE = 10_001
MANAGERS, MANAGER_YEARS = 2 * len(DEPARTMENTS), 12
FIXED_ROWS = len(DEPARTMENTS) + MANAGERS
SMALLEST = 1000
"""Fewest rows that a data set may have: its first employees are the managers."""

TODAY, FOR_EVER = date(2026, 1, 1), "9999-01-01"
_START = date(1930, 1, 1)
_DAYS = [(_START + timedelta(days=n)).isoformat() for n in range((date(2046, 1, 1) - _START).days)]
_TODAY, _YEAR = (TODAY - _START).days, 365

TABLES = ("departments", "employees", "dept_manager", "dept_emp", "titles", "salaries")
"""The tables, each after those that it refers to."""

DDL = {
    "departments": "dept_no CHAR(4) NOT NULL, dept_name VARCHAR(40) NOT NULL,"
    " PRIMARY KEY (dept_no), UNIQUE KEY dept_name (dept_name)",
    "employees": "emp_no INT NOT NULL, birth_date DATE NOT NULL, first_name VARCHAR(14) NOT NULL,"
    " last_name VARCHAR(16) NOT NULL, gender ENUM('M','F') NOT NULL, hire_date DATE NOT NULL, PRIMARY KEY (emp_no)",
    "dept_manager": "emp_no INT NOT NULL, dept_no CHAR(4) NOT NULL, from_date DATE NOT NULL, to_date DATE NOT NULL,"
    " PRIMARY KEY (emp_no, dept_no), KEY dept_no (dept_no),"
    " FOREIGN KEY (emp_no) REFERENCES employees (emp_no) ON DELETE CASCADE,"
    " FOREIGN KEY (dept_no) REFERENCES departments (dept_no) ON DELETE CASCADE",
    "dept_emp": "emp_no INT NOT NULL, dept_no CHAR(4) NOT NULL, from_date DATE NOT NULL, to_date DATE NOT NULL,"
    " PRIMARY KEY (emp_no, dept_no), KEY dept_no (dept_no),"
    " FOREIGN KEY (emp_no) REFERENCES employees (emp_no) ON DELETE CASCADE,"
    " FOREIGN KEY (dept_no) REFERENCES departments (dept_no) ON DELETE CASCADE",
    "titles": "emp_no INT NOT NULL, title VARCHAR(50) NOT NULL, from_date DATE NOT NULL, to_date DATE,"
    " PRIMARY KEY (emp_no, title, from_date),"
    " FOREIGN KEY (emp_no) REFERENCES employees (emp_no) ON DELETE CASCADE",
    "salaries": "emp_no INT NOT NULL, salary INT NOT NULL, from_date DATE NOT NULL, to_date DATE NOT NULL,"
    " PRIMARY KEY (emp_no, from_date),"
    " FOREIGN KEY (emp_no) REFERENCES employees (emp_no) ON DELETE CASCADE",
}
"""Columns and keys of each table, as in CREATE TABLE."""


def titles_of(years: int) -> int:
    """Return how many titles an employee of so many years has had."""
    return 1 + (years >= 11) + (years >= 17)


def departments_of(years: int) -> int:
    """Return how many departments an employee of so many years has worked in."""
    return 1 + (years in (9, 15))


def rows_of(years: int) -> int:
    """Return how many rows an employee of so many years has in all tables."""
    return 1 + departments_of(years) + titles_of(years) + years


BLOCK_ROWS = REPEATS * sum(rows_of(years) for years in range(1, LONGEST + 1))


@dataclass(frozen=True)
class Block:
    """One block of employees, to be made.

    Attributes:
        number: 0 and up; block 0 also has the departments and the managers.
        rows: exactly how many rows it has, in all tables together.
    """

    number: int
    rows: int


def blocks(rows: int) -> list[Block]:
    """Return the blocks that together have exactly `rows` rows (at least SMALLEST)."""
    left = rows
    made: list[Block] = []
    while left > 0:
        whole = BLOCK_ROWS + (0 if made else FIXED_ROWS)
        # An end too short for an employee of its own goes to the block before it.
        take = left if left < whole + rows_of(1) else whole
        made.append(Block(len(made), take))
        left -= take
    return made


def make(seed: int, block: Block) -> dict[str, list[str]]:
    """Return the rows of a block by table, each as SQL text in parentheses."""
    rng = Random(f"tiphys {GENERATION} {seed} {block.number}")
    rows: dict[str, list[str]] = {table: [] for table in TABLES}
    first = block.number == 0
    if first:
        rows["departments"] = [f"('d{n:03}','{name}')" for n, name in enumerate(DEPARTMENTS, start=1)]
    left = block.rows - (FIXED_ROWS if first else 0)
    number = FIRST_EMPLOYEE + block.number * BLOCK
    for position, years in enumerate(_careers(rng, first, left)):
        managing = position if first and position < MANAGERS else None
        _employee(rng, number + position, *years, managing, rows)
    return rows


def _careers(rng: Random, first: bool, left: int) -> Iterator[tuple[int, int]]:
    """Yield years of service and number of salaries of each employee, until `left` rows are given out."""
    years = [n for n in range(1, LONGEST + 1) for _ in range(REPEATS)]
    if first:
        for _ in range(MANAGERS):
            years.remove(MANAGER_YEARS)
    rng.shuffle(years)
    if first:
        years = [MANAGER_YEARS] * MANAGERS + years
    for position, each in enumerate(years):
        needs = rows_of(each)
        last = position + 1 == len(years)
        if last or left - needs < rows_of(1):
            # Whatever is left cannot be another employee: this one takes it all, as more or fewer salaries.
            taken = each if left >= needs else 1
            yield taken, taken + left - rows_of(taken)
            return
        yield each, each
        left -= needs


def _employee(
    rng: Random,
    number: int,
    years: int,
    salaries: int,
    managing: int | None,
    rows: dict[str, list[str]],
) -> None:
    """Append one employee's rows."""
    random = rng.random
    department = _department(random()) if managing is None else managing % len(DEPARTMENTS)
    # Four of five are still employed; the last of the others' salaries ends when they left.
    stays = random() < 0.8 if managing is None else managing >= len(DEPARTMENTS)
    served = max(years, salaries) * _YEAR
    day = int(random() * _YEAR)
    hired = _TODAY - served + day if stays else _TODAY - served - day - int(random() * 10) * _YEAR
    if managing is not None and not stays:
        hired = _handover(managing) - served
    ends = FOR_EVER if stays else _DAYS[hired + served]
    gender = "M" if random() < 0.6 else "F"
    names = FIRST[gender]
    # The square makes the names at the front of the lists common and those at the end rare.
    name = f"'{names[int(random() ** 2 * len(names))]}','{LAST[int(random() ** 2 * len(LAST))]}'"
    birth = _DAYS[hired - 20 * _YEAR - int(random() * 25 * _YEAR)]
    rows["employees"].append(f"({number},'{birth}',{name},'{gender}','{_DAYS[hired]}')")
    _departments(rng, number, years, department, hired, ends, rows)
    _titles(rng, number, years, department, hired, ends, managing, rows)
    pay = STARTING_PAY[department] * math.exp((random() + random() + random() - 1.5) * 0.35)
    salary, out = int(pay), rows["salaries"]
    start = hired
    for _ in range(salaries - 1):
        out.append(f"({number},{salary},'{_DAYS[start]}','{_DAYS[start + _YEAR]}')")
        start += _YEAR
        salary += int(random() * 5000) - 800
    out.append(f"({number},{salary},'{_DAYS[start]}','{ends}')")


_SHARES = [share / sum(WEIGHTS) for share in accumulate(WEIGHTS)]


def _department(chance: float) -> int:
    return next((n for n, share in enumerate(_SHARES) if chance < share), len(_SHARES) - 1)


def _handover(managing: int) -> int:
    """Return the day on which a department's first manager leaves and its second one begins."""
    return _TODAY - 5 * _YEAR - 100 * (managing % len(DEPARTMENTS))


def _departments(
    rng: Random, number: int, years: int, department: int, hired: int, ends: str, rows: dict[str, list[str]]
) -> None:
    begins = _DAYS[hired]
    if departments_of(years) == 2:
        moved = _DAYS[hired + years // 2 * _YEAR + int(rng.random() * 300)]
        rows["dept_emp"].append(f"({number},'d{department + 1:03}','{begins}','{moved}')")
        department = (department + 1 + int(rng.random() * (len(DEPARTMENTS) - 1))) % len(DEPARTMENTS)
        begins = moved
    rows["dept_emp"].append(f"({number},'d{department + 1:03}','{begins}','{ends}')")


def _titles(
    rng: Random,
    number: int,
    years: int,
    department: int,
    hired: int,
    ends: str,
    managing: int | None,
    rows: dict[str, list[str]],
) -> None:
    count = titles_of(years)
    ladder = LADDERS.get(DEPARTMENTS[department], LADDER)
    begins = hired
    for step in range(count):
        last = step == count - 1
        title = MANAGER if last and managing is not None else ladder[step]
        until = begins + 4 * _YEAR + int(rng.random() * 3 * _YEAR)
        if managing is not None and not last:
            # A department's second manager follows the first one on the day of the handover.
            until = _handover(managing) if managing >= len(DEPARTMENTS) else until
        rows["titles"].append(f"({number},'{title}','{_DAYS[begins]}','{ends if last else _DAYS[until]}')")
        if last and managing is not None:
            rows["dept_manager"].append(f"({number},'d{department + 1:03}','{_DAYS[begins]}','{ends}')")
        begins = until
