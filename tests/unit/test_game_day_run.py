"""A game day on a real API server and an S3 server; a thread stands in for Argo and plays the drills' runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from apiserver_help import ApiServer
from game_day_story import report
from moto.server import ThreadedMotoServer

from steps.backup.objects import Bucket
from steps.errors import Refused, Temporary
from steps.game_day import children, ending, history, plan, run, state
from steps.game_day.report import make
from steps.game_day.result import Asked
from steps.game_day.run import GameDay, Rules
from steps.game_day.steady import Seen
from steps.game_day.stop import settle
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.errors import NotFound
from steps.kube.workflows import is_over

Object = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path_factory.mktemp("api"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    made = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    yield made
    made.close()
    running.stop()


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> Bucket:
    name = f"b{abs(hash(request.node.name))}"
    s3.create_bucket(Bucket=name)
    return Bucket(s3, name)


@pytest.fixture
def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    monkeypatch.delenv("TIPHYS_ARTIFACT_FOLDER", raising=False)
    monkeypatch.setattr(run, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(ending, "PAUSE_SECONDS", 0.05)
    made = client.connect("tiphys")
    for item in made.all("workflows"):
        with suppress(NotFound):  # what is owned goes with its owner
            made.delete("workflows", item["metadata"]["name"])
    if made.find("configmaps", "tiphys-settings"):
        made.delete("configmaps", "tiphys-settings")
    made.create("configmaps", {"metadata": {"name": "tiphys-settings"}, "data": {"drills": "on"}})
    made.create("workflows", workflow("gd"))
    made.patch("workflows", "gd", {"status": {"phase": "Running"}})
    yield made
    made.close()


def workflow(name: str) -> Object:
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": {}}


class Argo(threading.Thread):
    """Ends each drill's run at the second look, or when it is stopped, and leaves its report in the bucket."""

    def __init__(self, kube: Kube, bucket: Bucket, verdicts: dict[str, str], hold: set[str] | None = None) -> None:
        super().__init__(daemon=True)
        self.kube, self.bucket, self.verdicts = kube, bucket, verdicts
        self.hold = hold or set()
        self.seen: list[str] = []
        self.together = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            live = [one for one in ending.of(self.kube, "gd") if not is_over(one)]
            self.together = max(self.together, len(live))
            for one in live:
                name = one["metadata"]["name"]
                if name not in self.seen:
                    self.seen.append(name)
                    self.kube.patch("workflows", name, {"status": {"phase": "Running", "nodes": self.nodes(name)}})
                elif ending.stopping(one):
                    self.end(one, "ABORTED")
                elif name not in self.hold and not waits(one):
                    self.end(one, self.verdicts.get(name, "PASS"))

    def nodes(self, name: str) -> Object:
        return {"n": {"id": "n", "type": "Pod", "templateName": "drill-measure", "phase": "Running"}}

    def end(self, one: Object, verdict: str) -> None:
        name, uid = one["metadata"]["name"], one["metadata"]["uid"]
        number, fault = int(name.split("-")[1]), name.split("-", 2)[2]
        key = f"runs/{name}/{uid}/report"
        self.bucket.put(f"{key}.json", json.dumps(report(number, fault, verdict=verdict)).encode())
        self.bucket.put(f"{key}.html", f"page of {name}".encode())
        artifacts = [{"name": f"report-{end}", "s3": {"key": f"{key}.{end}"}} for end in ("json", "html")]
        done = {"phase": "Succeeded", "finishedAt": "2026-11-25T10:00:00Z", "outputs": {"artifacts": artifacts}}
        phase = "Succeeded" if verdict == "PASS" else "Failed"
        self.kube.patch("workflows", name, {"status": {"phase": phase, "nodes": {"n": done}}})


def waits(one: Object) -> bool:
    nodes = ((one.get("status") or {}).get("nodes") or {}).values()
    return any(node.get("type") == "Suspend" and node.get("phase") == "Running" for node in nodes)


@pytest.fixture
def argo(kube: Kube, bucket: Bucket) -> Iterator[Callable[..., Argo]]:
    made: list[Argo] = []

    def begin(kind: type[Argo] = Argo, hold: set[str] | None = None, **verdicts: str) -> Argo:
        one = kind(kube, bucket, {name.replace("_", "-"): verdict for name, verdict in verdicts.items()}, hold)
        one.start()
        made.append(one)
        return one

    yield begin
    for one in made:
        one.over.set()
        one.join()


