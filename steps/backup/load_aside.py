"""Moving aside what a restore replaces, and the way back.

Tables are renamed into a schema of their own (``shop`` into ``shop__before_1a2b3c4d``), all of them in one atomic
statement, so their rows are never copied and never at risk. What MySQL cannot move to another schema is dropped, and
its definition kept in ``tiphys.restore_aside``: triggers, views, routines with their grants, events, and foreign keys
of moved tables to tables that stay (they would let the old rows hold up changes of the live ones). Grants of tables are
by name: they hold for the restored ones, and nobody but administrators may read the old ones.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from steps.backup import dump_ddl, load_objects, load_state
from steps.backup.ddl import statements
from steps.backup.load_plan import Plan
from steps.backup.load_rows import Target
from steps.backup.load_scope import Existing, Scope
from steps.backup.load_state import SCHEMA, Restore
from steps.errors import Refused, StepError
from steps.log import log
from steps.mysql.connection import query, quoted

LONGEST = 64
"""Characters of a schema's name at most."""

_CREATE = re.compile(r"CREATE\s+(?:DATABASE|SCHEMA)\s+(?:/\*!\d+ IF NOT EXISTS\*/\s*|IF NOT EXISTS\s+)?", re.IGNORECASE)
_NAME = re.compile(r"`(?:[^`]|``)*`")


class Move(NamedTuple):
    """One thing that is in the way.

    Attributes:
        kind: schema, event, trigger, key, place-holder (of a view that another may use), view, function, procedure,
            grant (of a routine) or table.
        schema: where it is.
        name: of it; of a key, its table and its name as JSON; of a grant, the routine's kind, its name and the
            account's two parts as JSON; of a schema, where its tables go.
        away: SQL that moves or drops it; empty for tables, which go all at once.
        back: SQL that brings it back, in the form of a dump's files.
    """

    kind: str
    schema: str
    name: str
    away: str
    back: str


@dataclass(frozen=True)
class Aside:
    """All that a restore moves aside, as it was noted."""

    moves: tuple[Move, ...]

    def of(self, *kinds: str) -> list[Move]:
        """Return those of some kinds, as they were noted."""
        return [move for move in self.moves if move.kind in kinds]

    @property
    def schemas(self) -> dict[str, str]:
        """Where the tables of each schema go."""
        return {move.schema: move.name for move in self.of("schema")}


_COME_BACK = ("function", "procedure", "grant", "key", "place-holder", "view", "trigger", "event")
"""The order in which things come back after their tables: an event begins to work at once, so it is the last."""


def aside_name(schema: str, restore_id: str, taken: Collection[str] = ()) -> str:
    """Return the schema that the old tables of `schema` go to: cut where it is long, numbered where that is `taken`."""
    for number in itertools.count():
        end = f"{number or ''}__before_{restore_id[:8]}"
        if (name := schema[: LONGEST - len(end)] + end) not in taken:
            return name
    raise AssertionError("numbers do not end")


def find(connection: Any, scope: Scope, there: Existing, restore_id: str) -> list[Move]:
    """Return what is in the way of a restore, and how it goes and comes back; nothing is changed.

    Raises:
        Refused: tables that stay have foreign keys to tables that would go.
    """
    moved = {(s, t) for s, t in there.tables if s in scope.schemas or (s, t) in scope.tables}
    whole = sorted(scope.schemas & there.schemas)
    if not moved and not whole:
        return []
    sql = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'VIEW'"
    views = sorted(moved & {(str(s), str(t)) for s, t in query(connection, sql)})
    tables = sorted(moved - set(views))
    keys = _foreign_keys(connection, set(tables))
    header = dump_ddl.Header("", str(query(connection, "SELECT VERSION()")[0][0]))
    made: list[Move] = []
    for schema in sorted({*whole, *(schema for schema, _ in moved)}):
        shown = str(query(connection, f"SHOW CREATE DATABASE {quoted(schema)}")[0][1])
        place = aside_name(schema, restore_id, [move.name for move in made])
        made.append(Move("schema", schema, place, "", shown))
    for schema in whole:
        made += _programs(connection, header, schema)
    made += _triggers(connection, header, tables)
    made += keys
    for schema, name in views:
        before = dump_ddl.view_place_holder(connection, header, schema, name)
        made.append(Move("place-holder", schema, name, "", before))
        back = dump_ddl.view(connection, header, schema, name)
        made.append(Move("view", schema, name, f"DROP VIEW {quoted(schema)}.{quoted(name)}", back))
    made += [Move("table", schema, name, "", "") for schema, name in tables]
    return made


