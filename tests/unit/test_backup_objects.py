"""All that is not rows: what `backup` writes of views, programs, schemas and accounts, `restore` makes again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mysql.connector
import pytest
from backup_server import alone, lone_server, test_address, versity_bucket
from mysql_group import ROOT

from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.layout import prefix
from steps.backup.load_rows import Target
from steps.backup.restore import restore_from
from steps.backup.source import S3Source
from steps.mysql.connection import query, quoted, session

ADDRESS = test_address(88, 21)
SCHEMAS = ("art `x`%s", "beta", "gamma")
A = quoted(SCHEMAS[0])
OURS = "user NOT LIKE 'mysql.%' AND user NOT IN ('root', 'repl')"

MADE = (
    f"CREATE SCHEMA {A} CHARACTER SET latin1 COLLATE latin1_german1_ci",
    "CREATE SCHEMA beta CHARACTER SET utf8mb4 COLLATE utf8mb4_ja_0900_as_cs",
    "CREATE SCHEMA gamma",
    f"USE {A}",
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40) CHARACTER SET utf8mb4, n INT DEFAULT 0)",
    "INSERT INTO t (v) VALUES ('a'), ('ü😀'), (NULL)",
    "CREATE TABLE log (id INT PRIMARY KEY AUTO_INCREMENT, what TEXT)",
    # Accounts and roles.
    "CREATE USER 'no one'@'no.where'",
    "GRANT ALL ON *.* TO 'no one'@'no.where'",
    "CREATE ROLE reader, 'odd role'@'%.example', writer",
    "GRANT SELECT ON *.* TO reader",
    f"GRANT INSERT, UPDATE (v, n), SELECT (id) ON {A}.t TO writer",
    "GRANT reader TO writer WITH ADMIN OPTION",
    r"CREATE USER 'o''brien\\'@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'p''w' DEFAULT ROLE reader, writer"
    " REQUIRE SUBJECT '/CN=x' ISSUER '/CN=y' WITH MAX_QUERIES_PER_HOUR 7 MAX_USER_CONNECTIONS 3"
    " PASSWORD EXPIRE INTERVAL 90 DAY PASSWORD HISTORY 5 PASSWORD REUSE INTERVAL 30 DAY PASSWORD REQUIRE CURRENT"
    " FAILED_LOGIN_ATTEMPTS 4 PASSWORD_LOCK_TIME UNBOUNDED",
    "GRANT reader, writer TO `o'brien\\`@`10.0.0.0/255.0.0.0`",
    "SET DEFAULT ROLE reader, writer TO `o'brien\\`@`10.0.0.0/255.0.0.0`",
    "CREATE USER locked@localhost IDENTIFIED BY 'x' REQUIRE X509 PASSWORD EXPIRE ACCOUNT LOCK"
    " COMMENT 'it''s \\\"odd\\\" 😀'",
    "CREATE USER described IDENTIFIED WITH caching_sha2_password BY 'y' REQUIRE SSL PASSWORD EXPIRE NEVER"
    """ ATTRIBUTE '{"team": "a\\\\"b", "n": [1, null]}'""",
    "CREATE USER nopass@'%'",
    "CREATE USER sized IDENTIFIED BY 'z' REQUIRE CIPHER 'ECDHE-RSA-AES128-GCM-SHA256'",
    "GRANT BACKUP_ADMIN, CONNECTION_ADMIN ON *.* TO described WITH GRANT OPTION",
    "GRANT ROLE_ADMIN ON *.* TO described",
    f"GRANT ALL ON {A}.* TO described WITH GRANT OPTION",
    "GRANT SELECT ON `be%a`.* TO described",
    "GRANT PROXY ON nopass TO described WITH GRANT OPTION",
    "GRANT 'odd role'@'%.example' TO nopass",
    # Programs, with definers that are there, and that are not.
    "CREATE DEFINER = described FUNCTION plus(x INT, y VARCHAR(9) CHARSET latin1) RETURNS VARCHAR(20) CHARSET utf8mb4"
    " DETERMINISTIC COMMENT 'it''s; --' SQL SECURITY INVOKER RETURN"
    " CONCAT(x, CONVERT(y USING utf8mb4), ';;', '😀') -- don't; stop",
    f"GRANT EXECUTE, ALTER ROUTINE ON FUNCTION {A}.plus TO nopass",
    "CREATE DEFINER = 'no one'@'no.where' PROCEDURE `p;;'%s`(IN a INT, OUT b TEXT) READS SQL DATA BEGIN"
    " DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN END; /* ;; DELIMITER // */ SELECT 1; SET b = '\\n;;'; END",
    "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    """CREATE FUNCTION ansi() RETURNS TEXT DETERMINISTIC RETURN 'back\\' || 'slash'""",
    "SET SESSION sql_mode = DEFAULT",
    "SET NAMES latin1",
    "CREATE PROCEDURE in_latin1() SELECT 'x'",
    "SET NAMES utf8mb4",
    # Triggers: several for one moment keep their order.
    "CREATE TRIGGER second BEFORE INSERT ON t FOR EACH ROW SET NEW.n = NEW.n * 2",
    "CREATE DEFINER = described TRIGGER first BEFORE INSERT ON t FOR EACH ROW PRECEDES second SET NEW.n = NEW.n + 1",
    "CREATE TRIGGER `t;;'` AFTER UPDATE ON t FOR EACH ROW BEGIN INSERT INTO log (what) VALUES ('u;'); END",
    # Views: one on another, across schemas and against the order of their names; definers that are not there.
    f"CREATE VIEW {A}.z AS SELECT id, v, plus(id, 'x') AS more FROM t",
    f"CREATE DEFINER = 'no one'@'no.where' SQL SECURITY DEFINER VIEW beta.y AS SELECT * FROM {A}.z",
    f"CREATE ALGORITHM = MERGE SQL SECURITY INVOKER VIEW {A}.a AS SELECT id, v FROM {A}.t WHERE id > 0 WITH CASCADED"
    " CHECK OPTION",
    "CREATE VIEW gamma.`odd ``v`` %s` AS SELECT y.id AS `a``b`, '\\\\' AS `c;--` FROM beta.y",
    "CREATE ALGORITHM = TEMPTABLE VIEW gamma.top AS WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r"
    " WHERE n < 3) SELECT r.n, o.`a``b` FROM r LEFT JOIN gamma.`odd ``v`` %s` o ON o.`a``b` = r.n",
    # A view cannot be made on one whose definer is gone: it was there before.
    "DROP USER 'no one'@'no.where'",
    # Events.
    "SET SESSION time_zone = '+05:30'",
    "CREATE EVENT asleep ON SCHEDULE EVERY 1 YEAR STARTS '2099-01-01 00:00:00' ENDS '2199-01-01' ON COMPLETION PRESERVE"
    " DISABLE COMMENT 'x''y' DO BEGIN DELETE FROM log; SET @a = ';;'; END",
    "SET SESSION time_zone = DEFAULT",
    "CREATE DEFINER = described EVENT awake ON SCHEDULE AT '2099-01-01 00:00:00' ENABLE DO DELETE FROM log",
    "CREATE EVENT beta.nowhere ON SCHEDULE EVERY 7 DAY STARTS '2099-05-05 05:05:05' DISABLE ON REPLICA DO SELECT 1",
    "CREATE EVENT `e;'%s` ON SCHEDULE EVERY '1:30' MINUTE_SECOND STARTS '2099-05-05' DO SELECT 1",
)


@pytest.fixture(scope="module")
def found(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """All objects before and after one round trip."""
    folder = tmp_path_factory.mktemp("objects")
    with (
        lone_server(folder, ADDRESS) as server,
        versity_bucket(folder, test_address(88, 22)) as bucket,
        session(ADDRESS, 3306, ROOT) as connection,
    ):
        socket = str(server.folder / "s")
        with mysql.connector.connect(unix_socket=socket, user="root", use_pure=True) as first:
            query(first, "GRANT PROXY ON ''@'' TO root@'%' WITH GRANT OPTION")
        for statement in MADE:
            query(connection, statement)
        before = seen(connection)
        selection = Selection(exclude_users=("root", "repl"))
        made, _ = back_up(alone(ADDRESS), ROOT, bucket, "tiphys", selection, parallel=2)
        for schema in SCHEMAS:
            query(connection, f"DROP SCHEMA {quoted(schema)}")
        for user, host in query(connection, f"SELECT user, host FROM mysql.user WHERE {OURS}"):
            query(connection, f"DROP USER {quoted(user)}@{quoted(host)}")
        source = S3Source(bucket, prefix(made.name))
        restore_from(source, Target(ADDRESS, ROOT), name=made.name, only=[])
        yield before, seen(connection)


def seen(connection: Any) -> dict[str, Any]:
    """Return all objects by kind and name, as the server shows them with every name in full."""
    query(connection, "USE mysql")
    query(connection, "SET SESSION print_identified_with_as_hex = ON, information_schema_stats_expiry = 0")
    ours = "IN (" + ", ".join("'" + schema.replace("'", "''") + "'" for schema in SCHEMAS) + ")"
    found: dict[str, Any] = {}
    for schema in SCHEMAS:
        found[f"schema {schema}"] = query(connection, f"SHOW CREATE SCHEMA {quoted(schema)}")
    for kind, table, name in (
        ("VIEW", "views", "table_name"),
        ("TRIGGER", "triggers", "trigger_name"),
        ("EVENT", "events", "event_name"),
        ("FUNCTION", "routines", "routine_name"),
        ("PROCEDURE", "routines", "routine_name"),
    ):
        schema = {"VIEW": "table_schema"}.get(kind, f"{name.removesuffix('_name')}_schema")
        only = f" AND routine_type = '{kind}'" if table == "routines" else ""
        rows = query(connection, f"SELECT {schema}, {name} FROM information_schema.{table} WHERE {schema} {ours}{only}")
        for where, what in rows:
            row = query(connection, f"SHOW CREATE {kind} {quoted(where)}.{quoted(what)}")[0]
            # A trigger's last field is when it was made. The client's character set is that of the dump's files.
            charset = {"VIEW": 2, "TRIGGER": 3, "EVENT": 4, "FUNCTION": 3, "PROCEDURE": 3}[kind]
            kept = [*row[:charset], *row[charset + 1 :]]
            found[f"{kind.lower()} {where}.{what}"] = kept[:-1] if kind == "TRIGGER" else kept
    order = "SELECT trigger_name, action_timing, event_manipulation, action_order, sql_mode FROM"
    found["order of triggers"] = query(
        connection, f"{order} information_schema.triggers WHERE trigger_schema {ours} ORDER BY 1"
    )
    for user, host in query(connection, f"SELECT user, host FROM mysql.user WHERE {OURS}"):
        who = f"{quoted(user)}@{quoted(host)}"
        found[f"user {who}"] = query(connection, f"SHOW CREATE USER {who}")
        found[f"grants {who}"] = sorted(query(connection, f"SHOW GRANTS FOR {who}"))
    found["attributes"] = query(
        connection, f"SELECT user, host, user_attributes FROM mysql.user WHERE {OURS} ORDER BY 1"
    )
    for table in ("default_roles", "role_edges"):
        found[table] = sorted(query(connection, f"SELECT * FROM mysql.{table}"))
    found["rows"] = [query(connection, f"SELECT * FROM {A}.{name} ORDER BY 1") for name in ("t", "z", "a")]
    return found


def test_every_object_is_looked_at(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    kinds = [name.split()[0] for name in found[0]]
    expected = {"schema": 3, "view": 5, "trigger": 3, "event": 4, "function": 2, "procedure": 2, "user": 8}
    assert {kind: kinds.count(kind) for kind in expected} == expected


@pytest.mark.parametrize(
    "kind",
    ["schema", "view", "trigger", "event", "function", "procedure", "user", "grants", "order", "rows", "default_"],
)
def test_what_is_not_rows_comes_back_the_same(found: tuple[dict[str, Any], dict[str, Any]], kind: str) -> None:
    before, after = ({name: value for name, value in one.items() if name.startswith(kind)} for one in found)
    assert before and before == after


def test_roles_and_attributes_come_back_the_same(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for table in ("role_edges", "attributes"):
        assert found[0][table] and found[0][table] == found[1][table]
