"""The user's own queries with what they must answer: read from a ConfigMap, asked of the restored data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steps.backup import verify_expect
from steps.backup.load_rows import Target
from steps.backup.verify_expect import answer, mismatch
from steps.errors import BadParameters
from steps.log import log
from steps.mysql.connection import EVERY_ROW, query, session

SUFFIX = "-verify-queries"
"""Name of a cluster's ConfigMap: the cluster's and this."""

FIELDS = frozenset({"name", "sql", "expect"})
MOST_ROWS = 10_000
"""Rows of an answer that are looked at; a longer one is told as such."""

LOST = (2006, 2013, 2055)
"""Errors of a connection that broke off."""


@dataclass(frozen=True)
class Question:
    """One query of the user.

    Attributes:
        name: what it is about.
        sql: one statement.
        expect: see :mod:`steps.backup.verify_expect`.
    """

    name: str
    sql: str
    expect: Any


@dataclass(frozen=True)
class Answer:
    """What became of a question.

    Attributes:
        name: the question's.
        sql: likewise.
        expect: likewise.
        answer: what was answered, for people; empty where there was an error.
        bad: in what it is not as expected; empty where it is.
        seconds: that it took.
    """

    name: str
    sql: str
    expect: Any
    answer: str
    bad: str
    seconds: float


def parse(data: Mapping[str, str], place: str) -> list[Question]:
    """Read the queries of a ConfigMap: every key's value is a YAML list of {name, sql, expect}.

    Raises:
        BadParameters: something in it cannot be used; the message names key, entry and field.
    """
    import yaml

    questions: list[Question] = []
    for key in sorted(data):
        where = f"{place}, key {key}"
        try:
            entries = yaml.safe_load(data[key])
        except yaml.YAMLError as error:
            raise BadParameters(f"{where} is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(entries, list):
            raise BadParameters(
                f"{where} holds {type(entries).__name__}; a list of entries was expected, each with name, sql, expect"
            )
        questions += [_question(entry, f"{where}, entry {number}") for number, entry in enumerate(entries, 1)]
    names = [question.name for question in questions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadParameters(f"{place} has more than one query named {', '.join(twice)}: give each its own name")
    return questions


def _question(entry: Any, where: str) -> Question:
    if not isinstance(entry, dict):
        raise BadParameters(f"{where} is {entry!r:.60}; a map with name, sql and expect was expected")
    if unknown := sorted(str(key) for key in entry if key not in FIELDS):
        raise BadParameters(f"{where} has the field {', '.join(unknown)}; it takes {', '.join(sorted(FIELDS))}")
    if missing := sorted(FIELDS - set(entry)):
        raise BadParameters(f"{where} lacks {', '.join(missing)} (an expect of [] means: no row)")
    name, sql = entry["name"], entry["sql"]
    for field, value in (("name", name), ("sql", sql)):
        if not isinstance(value, str) or not value.strip():
            raise BadParameters(f"{where}: {field} is {value!r:.60}; a text was expected")
    try:
        verify_expect.check(entry["expect"])
    except BadParameters as error:
        raise BadParameters(f"{where} ({name}): {error}") from error
    return Question(name.strip(), sql.strip().rstrip(";").rstrip(), entry["expect"])


def ask_all(target: Target, questions: Sequence[Question], moment: datetime, timeout: float) -> list[Answer]:
    """Ask every question in a read-only session of its own, and judge the answers.

    Args:
        target: the restored server.
        questions: the user's.
        moment: that the backup holds.
        timeout: seconds for each.

    Raises:
        Temporary: the server is not there any more.
    """
    return [_asked(target, question, moment, timeout) for question in questions]


def _asked(target: Target, question: Question, moment: datetime, timeout: float) -> Answer:
    import mysql.connector

    started, said, bad = time.monotonic(), "", ""
    settings = (
        f"SET SESSION transaction_read_only=1, time_zone='+00:00', {EVERY_ROW}, "
        f"max_execution_time={max(1, round(timeout * 1000))}, lock_wait_timeout={max(1, round(timeout))}"
    )
    options: dict[str, Any] = {"what": "the scratch cluster", "read_timeout": timeout + 5}
    with session(target.host, target.port, target.credentials, **options) as connection:
        query(connection, settings)
        try:
            rows, bad = _rows(connection, question.sql)
            if time.monotonic() - started >= timeout:
                bad = f"no answer within {timeout:g} s"  # an interrupted SLEEP() answers 1
            said = answer(rows)
            bad = bad or mismatch(question.expect, rows, moment)
        except mysql.connector.Error as error:
            late = time.monotonic() - started >= timeout
            if error.errno in LOST and not late:
                raise  # the server went away: this tells nothing of the data
            bad = f"no answer within {timeout:g} s" if late else f"the server refused it: {error}"
    took = time.monotonic() - started
    log("query asked", name=question.name, good=not bad, why=bad, seconds=round(took, 3))
    return Answer(question.name, question.sql, question.expect, said, bad, round(took, 3))


def _rows(connection: Any, sql: str) -> tuple[list[tuple[Any, ...]], str]:
    """Return the first rows of an answer, and why it is none that can be judged; a longer one is cut off."""
    cursor = connection.cursor()
    cursor.execute(sql)
    if not cursor.with_rows:
        return [], "it is no query: it has no rows to compare"
    rows = list(cursor.fetchmany(MOST_ROWS + 1))
    if len(rows) > MOST_ROWS:
        # The rest is not read: it may be of any length.
        connection.shutdown()
        return rows[:MOST_ROWS], f"the answer has more than {MOST_ROWS} rows: count or limit them in SQL"
    if cursor.nextset():
        return rows, "it is more than one statement: give each query an entry of its own"
    cursor.close()
    return rows, ""