def steady(kube: Kube, cluster: str) -> Seen:
    return Seen("3/3 ONLINE", [])


def game_day(kube: Kube, bucket: Bucket, drills: str, told: Callable[[], str] = lambda: "", **rules: Any) -> GameDay:
    known = state.load(bucket, "gd") or state.State("gd", "tiphys", "demo", state.now(), plan.read(drills))
    return GameDay(kube, bucket, known, Rules(**rules), told, rules.pop("looking", steady))


def test_drills_run_one_after_the_other_and_are_kept(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo], tmp_path: Path
) -> None:
    playing = argo(gd_02_crash="FAIL")
    game_day(kube, bucket, "switchover, crash:writers=8, drain-node:switchover-first=true").run()
    assert playing.seen == ["gd-01-switchover", "gd-02-crash", "gd-03-drain-node"] and playing.together == 1
    made = {one["metadata"]["name"]: one for one in ending.of(kube, "gd")}
    given = {p["name"]: p["value"] for p in made["gd-02-crash"]["spec"]["arguments"]["parameters"]}
    assert given == {"cluster": "demo", "fault": "crash", "writers": "8"}
    drain = made["gd-03-drain-node"]["spec"]
    assert drain["workflowTemplateRef"]["name"] == "node-drain-drill"
    assert {p["name"]: p["value"] for p in drain["arguments"]["parameters"]} == {
        "cluster": "demo",
        "switchover-first": "true",
    }
    uid = kube.get("workflows", "gd")["metadata"]["uid"]
    assert {one["metadata"]["ownerReferences"][0]["uid"] for one in made.values()} == {uid}
    known = state.load(bucket, "gd")
    assert known is not None and known.ended_at and not known.stopped and sorted(known.looks) == [0, 1, 2, 3]

    for _ in range(2):  # a report that is made again writes no second history
        reported, result = make(bucket, known, Asked(), tmp_path)
    assert reported.verdict == "FAIL" and reported.drills_passed == "2 of 3" and result.score < 100
    assert len(bucket.keys(history.PREFIX)) == 3
    assert bucket.get("runs/gd/drills/02-crash.html") == b"page of gd-02-crash"
    assert 'href="drills/02-crash.html"' in (tmp_path / "report.html").read_text()
    kept = history.read(bucket, "tiphys", "demo", "crash", history.datetime.now(history.UTC))
    assert [(one.run, one.verdict, one.like["writers"]) for one in kept] == [("gd-02-crash", "FAIL", "8")]


def test_on_failure_stop_runs_no_more(kube: Kube, bucket: Bucket, argo: Callable[..., Argo]) -> None:
    playing = argo(gd_01_switchover="INVALID")
    day = game_day(kube, bucket, "switchover, crash", on_failure="stop")
    day.run()
    assert playing.seen == ["gd-01-switchover"] and "on-failure is stop" in day.state.stopped
    assert sorted(day.state.looks) == [0, 1], "the cluster is looked at after the last drill that ran"


def test_a_cluster_that_does_not_get_steady_gets_no_drill(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo]
) -> None:
    playing = argo()

    def looking(kube: Kube, cluster: str) -> Seen:
        return Seen("2/3 ONLINE", ["the group is not whole"]) if playing.seen else Seen("3/3 ONLINE", [])

    known = state.State("gd", "tiphys", "demo", state.now(), plan.read("switchover, crash"))
    GameDay(kube, bucket, known, Rules(steady_limit_seconds=0.2), looking=looking).run()
    assert playing.seen == ["gd-01-switchover"] and "not steady" in known.stopped


