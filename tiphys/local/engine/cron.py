"""CronWorkflows: which run is due, which runs are over, which old ones go.

`plan` is a function of values. A run's name is made from its scheduled time, so that a crash between creating
it and writing that down makes no second one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from tiphys.local.client import AlreadyExists, Conflict, Informer, Kube, NotFound, WorkQueue
from tiphys.local.engine.model import CRON_LABEL, SCHEDULED_TIME, Json, SpecError, merged, parse_time, stamp, version_of
from tiphys.local.engine.operate import ENDED
from tiphys.local.engine.supported import check
from tiphys.local.informer import Key, key_of

log = logging.getLogger(__name__)

PUNCTUAL = timedelta(seconds=10)
"""How late a run may begin that has no startingDeadlineSeconds: the engine was up, only busy."""
LAST_SCHEDULE = "cronworkflows.argoproj.io/last-used-schedule"
"""Argo's annotation: a time that a new schedule would have had in the past is not made up for."""


@dataclass
class Plan:
    """What is to be done for one CronWorkflow.

    Attributes:
        run: the scheduled time to run for now, None if none is due.
        considered: the newest scheduled time that was looked at; it is not looked at again.
        terminate: names of workflows to terminate first (concurrencyPolicy Replace).
        delete: names of finished workflows beyond the history limits.
        status: the CronWorkflow's status without the new run.
        next: when the next run is due, None if never.
    """

    run: datetime | None = None
    considered: datetime | None = None
    terminate: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    status: Json = field(default_factory=dict)
    next: datetime | None = None


def schedule_text(spec: Json) -> str:
    """Return the schedules with their time zone, to notice when they change."""
    zone = spec.get("timezone")
    return ",".join(f"CRON_TZ={zone} {text}" if zone else text for text in spec.get("schedules") or [])


def neighbours(spec: Json, now: datetime) -> tuple[datetime, datetime]:
    """Return the last scheduled time up to `now` and the first one after it.

    Raises:
        SpecError: a schedule or the time zone cannot be read.
    """
    try:
        zone = ZoneInfo(spec.get("timezone") or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SpecError(f"spec.timezone: {spec.get('timezone')!r} is unknown") from error
    schedules = spec.get("schedules") or []
    if not schedules:
        raise SpecError("spec.schedules: there are none")
    local = now.astimezone(zone).replace(microsecond=0)
    before, after = [], []
    for at, text in enumerate(schedules):
        try:
            before.append(croniter(text, local + timedelta(seconds=1)).get_prev(datetime))
            after.append(croniter(text, local).get_next(datetime))
        except (CroniterError, ValueError, KeyError) as error:
            raise SpecError(f"spec.schedules[{at}]: {text!r} is no schedule: {error}") from error
    return max(before).astimezone(UTC), min(after).astimezone(UTC)


def plan(cron: Json, children: list[Json], now: datetime, considered: datetime | None) -> Plan:
    """Decide what is to be done now.

    Args:
        cron: the CronWorkflow.
        children: the workflows that carry its label.
        now: the time.
        considered: `Plan.considered` of the pass before, None after a start of the engine.
    """
    spec, status = cron["spec"], dict(cron.get("status") or {})
    faults = check(cron)
    found = Plan(considered=considered, status=status)
    try:
        if faults:
            raise SpecError("; ".join(faults))
        last, found.next = neighbours(spec, now)
    except SpecError as error:
        status["conditions"] = [{"type": "SpecError", "status": "True", "message": str(error)}]
        return found
    status["conditions"] = []
    _count(status, children)
    found.delete = old_runs(spec, children)
    if status["active"] or status.get("lastScheduledTime"):
        status["phase"] = "Active"
    if not _due(cron, last, now, considered):
        return found
    found.considered = last
    policy = spec.get("concurrencyPolicy") or "Allow"
    if spec.get("suspend"):
        return found
    if policy == "Forbid" and status["active"]:
        log.info("not run: Forbid, and one is active", extra={"cron": cron["metadata"]["name"], "due": stamp(last)})
        return found
    if policy == "Replace":
        found.terminate = [item["name"] for item in status["active"]]
    found.run = last
    return found


def _due(cron: Json, last: datetime, now: datetime, considered: datetime | None) -> bool:
    """Return whether the scheduled time `last` still asks for a run."""
    meta, spec = cron["metadata"], cron["spec"]
    ran = (cron.get("status") or {}).get("lastScheduledTime")
    since = parse_time(ran or meta["creationTimestamp"])
    if last <= max(since, considered or since):
        return False
    used = (meta.get("annotations") or {}).get(LAST_SCHEDULE)
    if used is not None and used != schedule_text(spec) and considered is None:
        return False
    allowed = timedelta(seconds=spec["startingDeadlineSeconds"]) if spec.get("startingDeadlineSeconds") else PUNCTUAL
    return now - last <= max(allowed, PUNCTUAL)


def _count(status: Json, children: list[Json]) -> None:
    """Bring the list of active runs and the counters up to what `children` show."""
    known = {child["metadata"]["uid"]: child for child in children}
    phase_of = {uid: (child.get("status") or {}).get("phase") for uid, child in known.items()}
    active = []
    for entry in status.get("active") or []:
        phase = phase_of.get(entry["uid"])
        if phase in ENDED:
            counter = "succeeded" if phase == "Succeeded" else "failed"
            status[counter] = int(status.get(counter) or 0) + 1
        elif entry["uid"] in known:
            active.append(entry)
    listed = {entry["uid"] for entry in active}
    for uid, child in known.items():
        if uid not in listed and phase_of[uid] not in ENDED:
            active.append(reference_to(child))
    status["active"] = active
    status.setdefault("succeeded", 0)
    status.setdefault("failed", 0)


def reference_to(workflow: Json) -> Json:
    """Return the reference to a run that status.active lists."""
    meta = workflow["metadata"]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "name": meta["name"],
        "namespace": meta.get("namespace"),
        "uid": meta["uid"],
    }


