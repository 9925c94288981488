"""The SQL files of a backup, in the form that MySQL Shell writes and its loader takes apart again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steps.errors import StepError
from steps.log import log
from steps.mysql.connection import query, quoted

DUMPER = "Tiphys"
_RULE = "-- ------------------------------------------------------"


@dataclass(frozen=True)
class Header:
    """What stands at the head of every SQL file."""

    host: str
    version: str

    def of(self, *, database: str = "", table: str = "") -> str:
        """Return the head of a file about the server, a database or a table."""
        place = f"-- Host: {self.host}"
        place += f"    Database: {database}" if database else ""
        place += f"    Table: {table}" if table else ""
        first = f"-- MySQLShell dump 2.0.1  Distrib {DUMPER}, for Linux (x86_64)"
        return f"{first}\n--\n{_comment(place)}\n{_RULE}\n-- Server version\t{self.version}\n"


def _comment(line: str) -> str:
    """Return a comment that stays one line whatever the names in it hold."""
    return line.replace("\n", " ").replace("\r", " ")


def _title(text: str) -> str:
    return f"\n--\n{_comment(f'-- {text}')}\n--\n\n"


def _row(connection: Any, sql: str) -> dict[str, str]:
    """Run a SHOW CREATE and return its row by column names."""
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        names = [str(each[0]) for each in cursor.description]
        values = cursor.fetchone()
        return {name: _text(value) for name, value in zip(names, values, strict=True)}
    finally:
        cursor.close()


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode()
    return "" if value is None else str(value)


def table(connection: Any, header: Header, schema: str, name: str) -> str:
    """Return ``S@T.sql``."""
    created = _row(connection, f"SHOW CREATE TABLE {quoted(schema)}.{quoted(name)}")["Create Table"]
    _check_labels(connection, schema, name, created)
    created = created.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
    return (
        f"{header.of(database=schema, table=name)}{_title(f'Table structure for table {quoted(name)}')}"
        "/*!40101 SET @saved_cs_client     = @@character_set_client */;\n"
        "/*!50503 SET character_set_client = utf8mb4 */;\n"
        f"{created};\n"
        "/*!40101 SET character_set_client = @saved_cs_client */;\n"
    )


_LISTED = re.compile(r"^  (`(?:[^`]|``)*`) (?:enum|set)\(.*\?", re.MULTILINE)


def _check_labels(connection: Any, schema: str, name: str, created: str) -> None:
    """Make sure that the labels of ENUMs and SETs are what the server shows: it has question marks for emoji there.

    Raises:
        StepError: rows have a label that is not in the definition, so they could not be loaded again.
    """
    for column in _LISTED.findall(created):
        emoji = r"'[\\x{10000}-\\x{10FFFF}]'"
        full = f"{quoted(schema)}.{quoted(name)}"
        if query(connection, f"SELECT 1 FROM {full} WHERE CONVERT({column} USING utf8mb4) REGEXP {emoji} LIMIT 1"):
            raise StepError(
                f"Column {column} of {schema}.{name} has a label with characters beyond U+FFFF, for which the server "
                f"shows question marks: the table could not be made again. Rename the label, or exclude={schema}.{name}"
            )


def view_place_holder(connection: Any, header: Header, schema: str, name: str) -> str:
    """Return ``S@V.pre.sql``: a view with the same columns and no tables, for others to build on."""
    rows = query(
        connection,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " ORDER BY ordinal_position",
        [schema, name],
    )
    if not rows:
        raise StepError(
            f"View {schema}.{name} is broken: what it selects from is gone. Drop it or repair it, then back up again."
        )
    columns = ",\n".join(f" 1 AS {quoted(_text(row[0]))}" for row in rows)
    return (
        f"{header.of(database=schema, table=name)}{_title(f'Temporary view structure for view {quoted(name)}')}"
        f"DROP TABLE IF EXISTS {quoted(name)};\n"
        f"/*!50001 DROP VIEW IF EXISTS {quoted(name)}*/;\n"
        "SET @saved_cs_client     = @@character_set_client;\n"
        "/*!50503 SET character_set_client = utf8mb4 */;\n"
        f"/*!50001 CREATE VIEW {quoted(name)} AS SELECT\n{columns} */;\n"
        "SET character_set_client = @saved_cs_client;\n"
    )


def view(connection: Any, header: Header, schema: str, name: str) -> str:
    """Return ``S@V.sql``."""
    # The server leaves out the default schema before names, so that the view can be loaded into another one.
    query(connection, f"USE {quoted(schema)}")
    row = _row(connection, f"SHOW CREATE VIEW {quoted(name)}")
    saved = [
        ("saved_cs_client", "character_set_client"),
        ("saved_cs_results", "character_set_results"),
        ("saved_col_connection", "collation_connection"),
    ]
    drop = f"/*!50001 DROP VIEW IF EXISTS {quoted(name)}*/;\n"
    keep = "".join(f"/*!50001 SET @{short:<24} = @@{long} */;\n" for short, long in saved)
    values = ["utf8mb4", "utf8mb4", row["collation_connection"]]  # this file's own encoding, whatever the view's was
    use = "".join(f"/*!50001 SET {long:<25} = {value} */;\n" for (_, long), value in zip(saved, values, strict=True))
    back = "".join(f"/*!50001 SET {long:<25} = @{short} */;\n" for short, long in saved)
    return (
        f"{header.of(database=schema, table=name)}{_title(f'Final view structure for view {quoted(name)}')}"
        f"{drop}{keep}{use}/*!50001 {row['Create View']} */;\n{back}"
    )


_VARIABLES = (
    ("saved_cs_client     ", "character_set_client"),
    ("saved_cs_results    ", "character_set_results"),
    ("saved_col_connection", "collation_connection"),
)


def _within(row: Mapping[str, str], end: str) -> tuple[str, str]:
    """Return what sets a stored program's own session variables, and what puts back the old ones."""
    # The text of the program is in this file's encoding, whatever it was written in once.
    values = {"character_set_client": "utf8mb4", "character_set_results": "utf8mb4"}
    values["collation_connection"] = row["collation_connection"]
    before = "".join(f"/*!50003 SET @{kept} = @@{name} */ {end}\n" for kept, name in _VARIABLES)
    before += "".join(f"/*!50003 SET {name:<21} = {values[name]} */ {end}\n" for _, name in _VARIABLES)
    after = "".join(f"/*!50003 SET {name:<21} = @{kept.strip()} */ {end}\n" for kept, name in _VARIABLES)
    for kept, name in (("saved_sql_mode      ", "sql_mode"), ("saved_time_zone     ", "time_zone")):
        if name in row:
            before += f"/*!50003 SET @{kept} = @@{name} */ {end}\n"
            before += f"/*!50003 SET {name:<21} = '{row[name]}' */ {end}\n"
            after = f"/*!50003 SET {name:<21} = @{kept.strip()} */ {end}\n" + after
    return before, after