def test_a_step_that_was_evicted_goes_on_and_starts_nothing_twice(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPHYS_WORKFLOW", "gd")
    playing = argo(hold={"gd-01-switchover"})
    first = game_day(kube, bucket, "switchover, crash", lambda: "SIGTERM" if playing.seen else "")
    with pytest.raises(Temporary, match="goes on when this step starts again"):
        first.run()
    assert not ending.stopping(kube.get("workflows", "gd-01-switchover")), "only the step was to end, not the drill"
    uid = kube.get("workflows", "gd-01-switchover")["metadata"]["uid"]
    playing.hold.clear()
    second = game_day(kube, bucket, "switchover, crash")
    second.run()
    assert second.state.children[1].uid == uid and playing.seen == ["gd-01-switchover", "gd-02-crash"]
    assert not second.state.stopped


def test_a_run_that_was_made_before_it_was_noted_is_found(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo]
) -> None:
    known = state.State("gd", "tiphys", "demo", state.now(), plan.read("switchover"))
    uid = kube.get("workflows", "gd")["metadata"]["uid"]
    made = children.start(kube, children.manifest(known, uid, 1, known.entries[0]))
    argo()
    day = game_day(kube, bucket, "switchover")
    day.run()
    assert day.state.children[1].uid == made["metadata"]["uid"]


def test_a_run_of_this_name_that_is_not_ours_is_refused(kube: Kube, bucket: Bucket) -> None:
    kube.create("workflows", workflow("gd-01-switchover"))
    with pytest.raises(Refused, match="not of this game day"):
        game_day(kube, bucket, "switchover").run()


def test_stopping_the_game_day_stops_its_drill(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo], tmp_path: Path
) -> None:
    playing = argo(hold={"gd-01-switchover"})

    def told() -> str:
        if playing.seen:
            kube.patch("workflows", "gd", {"spec": {"shutdown": "Stop"}})
        return "SIGTERM" if playing.seen else ""

    day = game_day(kube, bucket, "switchover, crash", told)
    day.run()
    assert playing.seen == ["gd-01-switchover"] and day.state.stopped == "the game day was stopped"
    assert ending.stopping(kube.get("workflows", "gd-01-switchover"))
    assert day.state.children[1].phase == "Failed" and day.state.children[1].report
    reported, _ = make(bucket, day.state, Asked(), tmp_path)
    assert reported.verdict == "ABORTED"


def test_the_kill_switch_ends_it(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SWITCH_GRACE_SECONDS", 0.0)
    playing = argo(hold={"gd-01-switchover"})

    def thrown() -> str:
        if playing.seen:
            kube.patch("configmaps", "tiphys-settings", {"data": {"drills": "off"}})
        return ""

    day = game_day(kube, bucket, "switchover, crash", thrown)
    day.run()
    assert playing.seen == ["gd-01-switchover"] and "kill switch" in day.state.stopped


def test_a_drill_that_takes_too_long_is_stopped_and_the_next_one_runs(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo]
) -> None:
    playing = argo(hold={"gd-01-switchover"})
    day = game_day(kube, bucket, "switchover, crash", drill_limit_seconds=1.0)
    day.run()
    assert playing.seen == ["gd-01-switchover", "gd-02-crash"] and not day.state.stopped
    assert "longer than its limit" in day.state.children[1].message


class Asking(Argo):
    """Its runs wait for an approval."""

    def nodes(self, name: str) -> Object:
        supplied = [{"name": "approve", "valueFrom": {"supplied": {}}}]
        asked = {"parameters": [{"name": "approve", "enum": ["YES", "NO"]}]}
        node = {
            "id": "ask",
            "type": "Suspend",
            "phase": "Running",
            "inputs": asked,
            "outputs": {"parameters": supplied},
        }
        return {"ask": node}


def test_the_approval_of_the_game_day_answers_for_its_drills(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo]
) -> None:
    argo(Asking)
    day = game_day(kube, bucket, "switchover", approved=True)
    day.run()
    node = kube.get("workflows", "gd-01-switchover")["status"]["nodes"]["ask"]
    assert node["phase"] == "Succeeded" and node["outputs"]["parameters"] == [{"name": "approve", "value": "YES"}]


