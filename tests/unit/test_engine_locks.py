from __future__ import annotations

from typing import Any

from engine_simulation import End, Play, World

from tiphys.local.engine.locks import Locks

TEMPLATE = """
kind: WorkflowTemplate
metadata: {name: t}
spec:
  entrypoint: a
  arguments: {parameters: [{name: cluster}]}
  synchronization:
    mutexes: [{name: "cluster-{{workflow.parameters.cluster}}"}]
    semaphores: [{configMapKeyRef: {name: settings, key: runs}}]
  templates: [{name: a, container: {image: i}}]
"""
SEMAPHORE = "tiphys/ConfigMap/settings/runs"


def run(world: World, name: str, cluster: str) -> Play:
    parameters = [{"name": "cluster", "value": cluster}]
    spec = {"workflowTemplateRef": {"name": "t"}, "arguments": {"parameters": parameters}}
    return Play(world, {"kind": "Workflow", "metadata": {"name": name}, "spec": spec}, lambda node, pod: None).go()


def finish(play: Play, code: int = 0) -> None:
    play.script = lambda node, pod: End(code)
    play.go()
    assert play.ended


def test_one_run_per_cluster_in_the_order_of_their_creation() -> None:
    world = World(TEMPLATE, limits={SEMAPHORE: 4})
    plays = [run(world, f"w{n}", "demo") for n in range(4)]
    assert [play.phase for play in plays] == ["Running", "Pending", "Pending", "Pending"]
    assert plays[1].status["message"] == "Waiting for tiphys/Mutex/cluster-demo lock. Lock status: 0/1"
    assert plays[1].created == [] and "startedAt" not in plays[1].status
    mutex = plays[0].status["synchronization"]["mutex"]
    assert mutex == {"holding": [{"mutex": "tiphys/Mutex/cluster-demo", "holder": "tiphys/w0"}]}
    assert "waiting" in plays[1].status["synchronization"]["mutex"]
    for n in range(3):
        finish(plays[n], code=n)  # a failed run gives its locks back as well
        assert world.granted == [f"tiphys/w{m}" for m in range(1, n + 2)]
        assert [play.go().phase for play in plays[n + 1 :]] == ["Running", *["Pending"] * (2 - n)]
        assert "synchronization" not in plays[n].status


def test_the_semaphore_bounds_runs_and_one_who_waits_for_a_mutex_does_not_block_others() -> None:
    world = World(TEMPLATE, limits={SEMAPHORE: 2})
    first, second, other, third = (run(world, f"w{n}", c) for n, c in enumerate(["a", "a", "b", "c"]))
    assert [p.phase for p in (first, second, other, third)] == ["Running", "Pending", "Running", "Pending"]
    assert third.status["message"] == f"Waiting for {SEMAPHORE} lock. Lock status: 0/2"
    finish(first)
    assert [p.go().phase for p in (second, third)] == ["Running", "Pending"], "the older one is served first"


def test_a_limit_that_grows_lets_waiters_in() -> None:
    world = World(TEMPLATE, limits={SEMAPHORE: 1})
    run(world, "w0", "a")
    waiting = run(world, "w1", "b")
    world.limits = {SEMAPHORE: 2}
    world.locks.serve()
    assert world.granted == ["tiphys/w1"] and waiting.go().phase == "Running"


def test_a_semaphore_without_a_limit_fails_the_workflow_and_blocks_nobody() -> None:
    world = World(TEMPLATE)
    lost = run(world, "w0", "a")
    assert lost.phase == "Failed" and "Failed to acquire the synchronization lock" in lost.status["message"]
    assert not world.locks.waiters
    world.limits = {SEMAPHORE: 1}
    assert run(world, "w1", "a").phase == "Running"


def test_one_that_is_stopped_in_the_line_leaves_it() -> None:
    world = World(TEMPLATE, limits={SEMAPHORE: 4})
    holder, waiting, last = (run(world, f"w{n}", "demo") for n in range(3))
    waiting.workflow["spec"]["shutdown"] = "Terminate"
    assert (waiting.go().phase, waiting.created) == ("Failed", [])
    assert waiting.status["message"] == "Stopped with strategy 'Terminate'"
    finish(holder)
    assert world.granted == ["tiphys/w2"] and last.go().phase == "Running"


