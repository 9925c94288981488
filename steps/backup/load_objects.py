"""Everything of a dump that is not rows: schemas, tables, views, routines, triggers, events, accounts and grants."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from steps.backup.ddl import Statement, statements
from steps.backup.load_indexes import Indexes
from steps.backup.load_plan import Plan, SchemaPlan, ViewPlan
from steps.errors import StepError, Temporary
from steps.log import log
from steps.mysql.connection import query, quoted, translated

_CREATE_SCHEMA = re.compile(r"CREATE\s+(?:DATABASE|SCHEMA)\b", re.IGNORECASE)
_NAME = re.compile(r"'((?:[^'\\]|''|\\.)*)'@'((?:[^'\\]|''|\\.)*)'")
_OWN = ("mysql.", "mysql_innodb_cluster_", "mysql_router")
"""Accounts that servers, the operator and Routers make for themselves; another cluster's are of no use here."""


def make_tables(connection: Any, plan: Plan, indexes: Indexes, *, invisible_key: bool) -> None:
    """Make the schemas and their empty tables; what is there already stays.

    Args:
        connection: of `load_rows.Target`.
        plan: the dump.
        indexes: which of them wait for the rows.
        invisible_key: give tables without a key an invisible primary key.
    """
    run(connection, "@.sql", statements(plan.before))
    for schema in plan.schemas:
        run(connection, schema.name, (s for s in statements(schema.ddl) if _CREATE_SCHEMA.match(s.sql)))
        query(connection, f"USE {quoted(schema.name)}")
        for table in schema.tables:
            generate = invisible_key and not table.shape.has_key
            query(connection, f"SET SESSION sql_generate_invisible_primary_key={int(generate)}")
            run(connection, table.name, indexes.without(table))
        query(connection, "SET SESSION sql_generate_invisible_primary_key=0")


def make_objects(connection: Any, plan: Plan) -> None:
    """Make what comes after the rows; what is there already is made anew."""
    for schema in plan.schemas:
        if schema.partial:
            continue
        query(connection, f"USE {quoted(schema.name)}")
        run(connection, f"routines of {schema.name}", (s for s in statements(schema.ddl) if s.kind != "event"))
    # A view may use another one, of any schema: place-holders first.
    for what in ("before", "ddl"):
        for home, view in dependents_first(plan.schemas):
            query(connection, f"USE {quoted(home)}")
            run(connection, f"view {view.name}", statements(getattr(view, what)))
    for schema in plan.schemas:
        query(connection, f"USE {quoted(schema.name)}")
        for table in schema.tables:
            run(connection, f"triggers of {table.name}", statements(table.triggers))


def dependents_first(schemas: Sequence[SchemaPlan]) -> list[tuple[str, ViewPlan]]:
    """Return all views with their schemas, each before those that it names, as far as that is possible.

    On a place-holder any view can be made; on a view whose definer is gone, the server makes none.
    """
    views = {
        (schema.name, view.name.removeprefix(f"{schema.name}.")): view for schema in schemas for view in schema.views
    }
    found: dict[tuple[str, str], None] = {}

    def enter(key: tuple[str, str], path: frozenset[tuple[str, str]]) -> None:
        # Those that name it come first; a name that only looks like one may lead in a circle.
        for other, view in views.items():
            named = quoted(key[1]) in view.ddl and (other[0] == key[0] or quoted(key[0]) in view.ddl)
            if named and other not in found and other not in path:
                enter(other, path | {key})
        found[key] = None

    for key in views:
        if key not in found:
            enter(key, frozenset())
    return [(key[0], views[key]) for key in found]


def make_events(connection: Any, plan: Plan) -> None:
    """Make the events: the very last, since an event begins to work at once."""
    for schema in plan.schemas:
        if schema.partial:
            continue
        query(connection, f"USE {quoted(schema.name)}")
        kept = (s for s in statements(schema.ddl) if s.kind not in ("function", "procedure"))
        run(connection, f"events of {schema.name}", kept)
    run(connection, "@.post.sql", statements(plan.after))


def missing_accounts(connection: Any, plan: Plan) -> list[str]:
    """Return the dump's accounts (``'user'@'host'``) that the server does not have."""
    there = {(str(user), str(host).lower()) for user, host in query(connection, "SELECT user, host FROM mysql.user")}
    named = dict.fromkeys(s.name for s in statements(plan.users) if s.kind == "user")
    return [name for name in named if (who := _account(name)) not in there and not who[0].startswith(_OWN)]


def _account(name: str) -> tuple[str, str]:
    found = _NAME.fullmatch(name.strip())
    if found is None:
        raise StepError(f"@.users.sql names an account {name!r:.100}, 'user'@'host' was expected")
    plain = [re.sub(r"\\(.)|''", lambda escaped: escaped.group(1) or "'", part) for part in found.groups()]
    return plain[0], plain[1].lower()


def make_accounts(connection: Any, plan: Plan, accounts: list[str]) -> None:
    """Make the accounts that were missing when the restore began; those that were there keep their passwords."""
    kept = (s for s in statements(plan.users) if s.kind == "user" and s.name in accounts)
    run(connection, "accounts", kept, secret=True)


def grant(connection: Any, plan: Plan, accounts: list[str]) -> None:
    """Give their rights and default roles to the accounts that were missing when the restore began."""
    kept = (s for s in statements(plan.users) if s.kind and s.kind != "user" and s.name in accounts)
    run(connection, "grants", kept, secret=True)
    log("accounts restored", accounts=accounts)


def run(connection: Any, what: str, todo: Iterable[Statement], *, secret: bool = False) -> None:
    """Run statements one after the other.

    Args:
        connection: of `load_rows.Target`.
        what: for messages: whose statements they are.
        todo: the statements.
        secret: they hold password hashes, and the server's message may quote them: tell only its number.

    Raises:
        StepError: one failed.
        Temporary: the server is not available.
    """
    import mysql.connector

    for statement in todo:
        try:
            query(connection, statement.sql)
        except mysql.connector.Error as error:
            meant = translated(error, "the primary", "root")
            if isinstance(meant, Temporary):
                raise
            said = f"error {error.errno}" if secret else str(error)
            head = statement.name or " ".join(statement.sql.split())[:80]
            raise StepError(
                f"The dump's SQL for {what} failed at {head}: {said}. Its rows are loaded as far as the log says; "
                "repair what it needs on the cluster and run the restore again: it goes on here."
            ) from (None if secret else error)