def _foreign_keys(connection: Any, moved: set[tuple[str, str]]) -> list[Move]:
    """Return the foreign keys of moved tables to others; refuse those of others to moved tables."""
    rows = query(
        connection,
        "SELECT constraint_schema, table_name, constraint_name, unique_constraint_schema, referenced_table_name"
        " FROM information_schema.referential_constraints",
    )
    held = sorted(f"{s}.{t}" for s, t, _, s2, t2 in rows if (s2, t2) in moved and (s, t) not in moved)
    if held:
        raise Refused(
            f"Foreign keys of {', '.join(dict.fromkeys(held))} refer to tables that would be replaced, and would go "
            "with the old ones. Nothing was changed. Restore these tables, too (tables=a.b,a.c), or the whole schema."
        )
    made = []
    for schema, table, name, other_schema, other in rows:
        if (schema, table) in moved and (other_schema, other) not in moved:
            created = str(query(connection, f"SHOW CREATE TABLE {quoted(schema)}.{quoted(table)}")[0][1])
            begin = f"CONSTRAINT {quoted(name)} FOREIGN KEY"
            line = next(each.strip().rstrip(",") for each in created.splitlines() if each.strip().startswith(begin))
            # A foreign key within its own schema is shown without that schema.
            where = f"{quoted(schema)}.{quoted(table)}"
            away = f"ALTER TABLE {where} DROP FOREIGN KEY {quoted(name)}"
            back = f"USE {quoted(schema)};\nALTER TABLE {where} ADD {line};\n"
            made.append(Move("key", schema, json.dumps([table, name]), away, back))
    return made


def _programs(connection: Any, header: dump_ddl.Header, schema: str) -> list[Move]:
    """Return a schema's events and routines."""
    events = query(connection, "SELECT event_name FROM information_schema.events WHERE event_schema = %s", [schema])
    routines = query(
        connection,
        "SELECT LOWER(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = %s"
        " ORDER BY 1, 2",
        [schema],
    )
    named = [("event", str(row[0])) for row in events] + [(str(kind), str(name)) for kind, name in routines]
    made = []
    for kind, name in named:
        names: dict[str, list[str]] = {"events": [], "functions": [], "procedures": [], f"{kind}s": [name]}
        back = dump_ddl.schema(connection, header, schema, enabled=frozenset(), **names)
        made.append(Move(kind, schema, name, f"DROP {kind.upper()} {quoted(schema)}.{quoted(name)}", back))
    return made + _grants(connection, schema)


def _grants(connection: Any, schema: str) -> list[Move]:
    """Return what accounts may do with a schema's routines: a server forgets that as soon as one is dropped."""
    rows = query(
        connection,
        "SELECT LOWER(routine_type), routine_name, user, host, CAST(proc_priv AS CHAR) FROM mysql.procs_priv"
        " WHERE db = %s ORDER BY 1, 2, 3, 4",
        [schema],
    )
    made = []
    for kind, name, user, host, rights in rows:
        given = [right for right in str(rights).upper().split(",") if right != "GRANT"]
        option = " WITH GRANT OPTION" if len(given) < len(str(rights).split(",")) else ""
        what = f"{str(kind).upper()} {quoted(schema)}.{quoted(name)} TO {quoted(user)}@{quoted(host)}"
        back = f"GRANT {', '.join(given) or 'USAGE'} ON {what}{option};\n"
        made.append(Move("grant", schema, json.dumps([str(kind), str(name), str(user), str(host)]), "", back))
    return made


