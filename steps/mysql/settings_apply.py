"""Giving every member of a cluster the same settings at once, and the ones from before again."""

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

WRONG_VALUE = 1231


class NotTaken(StepError):
    """A member does not take a setting.

    Attributes:
        pod: whose.
        why: what it said.
    """

    def __init__(self, pod: str, why: str) -> None:
        super().__init__(f"{pod} did not take the settings: {why.rstrip('.')}.")
        self.pod, self.why = pod, why


@dataclass(frozen=True)
class Kept:
    """A variable of one member as it was before.

    Attributes:
        name: of the variable.
        value: its global value, as the server writes it.
        persisted: what mysqld-auto.cnf said of it; None for nothing.
        dynamic: whether it can be set while the server runs.
    """

    name: str
    value: str
    persisted: str | None
    dynamic: bool = True


def remember(connection: Any, dynamic: Mapping[str, bool]) -> list[Kept]:
    """Return variables of one member as they are.

    Args:
        connection: to its server.
        dynamic: name to whether it can be set while the server runs.
    """
    found = []
    for name, can_be_set in dynamic.items():
        persisted = query(connection, PERSISTED_SQL, [name])
        found.append(Kept(name, now(connection, name), str(persisted[0][0]) if persisted else None, can_be_set))
    return found


def set_everywhere(
    members: Mapping[str, Any], settings: Mapping[str, Sequence[Setting]], static: set[str], *, persist: bool = True
) -> None:
    """Set dynamic variables on members, and take away what hides a static one at the next start.

    Args:
        members: pod to an open connection to its server; their ``sql_mode`` is changed.
        settings: pod to what it is to have, checked before (:mod:`steps.mysql.settings_check`).
        static: names of variables that take effect with a restart: the ConfigMap has their values.
        persist: keep them over a restart of the server in its pod; where pods are restarted next, that comes after.

    Raises:
        NotTaken: a member refused one. Nothing is undone.
    """
    for pod, wanted in settings.items():
        connection = members[pod]
        try:
            # A number out of range is an error then, and not cut to fit.
            query(connection, "SET SESSION sql_mode = 'STRICT_ALL_TABLES'")
            for one in wanted:
                if one.name in static:
                    query(connection, f"RESET PERSIST IF EXISTS {quoted(one.name)}")
                    continue
                before = now(connection, one.name)
                verb = "PERSIST" if persist else "GLOBAL"
                query(connection, f"SET {verb} {quoted(one.name)} = %s", [_value(connection, one.name, one.value)])
                log("set", pod=pod, name=one.name, before=before, now=now(connection, one.name))
        except (mysql.connector.Error, StepError) as error:
            raise NotTaken(pod, str(getattr(error, "msg", "") or error)) from error


def put_back(connection: Any, kept: Sequence[Kept]) -> None:
    """Give one member its values from before, also in mysqld-auto.cnf; a static one's value comes with a restart.

    May run twice.

    Raises:
        mysql.connector.Error: the server does not take them, or is gone.
    """
    for one in reversed(kept):
        if remember(connection, {one.name: one.dynamic}) == [one]:
            continue
        if one.dynamic:
            _set(connection, "GLOBAL" if one.persisted is None else "PERSIST", one)
        if one.persisted is None:
            query(connection, f"RESET PERSIST IF EXISTS {quoted(one.name)}")
        elif not one.dynamic or one.persisted != one.value:
            value = _value(connection, one.name, one.persisted)
            query(connection, f"SET PERSIST_ONLY {quoted(one.name)} = %s", [value])


def _set(connection: Any, verb: str, one: Kept) -> None:
    sql = f"SET {verb} {quoted(one.name)} = "
    try:
        query(connection, f"{sql}%s", [_value(connection, one.name, one.value)])
    except mysql.connector.Error as error:
        if one.value or error.errno != WRONG_VALUE:
            raise
        query(connection, f"{sql}DEFAULT")  # NULL is told as the empty text, and some take neither of them


def differing(before: Sequence[Kept], after: Sequence[Kept]) -> list[str]:
    """Return what of one member is not as it was, for people."""
    found = []
    for was, is_now in zip(before, after, strict=True):
        if was.value != is_now.value:
            found.append(f"{was.name} is {is_now.value!r} and was {was.value!r}")
        elif was.persisted != is_now.persisted:
            found.append(f"{was.name} is persisted as {is_now.persisted!r} and was as {was.persisted!r}")
    return found


def now(connection: Any, name: str) -> str:
    """Return the global value of a variable.

    Raises:
        StepError: there is none of this name.
    """
    rows = query(connection, VALUE_SQL, [name])
    if not rows:
        raise StepError(f"there is no variable {name} in this server")
    return str(rows[0][0])


def _value(connection: Any, name: str, value: int | float | str) -> int | float | str:
    """Return a value as the server wants it: a number bare, for `SET x = '300'` is an error; a switch as a word."""
    rows = query(connection, KIND_SQL, [name])
    kind = str(rows[0][0]) if rows else ""
    if kind == "Integer":
        return int(value)
    if kind == "Boolean":
        return "ON" if str(value).upper() in ("ON", "TRUE", "1") else "OFF"
    if kind in ("Enumeration", "Set") and isinstance(value, int):
        return value
    return float(value) if kind == "Numeric" else str(value)
