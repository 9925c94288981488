from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tiphys.local.engine.cron import LAST_SCHEDULE, Plan, plan, workflow_for
from tiphys.local.engine.model import stamp

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def cron(last: datetime | None = None, active: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    ref = {"workflowTemplateRef": {"name": "t"}}
    status: dict[str, Any] = {"active": [{"name": name, "uid": f"uid-{name}"} for name in active or []]}
    if last:
        status["lastScheduledTime"] = stamp(last)
    created = stamp(NOON - timedelta(days=3))
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": "c", "namespace": "tiphys", "uid": "u", "creationTimestamp": created},
        "spec": {"schedules": ["0 * * * *"], "workflowSpec": ref, **spec},
        "status": status,
    }


def child(name: str, phase: str = "Running", ended: datetime | None = None) -> dict[str, Any]:
    status = {"phase": phase, **({"finishedAt": stamp(ended)} if ended else {})}
    return {"metadata": {"name": name, "namespace": "tiphys", "uid": f"uid-{name}"}, "status": status}


def due(manifest: dict[str, Any], now: datetime, *children: dict[str, Any], considered: datetime | None = None) -> Plan:
    return plan(manifest, list(children), now, considered)


def test_a_run_is_due_at_its_time_and_once() -> None:
    last = NOON - timedelta(hours=1)
    assert due(cron(last), NOON - timedelta(seconds=1)).run is None
    assert due(cron(last), NOON - timedelta(seconds=1)).next == NOON
    assert due(cron(last), NOON + timedelta(seconds=1)).run == NOON
    assert due(cron(NOON), NOON + timedelta(seconds=1)).run is None
    assert due(cron(last), NOON + timedelta(seconds=1), considered=NOON).run is None


@pytest.mark.parametrize(("late", "runs"), [(5, True), (299, True), (301, False)])
def test_a_missed_run_is_made_up_for_within_its_deadline(late: int, runs: bool) -> None:
    found = due(cron(NOON - timedelta(hours=5), startingDeadlineSeconds=300), NOON + timedelta(seconds=late))
    assert (found.run is not None) is runs, "the newest missed time, and only that one"


def test_without_a_deadline_a_missed_run_is_gone() -> None:
    assert due(cron(NOON - timedelta(hours=5)), NOON + timedelta(seconds=60)).run is None


def test_a_changed_schedule_makes_up_for_nothing() -> None:
    manifest = cron(NOON - timedelta(hours=5), startingDeadlineSeconds=3000)
    manifest["metadata"]["annotations"] = {LAST_SCHEDULE: "5 5 * * *"}
    assert due(manifest, NOON + timedelta(seconds=60)).run is None
    manifest["metadata"]["annotations"] = {LAST_SCHEDULE: "0 * * * *"}
    assert due(manifest, NOON + timedelta(seconds=60)).run == NOON


@pytest.mark.parametrize(
    ("policy", "runs", "ended"), [("Allow", True, []), ("Forbid", False, []), ("Replace", True, ["old"])]
)
def test_concurrency(policy: str, runs: bool, ended: list[str]) -> None:
    manifest = cron(NOON - timedelta(hours=1), active=["old"], concurrencyPolicy=policy)
    found = due(manifest, NOON, child("old"))
    assert ((found.run is not None), found.terminate, found.considered) == (runs, ended, NOON)


def test_suspended_runs_nothing() -> None:
    assert due(cron(NOON - timedelta(hours=1), suspend=True), NOON).run is None


def test_time_zones_and_several_schedules() -> None:
    manifest = cron(schedules=["30 13 * * *", "0 3 * * *"], timezone="Europe/Berlin")
    assert due(manifest, NOON + timedelta(minutes=30)).run == NOON + timedelta(minutes=30)
    assert due(manifest, NOON).next == NOON + timedelta(minutes=30)


def test_runs_are_counted_when_they_end() -> None:
    manifest = cron(NOON, active=["good", "bad", "lost", "on"])
    status = due(
        manifest,
        NOON,
        child("good", "Succeeded", NOON),
        child("bad", "Error", NOON),
        child("on"),
        child("unseen"),
    ).status
    assert (status["succeeded"], status["failed"]) == (1, 1)
    assert [entry["name"] for entry in status["active"]] == ["on", "unseen"]


def test_history_limits_keep_the_newest() -> None:
    runs = [child(f"s{n}", "Succeeded", NOON - timedelta(hours=n)) for n in range(5)]
    runs += [child(f"f{n}", "Failed", NOON - timedelta(hours=n)) for n in range(3)]
    assert sorted(due(cron(NOON), NOON, *runs).delete) == ["f1", "f2", "s3", "s4"]
    limits = {"successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 5}
    assert sorted(due(cron(NOON, **limits), NOON, *runs).delete) == ["s0", "s1", "s2", "s3", "s4"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"schedules": ["every day"]}, "spec.schedules[0]"),
        ({"timezone": "Mars/Base"}, "spec.timezone"),
        ({"schedules": []}, "spec.schedules"),
        ({"when": "x"}, "spec.when: not supported"),
        ({"startingDeadlineSeconds": "60"}, "spec.startingDeadlineSeconds: a whole number was expected"),
    ],
)
def test_what_cannot_be_read_is_said_in_the_status(spec: dict[str, Any], says: str) -> None:
    found = due(cron(NOON - timedelta(hours=1), **spec), NOON)
    assert found.run is None
    assert says in found.status["conditions"][0]["message"]


def test_the_workflow_of_a_run() -> None:
    made = workflow_for(cron(workflowMetadata={"labels": {"a": "b"}}), NOON)
    assert made["metadata"]["name"] == f"c-{int(NOON.timestamp())}"
    assert made["metadata"]["labels"] == {"a": "b", "workflows.argoproj.io/cron-workflow": "c"}
    assert made["metadata"]["annotations"] == {"workflows.argoproj.io/scheduled-time": "2026-11-21T12:00:00Z"}
    assert made["spec"] == {"workflowTemplateRef": {"name": "t"}}
