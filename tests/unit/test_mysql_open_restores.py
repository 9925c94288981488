"""Restores that a real server knows of and that nobody finished."""

from __future__ import annotations

import os
from pathlib import Path

from mysql_group import ROOT, mysql_group

from steps.backup import load_state
from steps.backup.load_run import LOCK
from steps.check.facts import OpenRestore
from steps.mysql.connection import SERVER_PORT, query, session
from steps.mysql.inspection import open_restores

ADDRESS = f"127.85.{os.getpid() % 250 + 1}.9"


def test_an_unfinished_restore_is_found_and_whether_it_is_worked_on(tmp_path: Path) -> None:
    with mysql_group(tmp_path, [ADDRESS]), session(ADDRESS, SERVER_PORT, ROOT, what="server") as connection:
        assert open_restores(connection) == []
        for statement in load_state._TABLES:
            query(connection, statement)
        columns = "id, backup, fingerprint, names, tables, invisible_key, phase, workflow, gtids"
        for number, phase in enumerate(("rows", "done")):
            query(
                connection,
                f"INSERT INTO tiphys.restores ({columns})"
                " VALUES (%s, 's3://b/x/', 'f', '[]', '[]', 0, %s, 'restore-1', '')",
                [str(number), phase],
            )
        assert open_restores(connection) == [OpenRestore("s3://b/x/", "rows", "restore-1", running=False)]
        with session(ADDRESS, SERVER_PORT, ROOT, what="server") as worker:
            query(worker, "SELECT GET_LOCK(%s, 1)", [LOCK])
            assert open_restores(connection)[0].running
        query(connection, "UPDATE tiphys.restores SET phase = 'done'")
        assert open_restores(connection) == []
