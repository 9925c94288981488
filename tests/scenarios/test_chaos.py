"""The bench that disturbs drills: it sees whatever a drill may leave, and a short run of it finds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_run import Platform
from test_failover_drill import eventually
from whole_cluster import topology, until_whole

from steps.drill import book, intent
from steps.kube import cordon
from steps.kube.pods import is_ready
from steps.mysql.connection import SERVER_PORT, query, root_credentials, session

BENCH = Path(__file__).parents[2] / "bench"
RUN = "failover-drill-of-this-test"


@pytest.fixture
def whole(platform: Platform, demo: str) -> str:
    until_whole(platform, demo)
    eventually("the Routers are ready", lambda: sum(map(is_ready, platform.kube.routers(demo))) == 2)
    return demo


@pytest.fixture
def dirty(platform: Platform, whole: str) -> Iterator[str]:
    """Everything that a drill could leave; the name of a cluster that has it."""
    kube = platform.kube
    node = kube.all("nodes")[0]["metadata"]["name"]
    (router, *_) = kube.routers(whole)
    process = int((platform.home / "pods" / router["metadata"]["uid"] / "router.pid").read_text())
    primary = topology(platform, whole).primary
    assert primary is not None
    credentials = root_credentials(kube, kube.cluster(whole))

    def sql(statement: str) -> None:
        with session(primary.address, SERVER_PORT, credentials) as connection:
            query(connection, statement)

    cordon.cordon(kube, node, cordon.Cordon(RUN, kube.namespace, intent.now()))
    intent.write(kube, whole, intent.Intent(RUN, "switchover", intent.now()))
    sql("CREATE SCHEMA tiphys")
    os.kill(process, signal.SIGSTOP)
    try:
        yield whole
    finally:
        os.kill(process, signal.SIGCONT)
        sql("DROP SCHEMA tiphys")
        intent.remove(kube, whole, RUN)
        cordon.release(kube, node, RUN)


def test_the_bench_sees_what_a_drill_may_leave(platform: Platform, dirty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setenv("KUBECONFIG", "")
    from chaos_parts import platform as known
    from chaos_parts.traces import Traces

    looked = Traces(known.Platform(platform.home, dirty))
    found = " ".join(looked.of(RUN))
    for what in (
        f"{cordon.ANNOTATION}",
        "is cordoned",
        f"innodbclusters/{dirty} {intent.ANNOTATION}",
        f"configmap entry {book.BOOK} {RUN}",
        f"configmaps/{book.BOOK} names the drill",
        "is stopped",
        "schema tiphys",
    ):
        assert what in found, found


def test_drills_that_are_killed_stopped_and_terminated_leave_nothing(platform: Platform, whole: str) -> None:
    words = ["--kills=1", "--stops=1", "--terminates=1", "--deletes=1", "--aways=0", "--drills=switchover", "--seed=5"]
    done = subprocess.run(
        [sys.executable, BENCH / "chaos.py", "--home", platform.home, "--cluster", whole, *words],
        capture_output=True,
        text=True,
        timeout=600,
    )
    told = json.loads(done.stdout.splitlines()[-1] if done.stdout else "{}")
    assert done.returncode == 0 and told["failures"] == [], f"{done.stdout}\n{done.stderr}"
    assert told["rounds"] == {"repeat": 1, "kill": 1, "stop": 1, "terminate": 1, "delete": 1}