def _body(row: Mapping[str, str], key: str, what: str) -> str:
    if not row[key]:
        raise StepError(f"The server does not show {what} to this user: SHOW_ROUTINE, EVENT and TRIGGER are needed.")
    return row[key]


def schema(
    connection: Any,
    header: Header,
    name: str,
    *,
    events: list[str],
    functions: list[str],
    procedures: list[str],
    enabled: frozenset[str],
) -> str:
    """Return ``S.sql``: the schema, its events and routines.

    Args:
        connection: to the server.
        header: head of the file.
        name: of the schema.
        events: names.
        functions: names.
        procedures: names.
        enabled: events that run on the primary; a secondary shows each as ``DISABLE ON REPLICA``.
    """
    query(connection, f"USE {quoted(name)}")
    created = _row(connection, f"SHOW CREATE DATABASE IF NOT EXISTS {quoted(name)}")["Create Database"]
    text = f"{header.of(database=name)}{_title(f'Current Database: {name}')}{created};\n\nUSE {quoted(name)};\n"
    if events:
        text += f"\n--\n{_comment(f'-- Dumping events for database {name!r}')}\n--\n"
        text += "/*!50106 SET @save_time_zone= @@TIME_ZONE */ ;\n"
        for number, event in enumerate(events):
            row = _row(connection, f"SHOW CREATE EVENT {quoted(event)}")
            body = _body(row, "Create Event", f"event {name}.{event}")
            body = body.replace(" EVENT ", " EVENT IF NOT EXISTS ", 1)
            if event in enabled:
                # A secondary never runs events; a restored primary must.
                body = body.replace(" DISABLE ON REPLICA ", " ENABLE ", 1)
            before, after = _within(row, ";;")
            text += (
                f"\n-- begin event {quoted(name)}.{quoted(event)}\n/*!50106 DROP EVENT IF EXISTS {quoted(event)} */"
                # The delimiter is still that of the event before.
                f"{';;' if number else ';'}\nDELIMITER ;;\n{before}/*!50106 {body} */ ;;\n"
                f"{after}-- end event {quoted(name)}.{quoted(event)}\n"
            )
        text += "\nDELIMITER ;\n/*!50106 SET TIME_ZONE= @save_time_zone */ ;\n"
    if functions or procedures:
        text += f"\n--\n{_comment(f'-- Dumping routines for database {name!r}')}\n--\n"
        for kind, names in (("Function", functions), ("Procedure", procedures)):
            for routine in names:
                row = _row(connection, f"SHOW CREATE {kind.upper()} {quoted(routine)}")
                body = _body(row, f"Create {kind}", f"{kind.lower()} {name}.{routine}")
                before, after = _within(row, ";")
                full = f"{kind.lower()} {quoted(name)}.{quoted(routine)}"
                text += (
                    f"\n-- begin {full}\n/*!50003 DROP {kind.upper()} IF EXISTS {quoted(routine)} */;\n{before}"
                    f"DELIMITER ;;\n{body} ;;\nDELIMITER ;\n{after}-- end {full}\n"
                )
    return text + "\n"