def grant_again(connection: Any, aside: Aside) -> None:
    """Let accounts do with routines what they might before these were dropped, where there are such ones (again)."""
    for move in aside.of("grant"):
        if _is_there(connection, move):
            load_objects.run(connection, f"grants of {move.schema}", statements(move.back))


def _triggers(connection: Any, header: dump_ddl.Header, tables: list[tuple[str, str]]) -> list[Move]:
    rows = query(
        connection,
        "SELECT trigger_schema, event_object_table, trigger_name FROM information_schema.triggers"
        " ORDER BY trigger_schema, event_object_table, action_order",
    )
    made = []
    for schema, table, name in rows:
        if (schema, table) in tables:
            back = dump_ddl.triggers(connection, header, schema, table, [name])
            made.append(Move("trigger", schema, name, f"DROP TRIGGER {quoted(schema)}.{quoted(name)}", back))
    return made


def noted(connection: Any, restore: Restore) -> Aside:
    """Return what a restore has moved, or is to move, aside."""
    rows = query(
        connection,
        f"SELECT kind, schema_name, name, away, back FROM {SCHEMA}.restore_aside WHERE restore_id = %s ORDER BY number",
        [restore.id],
    )
    return Aside(tuple(Move(*(str(value) for value in row)) for row in rows))


_THERE = {
    "event": "SELECT 1 FROM information_schema.events WHERE event_schema = %s AND event_name = %s",
    "trigger": "SELECT 1 FROM information_schema.triggers WHERE trigger_schema = %s AND trigger_name = %s",
    "view": "SELECT 1 FROM information_schema.views WHERE table_schema = %s AND table_name = %s",
    "function": "SELECT 1 FROM information_schema.routines"
    " WHERE routine_schema = %s AND routine_name = %s AND routine_type = 'FUNCTION'",
    "procedure": "SELECT 1 FROM information_schema.routines"
    " WHERE routine_schema = %s AND routine_name = %s AND routine_type = 'PROCEDURE'",
    "key": "SELECT 1 FROM information_schema.referential_constraints"
    " WHERE constraint_schema = %s AND table_name = %s AND constraint_name = %s",
    "grant": "SELECT 1 FROM information_schema.routines, mysql.user WHERE routine_schema = %s"
    " AND LOWER(routine_type) = %s AND routine_name = %s AND user = %s AND host = %s",
    "table": "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
}


def _is_there(connection: Any, move: Move) -> bool:
    names = json.loads(move.name) if move.kind in ("key", "grant") else [move.name]
    return bool(query(connection, _THERE[move.kind], [move.schema, *names]))


def go(target: Target, restore: Restore, plan: Plan) -> None:
    """Move aside what is noted and still there. A step that was killed in the middle goes on here."""
    with target.session() as connection:
        aside = noted(connection, restore)
        for move in aside.moves:
            if move.kind == "schema":
                query(connection, _with_name(move.back, "CREATE DATABASE IF NOT EXISTS", move.name))
            elif move.away and _is_there(connection, move):
                query(connection, move.away)
        tables = [move for move in aside.of("table") if _is_there(connection, move)]
        if tables:
            query(connection, _rename(tables, aside.schemas, back=False))
        # A schema that is restored as a whole was made by somebody else: it takes over the backup's character set.
        for schema in plan.schemas:
            if not schema.partial and schema.name in aside.schemas:
                for statement in statements(schema.ddl):
                    if _CREATE.match(statement.sql):
                        query(connection, _with_name(statement.sql, "ALTER DATABASE", schema.name))
    log("moved aside", tables=len(tables), schemas=aside.schemas)


def _with_name(created: str, begin: str, name: str) -> str:
    """Return a CREATE DATABASE statement with another beginning and another name."""
    head = _CREATE.match(created)
    found = _NAME.match(created, head.end()) if head else None
    if found is None:
        raise StepError(f"{created!r:.100} is no CREATE DATABASE as servers and dumps write it")
    return f"{begin} {quoted(name)}{created[found.end() :]}"