@pytest.mark.parametrize("how", ["stopped", "deleted"])
def test_no_drill_begins_for_a_game_day_that_has_ended(
    kube: Kube, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its process learns that only when its pod is ended, a moment later."""
    monkeypatch.setenv("TIPHYS_WORKFLOW", "gd")
    monkeypatch.setattr(run, "STOP_SECONDS", 0.2)
    if how == "deleted":
        kube.delete("workflows", "gd")
    else:
        kube.patch("workflows", "gd", {"spec": {"shutdown": "Stop"}})
    day = game_day(kube, bucket, "switchover", drill_limit_seconds=0.5)
    day.run()
    assert day.state.stopped == f"the game day was {how}" and not day.state.children and not ending.of(kube, "gd")


def test_a_drill_that_waits_for_its_lock_is_terminated_and_one_that_has_begun_is_stopped(kube: Kube) -> None:
    """Argo looks at Stop only where a run has its lock; Terminate would keep a drill from undoing itself."""
    known = state.State("gd", "tiphys", "demo", state.now(), plan.read("switchover, crash, switchover"))
    names = [
        children.start(kube, children.manifest(known, "uid", number, entry))["metadata"]["name"]
        for number, entry in enumerate(known.entries, 1)
    ]
    kube.patch("workflows", names[1], {"status": {"phase": "Running"}})
    kube.patch("workflows", names[2], {"status": {"phase": "Pending", "message": "Waiting for the lock"}})
    for name in names:
        ending.stop(kube, name)
    found = [kube.get("workflows", name)["spec"]["shutdown"] for name in names]
    assert found == ["Terminate", "Stop", "Terminate"]


def test_a_drill_that_goes_on_is_not_owned(kube: Kube) -> None:
    """What is owned is deleted with its owner, in the middle of a fault."""
    known = state.State("gd", "tiphys", "demo", state.now(), plan.read("switchover"))
    made = children.start(kube, children.manifest(known, "uid", 1, known.entries[0]))
    for phase, owners in (("Running", None), ("Failed", ["gd"])):
        kube.patch("workflows", made["metadata"]["name"], {"status": {"phase": phase}})
        children.adopt(kube, kube.get("workflows", "gd"), kube.get("workflows", made["metadata"]["name"]))
        found = kube.get("workflows", made["metadata"]["name"])["metadata"].get("ownerReferences")
        assert (found and [one["name"] for one in found]) == owners


def test_nobody_answers_where_nobody_approved(kube: Kube, bucket: Bucket, argo: Callable[..., Argo]) -> None:
    argo(Asking)
    day = game_day(kube, bucket, "switchover", drill_limit_seconds=0.5)
    day.run()
    found = kube.get("workflows", "gd-01-switchover")
    assert ending.stopping(found) and found["status"]["nodes"]["ask"]["phase"] == "Running"


def test_a_game_day_that_was_killed_is_stopped_and_reported_on(
    kube: Kube, bucket: Bucket, argo: Callable[..., Argo], tmp_path: Path
) -> None:
    """As its exit handler does, after Stop has ended the step at once."""
    known = state.State("gd", "tiphys", "demo", state.now(), plan.read("switchover, crash"))
    known.looks[0] = state.Look(state.now(), True, 0.1, "3/3 ONLINE")
    made = children.start(kube, children.manifest(known, "uid", 1, known.entries[0]))
    known.children[1] = state.Child(made["metadata"]["name"], made["metadata"]["uid"])
    argo(hold={"gd-01-switchover"})
    assert ending.stop_all(kube, "gd", 20.0) == []
    settle(kube, known)
    assert known.stopped and known.children[1].report
    reported, result = make(bucket, known, Asked(), tmp_path)
    assert reported.verdict == "ABORTED" and [one.verdict for one in result.drills] == ["ABORTED", "NOT RUN"]


def test_reap_stops_the_drills_of_a_game_day_that_is_gone_and_no_others(kube: Kube) -> None:
    for name in ("other", "over"):
        kube.create("workflows", workflow(name))
        kube.patch("workflows", name, {"status": {"phase": "Running" if name == "other" else "Failed"}})
    uids = {name: kube.get("workflows", name)["metadata"]["uid"] for name in ("gd", "other", "over")} | {"gone": "gone"}
    for name, uid in uids.items():
        known = state.State(name, "tiphys", "demo", state.now(), plan.read("switchover"))
        children.start(kube, children.manifest(known, uid, 1, known.entries[0]))
    assert ending.orphans(kube.all("workflows")) == ["gone-01-switchover", "over-01-switchover"]
    ending.stop(kube, "gone-01-switchover")
    kube.patch("workflows", "over-01-switchover", {"status": {"phase": "Succeeded"}})
    assert ending.orphans(kube.all("workflows")) == []
