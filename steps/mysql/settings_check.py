"""Whether a server would take settings, asked of the server itself before anything is changed.

What is known of 9.7 (tried): a SET of two variables looks at both before it sets either, so one whose second part is
wrong only says whether the first exists (1193), is of sessions only or read-only (1238), or has no default; with
STRICT_ALL_TABLES a value out of range is an error (1231) and not cut to fit; ``SET PERSIST_ONLY`` takes any number, so
a static variable's range is read from performance_schema.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mysql.connector

from steps.mysql.cnf import rounded
from steps.mysql.connection import query, quoted
from steps.mysql.settings import Setting

UNKNOWN_VARIABLE, READ_ONLY, NOT_GLOBAL, WRONG_VALUE = 1193, 1238, 1228, 1231
NO_MODE = "TIPHYS_ONLY_ASKS"
"""No mode of sql_mode, and so what fails where a SET is to be looked at only."""
NO_VALUE = frozenset({1115, 1210, 1231, 1232, 1273, 1286, 1292, 1298, 1649})
"""Errors that say that a value is none: of any variable, or an unknown character set, collation, engine, time zone."""
SCOPE_SQL = "SELECT variable_scope FROM performance_schema.variables_metadata WHERE variable_name = %s"
RANGE_SQL = "SELECT data_type, min_value, max_value FROM performance_schema.variables_metadata WHERE variable_name = %s"
KIND_SQL = "SELECT data_type FROM performance_schema.variables_metadata WHERE variable_name = %s"
NAMES_SQL = "SELECT variable_name FROM performance_schema.global_variables"
ALL_SQL = "SELECT variable_name, variable_value FROM performance_schema.global_variables"
VALUE_SQL = "SELECT variable_value FROM performance_schema.global_variables WHERE variable_name = %s"

SOURCE_SQL = "SELECT variable_source FROM performance_schema.variables_info WHERE variable_name = %s"

RESERVE = 20
"""Connections, or prepared statements, that a lowered limit has to leave free beyond the most that were in use."""
_STATUS = "SELECT variable_name, variable_value FROM performance_schema.global_status WHERE variable_name IN "
USED = {
    "max_connections": f"{_STATUS}('Max_used_connections', 'Threads_connected')",
    "max_user_connections": "SELECT 'connections of one user', MAX(current_connections) FROM performance_schema.users "
    "WHERE user IS NOT NULL",
    "max_prepared_stmt_count": f"{_STATUS}('Prepared_stmt_count')",
}
"""Limits with which a server takes a value that locks clients out, and how it is asked what they use."""
DEFAULTS = {"max_connections": 151, "max_user_connections": 0, "max_prepared_stmt_count": 16382}
"""Of these limits (9.7.4): a server does not tell a default that it does not have."""


@dataclass(frozen=True)
class Answer:
    """What one server says to one setting.

    Attributes:
        name: of the variable.
        dynamic: whether it takes effect at once; else with a restart.
        now: its value, as the server writes it; empty where there is no such variable.
        refused: why the server would not take the value, for people; empty where nothing speaks against it.
    """

    name: str
    dynamic: bool = False
    now: str = ""
    refused: str = ""


def check(connection: Any, settings: Sequence[Setting]) -> list[Answer]:
    """Ask a server about each setting; its values stay as they are.

    A dynamic variable without a range (a list of words, a name) is tried in this session, if sessions have it; else
    it is only tried when it is set.

    Raises:
        mysql.connector.Error: the server went away, or does not let the user set variables.
    """
    return [_check(connection, one) for one in settings]


def sources_of(connection: Any, settings: Sequence[Setting]) -> dict[str, str]:
    """Return where a server has the values from of which the default is asked for, by name."""
    names = [one.name for one in settings if one.is_default]
    return {name: str(rows[0][0]) for name in names if (rows := query(connection, SOURCE_SQL, [name]))}


def _check(connection: Any, one: Setting) -> Answer:
    rows = query(connection, VALUE_SQL, [one.name])
    if not rows:
        return Answer(one.name, refused=f"there is no variable {one.name} in this server{_meant(connection, one.name)}")
    now, error = str(rows[0][0]), _asked(connection, one)
    if error and (error.errno not in (READ_ONLY, NOT_GLOBAL) or "SESSION variable" in str(error.msg)):
        return Answer(one.name, now=now, refused=f"{one.name} cannot be set: {error.msg}")
    dynamic = error is None
    if one.is_default:
        return Answer(one.name, dynamic, now, _too_few(connection, replace(one, value=DEFAULTS.get(one.name, "")), now))
    refused = _out_of_range(connection, one, now) or _too_few(connection, one, now)
    return Answer(one.name, dynamic, now, refused or (_not_in_a_session(connection, one) if dynamic else ""))


def _asked(connection: Any, one: Setting) -> mysql.connector.Error | None:
    """Return why a server would not set a variable to the value that it has, or to its default; nothing is set."""
    value = "DEFAULT" if one.is_default else f"@@GLOBAL.{quoted(one.name)}"
    try:
        query(connection, f"SET GLOBAL {quoted(one.name)} = {value}, SESSION sql_mode = '{NO_MODE}'")
    except mysql.connector.Error as error:
        return None if error.errno == WRONG_VALUE and NO_MODE in str(error.msg) else error
    return None


def _not_in_a_session(connection: Any, one: Setting) -> str:
    """Tell why the server takes a value in no session, where sessions have the variable too: it is tried in this one.

    The session gets the global value afterwards, so it is one to throw away.
    """
    if query(connection, SCOPE_SQL, [one.name]) != [("SESSION",)]:
        return ""
    name = quoted(one.name)
    try:
        query(connection, f"SET SESSION {name} = %s", [typed(connection, one.name, one.value)])
        query(connection, f"SET SESSION {name} = DEFAULT")
    except mysql.connector.Error as error:
        # Another error says that this session may not set it, which says nothing of the value.
        return f"{one.name}={one.written}: {error.msg}" if error.errno in NO_VALUE else ""
    return ""


def _too_few(connection: Any, one: Setting, now: str) -> str:
    """Tell why a limit is too low for what is in use: the server would take it, and let in nobody any more."""
    if one.name not in USED or not isinstance(one.value, int) or not now.isdigit():
        return ""
    is_unlimited = one.name == "max_user_connections" and one.value == 0
    if is_unlimited or (one.value >= int(now) and now != "0"):
        return ""
    used = {str(what): int(number or 0) for what, number in query(connection, USED[one.name])}
    if one.value >= (least := max(used.values(), default=0) + RESERVE):
        return ""
    told = ", ".join(f"{what} {number}" for what, number in used.items())
    return f"{one.name}={one.written} would keep clients out ({told}): at least {least}, which leaves {RESERVE} free"


def _meant(connection: Any, name: str) -> str:
    known = [str(row[0]) for row in query(connection, NAMES_SQL)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f" (did you mean {near[0]}?)" if near else ""


def _out_of_range(connection: Any, one: Setting, now: str) -> str:
    rows = query(connection, RANGE_SQL, [one.name])
    kind, low, high = (str(value or "") for value in rows[0]) if rows else ("", "", "")
    if one.is_bare and kind != "Boolean" and now.upper() not in ("ON", "OFF"):
        return f"{one.name} has no value: give {one.name}=VALUE (now {now or 'empty'})"
    if kind == "Boolean" and str(one.value).upper() not in ("ON", "OFF", "1", "0", "TRUE", "FALSE"):
        return f"{one.name}={one.written}: expected ON or OFF"
    is_switch = one.value in (0, 1) and now.upper() in ("ON", "OFF")
    if kind in ("Enumeration", "Set") and isinstance(one.value, int) and not is_switch:
        return f"{one.name}={one.written}: expected words, as it has now: {now or 'none'}"
    if kind not in ("Integer", "Numeric"):
        return ""
    if isinstance(one.value, str) or (kind == "Integer" and isinstance(one.value, float)):
        return f"{one.name}={one.written}: expected {'a whole number' if kind == 'Integer' else 'a number'}"
    # Components tell 0 to 0 of all their numbers.
    if kind == "Integer" and low and high and low != high and not int(low) <= one.value <= int(high):
        return f"{one.name}={one.written} is out of range: expected {low} to {high}"
    if kind == "Integer" and isinstance(one.value, int):
        settings = {str(name): str(value) for name, value in query(connection, ALL_SQL)}
        if (made := rounded(one.name, one.value, settings)) != one.value:
            return f"{one.name}={one.written} would be rounded to {made} by the server: ask for that"
    # The highest fraction is told as the bits of a floating-point number, of which nothing can be said.
    return f"{one.name}={one.written} is out of range: expected 0 or more" if low == "0" and one.value < 0 else ""


def typed(connection: Any, name: str, value: int | float | str) -> int | float | str:
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