def _rename(tables: list[Move], places: dict[str, str], *, back: bool) -> str:
    pairs = []
    for move in tables:
        here = f"{quoted(move.schema)}.{quoted(move.name)}"
        there = f"{quoted(places[move.schema])}.{quoted(move.name)}"
        pairs.append(f"{there} TO {here}" if back else f"{here} TO {there}")
    return f"RENAME TABLE {', '.join(pairs)}"


def still_there(connection: Any, aside: Aside) -> bool:
    """Whether there are old tables and none has moved yet: what the restore's names stand for is the old, not the new.

    Whatever has failed by then, nothing was made and nothing must be dropped; only what went before the tables is gone.
    """
    places = aside.schemas
    tables = aside.of("table")
    return bool(tables) and not any(_is_there(connection, m._replace(schema=places[m.schema])) for m in tables)


def untouched(target: Target, restore: Restore, plan: Plan) -> str:
    """Return why what the restore has made so far must not be dropped, or nothing: it holds no more than was loaded."""
    with target.session() as connection:
        loaded = load_state.loaded_rows(connection, restore)
        known = {(table.meta.schema, table.meta.table): table for table in plan.tables}
        known_views = {view.name for schema in plan.schemas for view in schema.views}
        rows = query(connection, "SELECT table_schema, table_name FROM information_schema.tables")
        for schema, name in sorted((str(s), str(t)) for s, t in rows):
            if schema not in restore.scope.schemas and (schema, name) not in restore.scope.tables:
                continue
            table = known.get((schema, name))
            if table is None:
                if f"{schema}.{name}" in known_views:
                    continue
                return f"{schema}.{name} was made by somebody else meanwhile"
            count = int(query(connection, f"SELECT COUNT(*) FROM {quoted(schema)}.{quoted(name)}")[0][0])
            brought = sum(loaded.get(chunk.file, 0) for chunk in table.chunks)
            if count != brought:
                return f"{schema}.{name} has {count} rows, {brought} were loaded: somebody has written to it"
    return ""


def put_back(target: Target, restore: Restore) -> None:
    """Drop what the restore has made, and bring back what it had moved aside; phase RETREAT, then UNDONE.

    Whoever calls this the first time has asked `untouched`. Killed in the middle, it goes on when called again.
    """
    with target.session() as connection:
        aside = noted(connection, restore)
        places = aside.schemas
        tables = [m for m in aside.of("table") if _is_there(connection, m._replace(schema=places[m.schema]))]
        # Once the old tables are back (all at once), what is under their names must never be dropped.
        if tables or not aside.of("table"):
            for move in aside.of("schema"):
                if move.schema in restore.scope.schemas:
                    query(connection, f"DROP DATABASE IF EXISTS {quoted(move.schema)}")
                    query(connection, move.back)
            made = [f"{quoted(schema)}.{quoted(table)}" for schema, table in sorted(restore.scope.tables)]
            if made:
                query(connection, f"DROP TABLE IF EXISTS {', '.join(made)}")
            if tables:
                query(connection, _rename(tables, places, back=True))
        for move in [each for kind in _COME_BACK for each in aside.of(kind)]:
            # A key may have come back before a kill; what a grant is about, or for, may be gone.
            if (move.kind == "key" and _is_there(connection, move)) or (
                move.kind == "grant" and not _is_there(connection, move)
            ):
                continue
            query(connection, f"USE {quoted(move.schema)}")
            load_objects.run(connection, f"{move.kind} {move.schema}.{move.name}", statements(move.back))
        for place in places.values():
            left = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s LIMIT 1"
            if not query(connection, left, [place]):
                query(connection, f"DROP DATABASE IF EXISTS {quoted(place)}")
        load_state.enter(connection, restore, load_state.UNDONE)
    log("put back", tables=len(aside.of("table")), schemas=sorted(places))
