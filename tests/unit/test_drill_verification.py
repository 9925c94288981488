"""The search for lost writes on a real server: done again after its step was lost, it finds the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest
from mysql_group import ROOT, Server, mysql_group

from steps.drill import rows
from steps.drill.attempts import Attempt, Outcome
from steps.drill.ledger import ClientRecord, Recorded
from steps.drill.verification import verify
from steps.kube.client import Kube, Object
from steps.mysql.connection import close, query

ADDRESS = f"127.89.{os.getpid() % 250 + 1}.5"


class Record(Recorded):
    """Three writes that were acknowledged, the last of which is missing."""

    run, cluster = "run-1", "demo"
    clients = [ClientRecord(0, "write", [Attempt(n, 0.0, 0.1, Outcome.ACKNOWLEDGED, 0, "s") for n in (0, 1, 2)])]


class OneServer:
    """An API server with a cluster of one."""

    def cluster(self, name: str) -> Object:
        return {"metadata": {"name": name}, "spec": {"instances": 1, "secretName": "root"}}

    def secret(self, name: str) -> dict[str, str]:
        return {"rootPassword": ROOT.password}

    def servers(self, cluster: str) -> list[Object]:
        return [{"metadata": {"name": "demo-0"}, "status": {"podIP": ADDRESS}}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    opened = server.connect()
    rows.prepare(opened, Record.run)
    for number in (0, 1):
        query(opened, f"INSERT INTO tiphys.ledger VALUES ('{Record.run}', 0, {number})")
    yield opened
    rows.clear_all(opened, {Record.run})
    close(opened)


@pytest.mark.parametrize("keep", [False, True])
def test_a_search_that_is_done_again_loses_no_more_writes(connection: Any, keep: bool) -> None:
    kube, record = cast(Kube, OneServer()), Record()
    found = [verify(kube, record, keep_ledger=keep) for _ in range(2)]
    for each in found:
        assert [(one.client, one.sequence) for one in each.lost] == [(0, 2)] and each.unchecked == []
    assert rows.runs(connection) == ([] if keep else [Record.run])