def triggers(connection: Any, header: Header, schema: str, name: str, names: list[str]) -> str:
    """Return ``S@T.triggers.sql``."""
    query(connection, f"USE {quoted(schema)}")
    text = f"{header.of(database=schema, table=name)}{_title(f'Dumping triggers for table {schema!r}.{name!r}')}"
    text = text[:-1]
    for trigger in names:
        row = _row(connection, f"SHOW CREATE TRIGGER {quoted(trigger)}")
        body = _body(row, "SQL Original Statement", f"trigger {schema}.{trigger}")
        before, after = _within(row, ";")
        full = f"trigger {quoted(schema)}.{quoted(trigger)}"
        text += (
            f"\n-- begin {full}\n{before}/*!50032 DROP TRIGGER IF EXISTS {quoted(trigger)} */;\n"
            f"DELIMITER ;;\n/*!50003 {body} */;;\nDELIMITER ;\n{after}-- end {full}\n"
        )
    return text + "\n"


def users(connection: Any, header: Header, accounts: list[tuple[str, str]]) -> str:
    """Return ``@.users.sql``: accounts and roles, then what each may do."""
    query(connection, "SET SESSION print_identified_with_as_hex = ON")
    text = f"{header.of()}--\n-- Dumping user accounts\n--\n"
    grants = ""
    for account in accounts:
        who, shown = sql_account(account), display(account)
        created = next(iter(_row(connection, f"SHOW CREATE USER {who}").values()))
        created = created.replace("CREATE USER", "CREATE USER IF NOT EXISTS", 1)
        created = _with_attribute(connection, account, created)
        default = ""
        # Roles may be created after those who have them by default.
        if " DEFAULT ROLE " in created:
            created, _, rest = created.partition(" DEFAULT ROLE ")
            roles, _, tail = rest.partition(" REQUIRE ")
            created, default = f"{created} REQUIRE {tail}", f"SET DEFAULT ROLE {roles} TO {who};\n"
        text += f"\n-- begin user {shown}\n{created};\n-- end user {shown}\n"
        given = "".join(f"{_text(row[0])};\n" for row in query(connection, f"SHOW GRANTS FOR {who}"))
        grants += f"\n-- begin grants {shown}\n{given}{default}-- end grants {shown}\n"
    log("accounts dumped", accounts=len(accounts))
    return f"{text}{grants}\n-- End of dumping user accounts\n\n"


def _with_attribute(connection: Any, account: tuple[str, str], created: str) -> str:
    """Return CREATE USER with the account's comment as it is: SHOW writes question marks for its emoji."""
    rows = query(
        connection,
        "SELECT CAST(attribute AS CHAR) FROM information_schema.user_attributes WHERE user = %s AND host = %s",
        list(account),
    )
    kept = _text(rows[0][0]) if rows else ""
    if all(ord(letter) <= 0xFFFF for letter in kept):
        return created
    literal = kept.replace("\\", "\\\\").replace("'", "''")
    return f"{created.rpartition(' ATTRIBUTE ')[0]} ATTRIBUTE '{literal}'"


def display(account: tuple[str, str]) -> str:
    """Return an account as ``@.json`` names it."""
    return "@".join("'" + part.replace("\\", "\\\\").replace("'", "\\'") + "'" for part in account)


def sql_account(account: tuple[str, str]) -> str:
    """Return an account as SQL names it."""
    return "@".join(quoted(part) for part in account)
