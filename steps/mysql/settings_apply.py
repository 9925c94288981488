"""Giving every member of a cluster the same settings at once, and the ones from before again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mysql.connector

from steps.errors import StepError
from steps.log import log
from steps.mysql.connection import query, quoted
from steps.mysql.settings import Setting
from steps.mysql.settings_check import VALUE_SQL, typed

PERSISTED_SQL = "SELECT variable_value FROM performance_schema.persisted_variables WHERE variable_name = %s"

WRONG_VALUE, TOO_MANY = 1231, 1040


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
    members: Mapping[str, Any],
    settings: Mapping[str, Sequence[Setting]],
    static: set[str],
    *,
    persist: bool = True,
    reach: Callable[[str], None] = lambda pod: None,
) -> None:
    """Set dynamic variables on members, and take away what hides a static one at the next start.

    One member after another; the next only when this one still lets somebody in. Nothing is persisted before all have
    taken everything: what is persisted outlives the restart that would mend a member.

    Args:
        members: pod to an open connection to its server; their ``sql_mode`` is changed.
        settings: pod to what it is to have, checked before (:mod:`steps.mysql.settings_check`).
        static: names of variables that take effect with a restart: the ConfigMap has their values.
        persist: also write the values into mysqld-auto.cnf: a container that starts again in its pod reads the old
            file of its pod; where pods are restarted next, that comes after.
        reach: opens a new connection to a pod's server and asks it something; raises NotTaken where it cannot.

    Raises:
        NotTaken: a member refused one, or lets nobody in since. Nothing is undone.
    """
    for pod, wanted in settings.items():
        with _taking(pod):
            # A number out of range is an error then, and not cut to fit.
            query(members[pod], "SET SESSION sql_mode = 'STRICT_ALL_TABLES'")
            for one in wanted:
                if one.name in static:
                    query(members[pod], f"RESET PERSIST IF EXISTS {quoted(one.name)}")
                    continue
                before = now(members[pod], one.name)
                _give(members[pod], "GLOBAL", one)
                log("set", pod=pod, name=one.name, before=before, now=now(members[pod], one.name))
        reach(pod)
    for pod, wanted in settings.items() if persist else ():
        with _taking(pod):
            for one in wanted:
                if one.name not in static:
                    _give(members[pod], "PERSIST", one)


@contextmanager
def _taking(pod: str) -> Iterator[None]:
    try:
        yield
    except (mysql.connector.Error, StepError) as error:
        raise NotTaken(pod, str(getattr(error, "msg", "") or error)) from error


def _give(connection: Any, verb: str, one: Setting) -> None:
    if one.is_default:
        name = quoted(one.name)
        query(connection, f"SET GLOBAL {name} = DEFAULT" if verb == "GLOBAL" else f"RESET PERSIST IF EXISTS {name}")
        return
    query(connection, f"SET {verb} {quoted(one.name)} = %s", [typed(connection, one.name, one.value)])


def let_in(pod: str, error: StepError) -> NotTaken:
    """Return the failure of a member to which no new connection can be made since it has the settings."""
    full = " That is error 1040: the setting leaves no connection free" if is_full(error) else ""
    return NotTaken(pod, f"no new connection gets in with them: {error}{full}")


def is_full(error: Exception) -> bool:
    """Tell whether a server was not to be reached because all its connections are taken."""
    return TOO_MANY in (getattr(error, "errno", 0), getattr(error.__cause__, "errno", 0))


def put_back_through(members: Mapping[str, Any], before: Mapping[str, Sequence[Kept]]) -> None:
    """Give members their dynamic values from before through connections that are open: there may be no way to a new.

    One that does not take them is logged, and left to the undo that comes after this.
    """
    for pod, connection in members.items():
        try:
            put_back(connection, [one for one in before.get(pod, ()) if one.dynamic])
            log("put-back", pod=pod)
        except (mysql.connector.Error, StepError) as error:
            log("not-put-back", pod=pod, error=str(error))


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
            value = typed(connection, one.name, one.persisted)
            query(connection, f"SET PERSIST_ONLY {quoted(one.name)} = %s", [value])


def _set(connection: Any, verb: str, one: Kept) -> None:
    sql = f"SET {verb} {quoted(one.name)} = "
    try:
        query(connection, f"{sql}%s", [typed(connection, one.name, one.value)])
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
