"""Giving every member of a cluster the same settings at once, or none of them: one that refuses undoes the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mysql.connector

from steps.errors import StepError
from steps.log import log
from steps.mysql.connection import query, quoted
from steps.mysql.settings import Setting
from steps.mysql.settings_check import VALUE_SQL

KIND_SQL = "SELECT data_type FROM performance_schema.variables_metadata WHERE variable_name = %s"
PERSISTED_SQL = "SELECT variable_value FROM performance_schema.persisted_variables WHERE variable_name = %s"


class NotTaken(StepError):
    """A member did not take a setting; every member has its old values again, unless the message says otherwise."""


@dataclass(frozen=True)
class Kept:
    """A variable as it was before.

    Attributes:
        name: of the variable.
        value: its global value, as the server writes it.
        persisted: what mysqld-auto.cnf said of it; None for nothing.
    """

    name: str
    value: str
    persisted: str | None


def set_everywhere(members: Mapping[str, Any], settings: Sequence[Setting]) -> dict[str, list[Kept]]:
    """Set dynamic variables on every member, persisted, and read each back.

    Args:
        members: pod to an open connection to its server; their ``sql_mode`` is changed.
        settings: dynamic variables, checked before (:mod:`steps.mysql.settings_check`).

    Returns:
        What each member had before, by pod; `put_back` takes it.

    Raises:
        NotTaken: a member refused one, or has another value than was asked for.
    """
    kept: dict[str, list[Kept]] = {}
    for pod, connection in members.items():
        kept[pod] = []
        try:
            # A number out of range is an error then, and not cut to fit.
            query(connection, "SET SESSION sql_mode = 'STRICT_ALL_TABLES'")
            for one in settings:
                before = _keep(connection, one.name)
                kept[pod].append(before)
                query(connection, f"SET PERSIST {quoted(one.name)} = %s", [_value(connection, one.name, one.value)])
                log("set", pod=pod, name=one.name, before=before.value, now=_now(connection, one.name))
        except (mysql.connector.Error, StepError) as error:
            raise _undone(pod, str(getattr(error, "msg", "") or error), members, kept) from error
    if drift := differing(members, [one.name for one in settings]):
        raise _undone("a member", f"the members differ: {'; '.join(drift)}", members, kept)
    return kept


def put_back(connection: Any, kept: Sequence[Kept]) -> None:
    """Give one member its values from before, also in mysqld-auto.cnf. May run twice.

    Raises:
        mysql.connector.Error: the server does not take them, or is gone.
    """
    for one in reversed(kept):
        verb = "GLOBAL" if one.persisted is None else "PERSIST"
        query(connection, f"SET {verb} {quoted(one.name)} = %s", [_value(connection, one.name, one.value)])
        if one.persisted is None:
            query(connection, f"RESET PERSIST IF EXISTS {quoted(one.name)}")
        elif one.persisted != one.value:
            value = _value(connection, one.name, one.persisted)
            query(connection, f"SET PERSIST_ONLY {quoted(one.name)} = %s", [value])


def differing(members: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return which variables have not the same value on every member, for people."""
    found = []
    for name in names:
        values = {pod: _now(connection, name) for pod, connection in members.items()}
        if len(set(values.values())) > 1:
            found.append(f"{name} is {', '.join(f'{value} on {pod}' for pod, value in values.items())}")
    return found


def _undone(who: str, why: str, members: Mapping[str, Any], kept: Mapping[str, Sequence[Kept]]) -> NotTaken:
    """Undo what was set on every member, and return the error to raise."""
    stuck = []
    for pod, before in kept.items():
        try:
            put_back(members[pod], before)
        except (mysql.connector.Error, StepError) as error:
            stuck.append(f"{pod}: {getattr(error, 'msg', '') or error}")
    after = f"What could NOT be put back: {'; '.join(stuck)}" if stuck else "Every member has its old values again"
    return NotTaken(f"{who} did not take the settings: {why}. {after}.")


def _keep(connection: Any, name: str) -> Kept:
    persisted = query(connection, PERSISTED_SQL, [name])
    return Kept(name, _now(connection, name), str(persisted[0][0]) if persisted else None)


def _now(connection: Any, name: str) -> str:
    rows = query(connection, VALUE_SQL, [name])
    if not rows:
        raise StepError(f"there is no variable {name} in this server")
    return str(rows[0][0])


def _value(connection: Any, name: str, value: int | float | str) -> int | float | str:
    """Return a value in the type that the server wants: ``SET x = '300'`` is an error where x is a number."""
    rows = query(connection, KIND_SQL, [name])
    kind = str(rows[0][0]) if rows else ""
    if kind == "Integer":
        return int(value)
    return float(value) if kind == "Numeric" else str(value)
