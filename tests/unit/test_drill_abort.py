"""Drills that are stopped in the middle, on a real group: for each reason, and that the fault has ended then.

Only the API server is made up; it is this machine that is frozen and asked.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from mysql_group import ROOT, Server, mysql_group
from router_help import router

from steps.drill import run
from steps.drill.book import BOOK
from steps.drill.fault import Scene
from steps.drill.faults import FAULTS
from steps.drill.guards import SETTINGS, Facts
from steps.drill.measure import told_to_stop
from steps.drill.measurement import Measurement
from steps.drill.parameters import DrillParameters
from steps.drill.result import evaluate
from steps.drill.run import Drill
from steps.errors import Refused
from steps.kube.client import Executed, Kube, Object
from steps.kube.errors import Unreachable
from steps.mysql.connection import close, query
from steps.mysql.topology import Topology, judge, read_views

# The driver leaves the sockets of connections that break half-way to the collector of garbage.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
HOST = f"127.{os.getpid() % 60 + 140}.4"


class Here:
    """An API server with the pods of a group, whose containers are this machine."""

    namespace = "tiphys"

    def __init__(self, servers: list[Server], router_address: str) -> None:
        self.servers_, self.router, self.gone = servers, router_address, False
        self.addresses = {f"demo-{number}": server.address for number, server in enumerate(servers)}
        self.objects: dict[tuple[str, str], Object] = {
            ("configmaps", SETTINGS): {"data": {"drills": "on"}},
            ("configmaps", BOOK): {},
            ("innodbclusters", "demo"): {"spec": {"instances": 3}},
        }
        for pod, address in self.addresses.items():
            ready = [{"type": "Ready", "status": "True"}]
            container = {"name": "mysql", "containerID": f"c-{pod}", "restartCount": 0}
            status = {"podIP": address, "conditions": ready, "containerStatuses": [container]}
            self.objects["pods", pod] = {"metadata": {"uid": f"u-{pod}"}, "spec": {}, "status": status}
        for (_, name), made in self.objects.items():
            made.setdefault("metadata", {}).update(name=name, resourceVersion="1")

    def find(self, resource: str, name: str) -> Object | None:
        return copy.deepcopy(self.objects.get((resource, name)))

    def get(self, resource: str, name: str) -> Object:
        return copy.deepcopy(self.objects[resource, name])

    def cluster(self, name: str) -> Object:
        return self.get("innodbclusters", name)

    def patch(self, resource: str, name: str, change: Object, resource_version: str = "") -> None:
        def merge(into: Object, new: Object) -> None:
            for key, value in new.items():
                if isinstance(value, dict):
                    merge(into.setdefault(key, {}), value)
                else:
                    into[key] = value

        merge(self.objects[resource, name], change)

    def servers(self, cluster: str) -> list[Object]:
        return [self.get("pods", pod) for pod in self.addresses]

    def routers(self, cluster: str) -> list[Object]:
        return []

    def service_address(self, cluster: str) -> str:
        return self.router

    def execute(self, pod: str, container: str, command: Sequence[str], *, timeout: float) -> Executed:
        if self.gone:
            raise Unreachable("the API server is gone")
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        return Executed(done.returncode, done.stdout, done.stderr)

    def topology(self) -> Topology:
        views, silent = read_views(self.addresses, ROOT)
        return judge("demo", 3, views, silent)

    def primary(self) -> Server:
        found = self.topology().primary
        assert found is not None
        return next(server for server in self.servers_ if server.address == found.address)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder, addresses = tmp_path_factory.mktemp("group"), [f"{HOST}.{n}" for n in (1, 2, 3)]
    with mysql_group(folder, addresses) as servers, router(f"{HOST}.9", addresses):
        yield Here(servers, f"{HOST}.9")


@pytest.fixture
def here(group: Here, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """The group, whole before each test; no server is left frozen by one that fails."""
    # A busy machine is steady late.
    monkeypatch.setattr(run, "STEADY_LIMIT_SECONDS", 300.0)
    group.objects["configmaps", SETTINGS]["data"]["drills"], group.gone = "on", False
    eventually(lambda: group.topology().is_whole, 600)
    yield group
    for server in group.servers_:
        if server.process is not None and server.process.poll() is None:
            os.kill(server.process.pid, signal.SIGCONT)


def eventually(check: Callable[[], bool], tries: int) -> None:
    for _ in range(tries):
        if check():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come true")


def state(server: Server) -> str:
    assert server.process is not None
    return Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(") ")[2][:1]


def drill(
    here: Here, *, then: Callable[[], object] = lambda: None, stop: Callable[[], str] = lambda: "", **limits: float
) -> tuple[Measurement, Server]:
    """Freeze the primary for long, do something once it stands still, and return the measurement and that server."""
    # Long before anything else would end the drill, unless a test asks for less.
    far = {"abort_no_quorum_seconds": 500.0, "abort_no_primary_seconds": 500.0, "abort_write_downtime_seconds": 500.0}
    parameters = DrillParameters(
        steady_seconds=1.0, settle_seconds=0.0, timeout_seconds=300.0, writers=2, readers=0, hold_seconds=400.0,
        **{**far, **limits},  # type: ignore[arg-type]
    )  # fmt: skip
    primary = here.primary()

    over = threading.Event()

    def disturb() -> None:
        eventually(lambda: state(primary) == "T" or over.is_set(), 6000)
        if not over.is_set():
            then()

    facts = Facts("demo", "run-1", {"tiphys.dev/drills": "allowed"}, "on", here.topology(), 1, 1)
    scene = Scene(cast(Kube, here), "demo", ROOT)
    watcher = threading.Thread(target=disturb, daemon=True)
    watcher.start()
    try:
        return Drill(facts, scene, FAULTS["freeze"], parameters, stop_reason=stop).measure(), primary
    finally:
        over.set()
        watcher.join(10)


def stopped_for(found: Measurement, primary: Server, reason: str) -> None:
    assert (found.end, found.still_acting) == ("aborted", "") and reason in found.end_reason, found.end_reason
    assert found.fault_ended.endswith(f"it is in state {found.fault_ended[-1]}") and found.fault_ended[-1] != "T"
    assert state(primary) != "T"
    assert found.released_at is not None and found.released_at < found.ended_at
    verdict = evaluate(found, None).verdict
    assert verdict.outcome == "ABORTED"
    assert any(reason in told for told in verdict.reasons) and any("has ended" in told for told in verdict.reasons)


def test_nothing_is_hit_where_another_becomes_primary_before(here: Here) -> None:
    """The guards have looked and the target is chosen: then the group switches, and is steady again."""
    seen = here.topology()
    other, moved = seen.secondaries[0], threading.Event()

    def switch() -> str:
        if not moved.is_set():
            moved.set()
            connection = here.primary().connect(read_timeout=60)
            query(connection, "SELECT group_replication_set_as_primary(%s)", (other.id,))
            close(connection)
        return ""

    facts = Facts("demo", "run-1", {"tiphys.dev/drills": "allowed"}, "on", seen, 1, 1)
    parameters = DrillParameters(steady_seconds=1.0, writers=2, readers=0, timeout_seconds=30.0, hold_seconds=1.0)
    with pytest.raises(Refused, match=f"was chosen: it is {other.pod} now"):
        Drill(facts, Scene(cast(Kube, here), "demo", ROOT), FAULTS["freeze"], parameters, stop_reason=switch).measure()
    assert all(state(server) != "T" for server in here.servers_)


def test_writes_that_are_down_for_too_long_stop_a_drill(here: Here) -> None:
    stopped_for(*drill(here, abort_write_downtime_seconds=2.0), "no write was acknowledged for")


def test_no_primary_for_too_long_stops_a_drill(here: Here) -> None:
    stopped_for(*drill(here, abort_no_primary_seconds=1.0), "the group had no primary for")


def test_the_kill_switch_stops_a_drill(here: Here) -> None:
    thrown = here.objects["configmaps", SETTINGS]["data"]
    stopped_for(*drill(here, then=lambda: thrown.update(drills="off")), "the kill switch is thrown")


def test_a_step_that_is_told_to_end_ends_its_fault_first(here: Here) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        found, primary = drill(here, then=lambda: os.kill(os.getpid(), signal.SIGTERM), stop=told_to_stop())
    finally:
        signal.signal(signal.SIGTERM, before)
    stopped_for(found, primary, "SIGTERM")


def test_a_fault_that_could_not_be_ended_is_told_loudly_and_proves_nothing(here: Here) -> None:
    def break_all() -> None:
        here.gone = True
        here.objects["configmaps", SETTINGS]["data"]["drills"] = "off"

    found, primary = drill(here, then=break_all)
    assert state(primary) == "T", "nobody could reach it"
    assert found.end == "aborted" and "the API server is gone" in found.still_acting and not found.fault_ended
    verdict = evaluate(found, None).verdict
    assert verdict.outcome == "INVALID" and "may still be acting" in verdict.sentence
    assert verdict.reasons[0].startswith("THE FAULT MAY STILL BE ACTING:") and "drill-undo" in verdict.reasons[0]
    here.gone = False
    process = found.target.process
    assert process is not None
    noted = {"primary": found.target.pod, "uid": found.target.before.uid, "container": found.target.before.container}
    noted |= {"process": {"pid": process.pid, "started": process.started}}  # type: ignore[dict-item]
    assert FAULTS["freeze"].undo(Scene(cast(Kube, here), "demo", ROOT), noted) != []
    assert state(primary) != "T"


def test_a_quorum_that_is_lost_for_too_long_stops_a_drill(here: Here) -> None:
    """The last one, for the group does not come back."""
    another = next(server for server in here.servers_ if server is not here.primary())
    stopped_for(*drill(here, then=another.kill, abort_no_quorum_seconds=1.0), "no majority of members")