def old_runs(spec: Json, children: list[Json]) -> list[str]:
    """Return the names of finished runs beyond the history limits, oldest first out."""
    surplus = []
    for wanted, name, default in ((True, "successfulJobsHistoryLimit", 3), (False, "failedJobsHistoryLimit", 1)):
        keep = spec.get(name)
        keep = default if keep is None or keep < 0 else keep
        ended = [c for c in children if (c.get("status") or {}).get("phase") in ENDED]
        group = [c for c in ended if (c["status"]["phase"] == "Succeeded") is wanted]
        group.sort(key=lambda c: (c["status"].get("finishedAt") or "", c["metadata"]["name"]), reverse=True)
        surplus += [c["metadata"]["name"] for c in group[keep:]]
    return surplus


def workflow_for(cron: Json, scheduled: datetime) -> Json:
    """Return the Workflow of the run for the time `scheduled`."""
    meta, spec = cron["metadata"], cron["spec"]
    given = spec.get("workflowMetadata") or {}
    annotations = {**(given.get("annotations") or {}), SCHEDULED_TIME: stamp(scheduled)}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": f"{meta['name']}-{int(scheduled.timestamp())}",
            "namespace": meta["namespace"],
            "labels": {**(given.get("labels") or {}), CRON_LABEL: meta["name"]},
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "CronWorkflow",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": merged({}, spec["workflowSpec"]),
    }


class CronController:
    """Follows the CronWorkflows and their runs."""

    def __init__(self, kube: Kube, workflows: Informer) -> None:
        self.kube = kube
        self.queue = WorkQueue()
        self.crons = Informer(kube, "cronworkflows")
        self.workflows = workflows
        self._considered: dict[str, datetime] = {}
        self._runs: dict[Key, set[Key]] = {}
        self._written: dict[Key, Json] = {}
        self.crons.on_change(lambda change, cron: self.queue.add(key_of(cron)))
        workflows.on_change(self._workflow_changed)

    async def start(self) -> None:
        """Wait until the CronWorkflows are known."""
        await self.crons.synced()

    def _workflow_changed(self, change: str, workflow: Json) -> None:
        name = (workflow["metadata"].get("labels") or {}).get(CRON_LABEL)
        if not name:
            return
        key = (workflow["metadata"]["namespace"], name)
        runs = self._runs.setdefault(key, set())
        (runs.discard if change == "DELETED" else runs.add)(key_of(workflow))
        self.queue.add(key)

    async def reconcile(self, key: Key) -> float | None:
        """Do what `plan` says for one CronWorkflow; return the seconds until its next run."""
        cron = self.crons.objects.get(key)
        if cron is None or cron["metadata"].get("deletionTimestamp"):
            self._written.pop(key, None)
            return None
        written = self._written.get(key)
        if written is not None and version_of(written) > version_of(cron):
            cron = written  # the cache has not caught up with our own writing yet
        uid, now = cron["metadata"]["uid"], datetime.now(UTC)
        children = [self.workflows.objects[run] for run in self._runs.get(key, ()) if run in self.workflows.objects]
        todo = plan(cron, children, now, self._considered.get(uid))
        for name in todo.terminate:
            await self._each("terminate", name, key[0])
        for name in todo.delete:
            await self._each("delete", name, key[0])
        status: Json = todo.status
        if todo.run is not None:
            status = await self._run(cron, todo.run, status)
        if todo.considered is not None:
            self._considered[uid] = todo.considered
        await self._write(cron, status)
        if todo.next is None:
            return None
        return max(0.01, (todo.next - datetime.now(UTC)).total_seconds() + 0.01)

    async def _run(self, cron: Json, scheduled: datetime, status: Json) -> Json:
        """Create the run, and return the status that knows of it."""
        wanted = workflow_for(cron, scheduled)
        try:
            made = await self.kube.create("workflows", wanted)
        except AlreadyExists:
            made = await self.kube.get("workflows", wanted["metadata"]["name"], wanted["metadata"]["namespace"])
        active = [entry for entry in status["active"] if entry["uid"] != made["metadata"]["uid"]]
        if (made.get("status") or {}).get("phase") not in ENDED:
            active.append(reference_to(made))
        return {**status, "active": active, "lastScheduledTime": stamp(scheduled), "phase": "Active"}

    async def _each(self, what: str, name: str, namespace: str) -> None:
        try:
            if what == "delete":
                await self.kube.delete("workflows", name, namespace)
            else:
                await self.kube.patch("workflows", name, {"spec": {"shutdown": "Terminate"}}, namespace)
        except NotFound:
            return

    async def _write(self, cron: Json, status: Json) -> None:
        """Write the status and the schedule in use, if they changed."""
        meta, used = cron["metadata"], schedule_text(cron["spec"])
        patch: dict[str, Any] = {}
        if status != (cron.get("status") or {}):
            patch["status"] = status
        if (meta.get("annotations") or {}).get(LAST_SCHEDULE) != used:
            patch["metadata"] = {"annotations": {LAST_SCHEDULE: used}}
        if not patch:
            return
        # Made from the version that we read, so that it cannot undo what somebody wrote since.
        patch.setdefault("metadata", {})["resourceVersion"] = meta["resourceVersion"]
        key = key_of(cron)
        try:
            self._written[key] = await self.kube.patch("cronworkflows", meta["name"], patch, meta["namespace"])
        except Conflict:
            self._written[key] = await self.kube.get("cronworkflows", meta["name"], meta["namespace"])
            self.queue.add(key)
        except NotFound:
            return
