"""How the gateway delivers what it has accepted: at the trigger's pace, and into a dead letter what is refused."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from gateway_help import DRILL, call, create, in_kube, objects, running_gateway, template, workflows
from platform_help import eventually, new_home, running

from eventsources.runbooks import event_source
from eventsources.triggerable import Runbook
from sensors.runbooks import sensor
from steps.undelivered import LABEL, read
from tiphys.local.client import Kube
from tiphys.local.events.check import check
from tiphys.local.events.delivery import Backoff, Pace
from tiphys.local.events.store import Store
from tiphys.local.events.worker import Worker

SLOW, NAMED = Runbook("test-slow", DRILL.parameters), Runbook("test-named", DRILL.parameters)
BODY = {"cluster": "demo", "note": "Not A Name"}


def letters(home: Path) -> list[dict[str, Any]]:
    async def look(kube: Kube) -> Any:
        return await kube.list("configmaps", "tiphys", labels=LABEL)

    found: list[dict[str, Any]] = in_kube(home, look)
    return found


def accepted(home: Path) -> set[str]:
    """Return the names that the gateway holds for taken."""
    with closing(sqlite3.connect(home / "events.sqlite")) as store:
        return {name for (name,) in store.execute("SELECT name FROM accepted")}


def test_a_pace_lets_eleven_pass_after_a_pause_and_then_one_at_a_time() -> None:
    pace, now = Pace.of({"requestsPerUnit": 2, "unit": "Minute"}), 1000.0
    assert [pace.wait(now) for _ in range(3)] == [0, 30, 60]
    now += 10_000
    assert [pace.wait(now) for _ in range(13)] == [0] * 11 + [30, 60]
    assert Pace.of({"requestsPerUnit": 4}).wait(now) == 0


def test_the_pauses_between_tries_grow() -> None:
    backoff = Backoff.of({"steps": 4, "duration": "500ms", "factor": 2, "jitter": 0})
    assert list(backoff.pauses()) == [0.5, 1, 2]
    assert Backoff.of({"duration": 2_000_000_000, "jitter": 0}).pause == 2, "a number is nanoseconds"
    assert len(list(Backoff.of({}).pauses())) == 4 and list(Backoff.of(None).pauses()) == []
    assert all(0.5 <= pause <= 1 for pause in Backoff.of({"steps": 9, "duration": "500ms"}).pauses())


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (".rateLimit.requestsPerUnit", {"rateLimit": {"requestsPerUnit": 0}}),
        (".rateLimit.requestsPerUnit", {"rateLimit": {"unit": "Hour"}}),
        (".rateLimit.unit", {"rateLimit": {"unit": "Day", "requestsPerUnit": 1}}),
        (".retryStrategy", {"retryStrategy": {"duration": "soon"}}),
        (".retryStrategy", {"retryStrategy": {"factor": "x"}}),
        (".retryStrategy.cap", {"retryStrategy": {"cap": "1m"}}),
        (".dlqTrigger", {"atLeastOnce": False}),
        (".dlqTrigger.rateLimit", {"dlqTrigger": {"rateLimit": {}}}),
        (".dlqTrigger.template.k8s.source.resource.kind", {"dlqTrigger": {"atLeastOnce": True}}),
    ],
)
def test_a_delivery_that_is_not_honoured_is_named(path: str, change: dict[str, Any]) -> None:
    wanted = sensor([DRILL])
    assert check(wanted) == []
    wanted["spec"]["triggers"][0].update(change)
    assert any(fault.startswith(f"spec.triggers[0]{path}:") for fault in check(wanted)), check(wanted)


def test_too_many_wait_and_what_is_refused_becomes_a_letter(tmp_path: Path) -> None:
    settings = new_home(tmp_path / "home")
    made = objects()
    made["workflowtemplates"] += [template(SLOW), template(NAMED)]
    made["eventsources"], made["sensors"] = [event_source([DRILL, SLOW, NAMED])], [sensor([DRILL, SLOW, NAMED])]
    drill, slow, named = made["sensors"][0]["spec"]["triggers"]
    del drill["rateLimit"]
    slow["rateLimit"] = {"unit": "Hour", "requestsPerUnit": 1}
    # No Workflow can have the name that this trigger gives it.
    note = {"src": {"dependencyName": "test-named", "dataKey": "body.note"}, "dest": "metadata.name"}
    named["template"]["k8s"]["parameters"].append(note)
    with running("tiphys.local.apiserver", settings):
        create(settings.home, made)
        port, home = settings.webhook_port, settings.home

        def of(name: str) -> int:
            return sum(one.startswith(name) for one in workflows(home))

        with running_gateway(settings):
            assert {call(port, "/test-slow", {"cluster": f"c{n}"}).status for n in range(4)} == {200}
            assert call(port, "/test-named", BODY, key="k").status == 200
            assert call(port, "/test-drill", {"cluster": "demo"}).status == 200
            eventually(lambda: letters(home))
            (letter,) = letters(home)
            assert (read(letter).template, read(letter).workflow) == ("test-named", "test-named-k")
            assert read(letter).given == BODY and read(letter).origin == "webhook"
            assert (read(letter).arguments or {})["fault"] == "crash"
            # The name is free again, and what was told once is told again.
            eventually(lambda: "Not A Name" not in accepted(home))
            again = call(port, "/test-named", BODY, key="k")
            assert (again.status, again.json["duplicate"]) == (200, False)
            eventually(lambda: len(letters(home)) == 2)
            eventually(lambda: of("test-drill") == 1 and of("test-slow") >= 1)
            assert of("test-slow") == 1 and of("test-named") == 0, "the others wait for their hour"
        with running_gateway(settings):
            # The pace begins anew, and what waited was kept.
            eventually(lambda: of("test-slow") == 2)


async def test_a_name_that_is_another_run_s_is_not_taken_for_ours(tmp_path: Path) -> None:
    settings = new_home(tmp_path / "home")
    letter = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "undelivered-"}}
    letter["metadata"] |= {"namespace": "tiphys", "labels": {LABEL: "webhook"}}  # type: ignore[operator]

    def workflow(name: str, cluster: str) -> dict[str, Any]:
        spec = {
            "workflowTemplateRef": {"name": "t"},
            "arguments": {"parameters": [{"name": "cluster", "value": cluster}]},
        }
        meta = {"name": name, "namespace": "tiphys"}
        return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": meta, "spec": spec}

    with running("tiphys.local.apiserver", settings):
        async with Kube.from_home(settings.home) as kube:
            await kube.wait_ready(60)
            store = Store(tmp_path / "events.sqlite")
            for name in ("ours", "theirs", "taken"):
                await kube.create("workflows", workflow(name, "a" if name == "ours" else "b"))
            once = {"retryStrategy": {"steps": 1}}
            await store.accept(workflow("ours", "a"), letter, once)
            await store.accept(workflow("theirs", "a"), letter, once)
            await store.accept(workflow("taken", "a"))
            working = asyncio.create_task(Worker(kube, store).run())
            while store.waiting():
                await asyncio.sleep(0.1)
            working.cancel()
            assert len(await kube.list("configmaps", "tiphys", labels=LABEL)) == 1, "of `theirs` alone"
            assert [store.find("tiphys", name) is None for name in ("ours", "theirs", "taken")] == [False, True, True]
            await store.close()


async def test_a_store_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.execute(
            "CREATE TABLE accepted (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, "
            "fingerprint TEXT NOT NULL, workflow TEXT NOT NULL, accepted REAL NOT NULL, created REAL, "
            "UNIQUE (namespace, name))"
        )
        row = ("tiphys", "a", "f", json.dumps({"metadata": {"name": "a"}}), 9e9)
        old.execute("INSERT INTO accepted (namespace, name, fingerprint, workflow, accepted) VALUES (?,?,?,?,?)", row)
        old.commit()
    store = Store(path)
    (order,) = store.waiting()
    await store.close()
    assert (order.workflow["metadata"]["name"], order.letter, order.delivery) == ("a", None, {})