def test_one_that_is_told_to_stop_stays_in_the_line_and_does_nothing_when_it_is_its_turn() -> None:
    world = World(TEMPLATE, limits={SEMAPHORE: 4})
    holder, waiting, last = (run(world, f"w{n}", "demo") for n in range(3))
    waiting.workflow["spec"]["shutdown"] = "Stop"
    assert waiting.go().phase == "Pending"
    finish(holder)
    assert (waiting.go().phase, waiting.created) == ("Failed", [])
    assert waiting.status["message"] == "Stopped with strategy 'Stop'" and last.go().phase == "Running"


def test_the_lock_is_held_until_the_exit_handler_is_done() -> None:
    world = World(
        TEMPLATE.replace("entrypoint: a", "entrypoint: a\n  onExit: a"),
        limits={SEMAPHORE: 4},
    )
    holder, waiting = run(world, "w0", "demo"), run(world, "w1", "demo")
    holder.script = lambda node, pod: None if node.endswith("onExit") else End()
    assert holder.go().phases() == {".": "Succeeded", ".onExit": "Running"}
    assert waiting.go().phase == "Pending"
    finish(holder)
    assert waiting.go().phase == "Running"


def test_locks_of_templates() -> None:
    manifest = """
kind: Workflow
metadata: {name: wf}
spec:
  entrypoint: main
  templates:
  - name: main
    steps: [[{name: a, template: one}, {name: b, template: one}]]
  - {name: one, synchronization: {mutexes: [{name: m}]}, container: {image: i}}
"""
    world = World()
    play = Play(world, manifest, lambda node, pod: None).go()
    assert play.phases()["[0].b"] == "Pending" and len(play.created) == 1
    assert play.node("[0].b")["synchronizationStatus"] == {"waiting": "tiphys/Mutex/m"}
    finish(play)
    assert (play.phase, len(play.created)) == ("Succeeded", 2)
    assert not world.locks.holders and not world.locks.waiters


def test_many_waiters_are_served_once_each() -> None:
    world = World(TEMPLATE, limits={SEMAPHORE: 3})
    plays = [run(world, f"w{n:03}", f"c{n}") for n in range(40)]
    running: list[Any] = [p for p in plays if p.phase == "Running"]
    assert len(running) == 3
    while running:
        finish(running.pop(0))
        running = [p for p in plays if not p.ended and p.go().phase == "Running"]
        assert len(running) <= 3
    assert all(p.phase == "Succeeded" for p in plays)
    assert world.granted == [f"tiphys/w{n:03}" for n in range(3, 40)]


def test_those_who_wait_are_known_again_after_a_restart() -> None:
    locks = Locks(lambda key: 1)
    locks.hold("tiphys/w0", "m")
    locks.wait("tiphys/w2", ("m",), created="2026-01-02")
    locks.wait("tiphys/w1", ("m",), created="2026-01-01")
    locks.wait("tiphys/w3", ("m",), priority=5, created="2026-01-03")
    assert locks.acquire("tiphys/new", ["m"], created="2026-01-04") == "m"
    order = []
    locks.granted = order.append
    for holder in ("tiphys/w0", "tiphys/w3", "tiphys/w1", "tiphys/w2"):
        locks.release(holder)
    assert order == ["tiphys/w3", "tiphys/w1", "tiphys/w2", "tiphys/new"]


def test_the_order_of_one_second_is_the_same_whoever_is_met_first() -> None:
    served = []
    for names in (("w1", "w2", "w3"), ("w3", "w1", "w2")):
        order: list[str] = []
        locks = Locks(lambda key: 1, order.append)
        locks.hold("tiphys/w0", "m")
        for name in names:
            locks.wait(f"tiphys/{name}", ("m",), created="2026-01-01T00:00:00Z")
        for holder in ("w0", "w1", "w2"):
            locks.release(f"tiphys/{holder}")
        served.append(order)
    assert served == [["tiphys/w1", "tiphys/w2", "tiphys/w3"]] * 2
