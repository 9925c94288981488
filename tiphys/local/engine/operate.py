"""The core of the engine: one pass over a workflow, as a function of values (Argo's operate).

`advance` is repeated whenever the workflow, one of its pods or the time gives a reason. It reads everything from
its arguments and is idempotent, so it does not matter how often it runs or where the engine was killed.

Differences from Argo that are wanted: a value is substituted once (:mod:`tiphys.local.engine.substitute`); the
exit handler begins, and a workflow ends, only when no pod of it runs any more; a workflow that is stopped while
it still waits for a lock ends at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tiphys.local.engine.execute import execute, workflow_deadline
from tiphys.local.engine.locks import Locks, lock_keys
from tiphys.local.engine.model import (
    COMPLETED_LABEL,
    PHASE_LABEL,
    TEMPLATE_LABEL,
    Json,
    PodView,
    SpecError,
    any_int,
    failed,
    fulfilled,
    stamp,
)
from tiphys.local.engine.observe import observe, settled
from tiphys.local.engine.run import NodeError, ParallelismReached, Place, Run
from tiphys.local.engine.scope import workflow_variables
from tiphys.local.engine.spec import Lookup, execution_spec, parameter_values
from tiphys.local.engine.substitute import UnresolvedError, substitute

ENDED = ("Succeeded", "Failed", "Error")
"""Phases of a workflow that has come to its end."""


@dataclass
class Outcome:
    """What one pass found.

    Attributes:
        workflow: the workflow with its new status and labels.
        create: pods to create, once the workflow is written.
        stop: names of pods to stop.
        release: holders whose locks are free, once the workflow is written.
        wake: when another pass is due though nothing happens, None if never.
    """

    workflow: Json
    create: list[Json] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    wake: datetime | None = None


def advance(workflow: Json, pods: Mapping[str, PodView], now: datetime, lookup: Lookup, locks: Locks) -> Outcome:
    """Bring a workflow one pass on.

    Args:
        workflow: the Workflow as it was last written; it is not changed.
        pods: its pods by node id.
        now: the time.
        lookup: finds templates and ConfigMaps of the workflow's namespace.
        locks: the engine's table of locks; the workflow may take some in it.
    """
    copy = Run.copy_of(workflow)
    status = copy.setdefault("status", {})
    if status.get("phase") in ENDED:
        leftover = [view.pod["metadata"]["name"] for view in pods.values() if not (view.finished or view.deleted)]
        return Outcome(copy, stop=leftover, release=_holders(copy))
    try:
        spec = _stored_spec(copy, lookup)
        own = {} if "workflowTemplateRef" not in copy["spec"] else copy["spec"].get("arguments") or {}
        values = parameter_values(spec, own, lookup)
        variables = workflow_variables(copy, spec, values, now)
        if not status.get("phase"):
            _label(copy, spec, variables)
            variables = workflow_variables(copy, spec, values, now)
    except (SpecError, UnresolvedError) as error:
        _end(copy, "Error", str(error), now)
        return Outcome(copy, stop=[view.pod["metadata"]["name"] for view in pods.values()], release=_holders(copy))
    run = Run(copy, spec, variables, pods, lookup, locks, now)
    try:
        _operate(run)
    except (SpecError, UnresolvedError) as error:
        _end(copy, "Error", str(error), now)
    return _outcome(run)


def _stored_spec(workflow: Json, lookup: Lookup) -> Json:
    """Return the spec that this run goes by: the one stored at its start."""
    status, spec = workflow["status"], workflow.get("spec") or {}
    if "storedWorkflowTemplateSpec" not in status:
        status["storedWorkflowTemplateSpec"] = execution_spec(workflow, lookup)
    stored: Json = {key: value for key, value in status["storedWorkflowTemplateSpec"].items()}
    for field_name in ("shutdown", "suspend", "activeDeadlineSeconds"):  # may be changed while it runs
        if field_name in spec:
            stored[field_name] = spec[field_name]
    return stored


def _label(workflow: Json, spec: Json, variables: Mapping[str, object]) -> None:
    """Write the labels and annotations that a workflow gets at its start."""
    meta = workflow["metadata"]
    wanted = spec.get("workflowMetadata") or {}
    for part in ("labels", "annotations"):
        if items := wanted.get(part):
            meta[part] = {**(meta.get(part) or {}), **substitute(items, variables)}
    if reference := workflow["spec"].get("workflowTemplateRef"):
        meta.setdefault("labels", {})[TEMPLATE_LABEL] = reference["name"]


def _operate(run: Run) -> None:
    status = run.status
    # As Argo does (releaseLocksForPendingShuttingdownWfs): Terminate ends a run that waits for its lock, Stop does not.
    begun = "startedAt" in status
    if not begun and run.shutdown and run.shutdown != "Stop":
        _end(run.workflow, "Failed", f"Stopped with strategy '{run.shutdown}'", run.now)
        return
    if not _locked(run):
        return
    if not begun and run.shutdown:
        _end(run.workflow, "Failed", f"Stopped with strategy '{run.shutdown}'", run.now)
        return
    if status.get("phase") != "Running":
        _set_phase(run.workflow, "Running", "")
    status.setdefault("startedAt", stamp(run.now))
    observe(run)
    deadline = workflow_deadline(run)
    if deadline is not None and deadline > run.now:
        run.wake_at(deadline)
    if run.spec.get("suspend"):
        return
    given = {"parameters": _own_parameters(run), "artifacts": (run.spec.get("arguments") or {}).get("artifacts") or []}
    try:
        entry = execute(run, run.name, {"template": run.spec["entrypoint"]}, Place(""), given)
    except NodeError as error:
        _end(run.workflow, "Error", f"error in entry template execution: {error}", run.now)
        return
    except ParallelismReached:
        return
    if not fulfilled(entry) or not settled(run):
        return
    verdict = {"Failed": "Failed", "Error": "Error"}.get(entry["phase"], "Succeeded")
    handler = _exit_handler(run, verdict)
    if handler is not None and not (fulfilled(handler) and settled(run)):
        return
    if run.status.get("phase") in ENDED:
        return
    message = entry.get("message", "")
    if failed(entry) and run.shutdown:
        message = f"Stopped with strategy '{run.shutdown}'"
    elif handler is not None and failed(handler) and verdict == "Succeeded":
        verdict, message = handler["phase"], handler.get("message", "")
    _end(run.workflow, verdict, message, run.now)


def _exit_handler(run: Run, verdict: str) -> Json | None:
    """Run the exit handler if there is one and the shutdown allows it; return its node."""
    hook = (run.spec.get("hooks") or {}).get("exit")
    if hook is None:
        hook = {"template": run.spec["onExit"]} if run.spec.get("onExit") else None
    name = f"{run.name}.onExit"
    if hook is None or (run.node(name) is None and not run.may_execute(True)):
        return None
    # Argo quotes the list once more, so that it can stand inside a JSON text.
    listed = json.dumps(run.failures() or None, separators=(",", ":"), ensure_ascii=False)
    run.globals["workflow.status"] = verdict
    run.globals["workflow.failures"] = json.dumps(listed, ensure_ascii=False)
    ref = {key: hook[key] for key in ("template", "templateRef") if key in hook}
    given = hook.get("arguments") or {}
    arguments = {
        "parameters": substitute(given.get("parameters") or [], run.globals),
        "artifacts": given.get("artifacts") or [],
    }
    if not given:
        arguments["parameters"] = _own_parameters(run)
    try:
        handler = execute(run, name, ref, Place("", on_exit=True), arguments)
    except NodeError as error:
        _end(run.workflow, "Error", f"error in exit template execution : {error}", run.now)
        return run.node(name)
    except ParallelismReached:
        return {"phase": "Pending"}
    handler["nodeFlag"] = {"hooked": True}
    return handler


def _own_parameters(run: Run) -> list[Json]:
    """Return the workflow's parameters as arguments: the entrypoint and the exit handler are called with them."""
    listed = (run.spec.get("arguments") or {}).get("parameters") or []
    names = [item["name"] for item in listed]
    return [{"name": name, "value": run.globals[f"workflow.parameters.{name}"]} for name in names]


def _locked(run: Run) -> bool:
    """Take the workflow's locks; return whether it has them."""
    wanted = run.spec.get("synchronization")
    if not wanted:
        return True
    meta = run.workflow["metadata"]
    keys = lock_keys(substitute(wanted, run.globals), meta["namespace"])
    try:
        waits = run.locks.acquire(
            f"{meta['namespace']}/{run.name}",
            keys,
            any_int(run.spec.get("priority", 0), "spec.priority"),
            meta["creationTimestamp"],
        )
    except SpecError as error:
        _end(run.workflow, "Failed", f"Failed to acquire the synchronization lock. {error}", run.now)
        return False
    if waits:
        _set_phase(run.workflow, run.status.get("phase") or "Pending", run.locks.describe(waits))
    return not waits


def _set_phase(workflow: Json, phase: str, message: str) -> None:
    status, meta = workflow["status"], workflow["metadata"]
    status["phase"] = phase
    status.pop("message", None)
    if message:
        status["message"] = message
    labels = {PHASE_LABEL: phase, COMPLETED_LABEL: "true" if phase in ENDED else "false"}
    meta["labels"] = {**(meta.get("labels") or {}), **labels}


def _end(workflow: Json, phase: str, message: str, now: datetime) -> None:
    """End the workflow."""
    status = workflow["status"]
    _set_phase(workflow, phase, message)
    status.setdefault("startedAt", stamp(now))
    status["finishedAt"] = stamp(now)
    for node in (status.get("nodes") or {}).values():
        if not fulfilled(node):
            node |= {"phase": "Error", "message": "Workflow operation error", "finishedAt": stamp(now)}


def _holders(workflow: Json) -> list[str]:
    """Return everything that may hold locks for the workflow: itself, and nodes of it."""
    own = f"{workflow['metadata']['namespace']}/{workflow['metadata']['name']}"
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    return [own] + [f"{own}/{key}" for key, node in nodes.items() if "synchronizationStatus" in node]


def _outcome(run: Run) -> Outcome:
    """Write what follows from the nodes into the status, and return everything that is to be done."""
    status, own = run.status, f"{run.workflow['metadata']['namespace']}/{run.name}"
    ended = status.get("phase") in ENDED
    release = _holders(run.workflow) if ended else []
    if not ended:
        release += [
            f"{own}/{key}" for key, node in run.nodes.items() if "synchronizationStatus" in node and fulfilled(node)
        ]
    else:
        run.stop += [view.pod["metadata"]["name"] for view in run.pods.values() if not (view.finished or view.deleted)]
    _show_locks(run, set(release))
    pods = [node for node in run.nodes.values() if node["type"] == "Pod"]
    status["progress"] = f"{sum(fulfilled(node) for node in pods)}/{len(pods)}"
    running = any(node["phase"] == "Running" for node in pods)
    status["conditions"] = [{"type": "PodRunning", "status": str(running)}]
    if ended:
        status["conditions"].append({"type": "Completed", "status": "True"})
    create = [] if ended else run.create
    return Outcome(run.workflow, create, list(dict.fromkeys(run.stop)), release, None if ended else run.wake)


def _show_locks(run: Run, released: set[str]) -> None:
    """Write into status.synchronization who holds and who waits, as Argo does; it is what a restart reads."""
    shown: Json = {}
    for holder in _holders(run.workflow):
        if holder in released:
            continue
        waiter = run.locks.waiters.get(holder)
        for state, keys in (("holding", run.locks.keys_of(holder)), ("waiting", waiter.keys if waiter else ())):
            for key in keys:
                kind = "mutex" if "/Mutex/" in key else "semaphore"
                entry: Json = {kind: key}
                entry |= {"holder": holder} if kind == "mutex" else {"holders": [holder]}
                shown.setdefault(kind, {}).setdefault(state, []).append(entry)
    if shown:
        run.status["synchronization"] = shown
    else:
        run.status.pop("synchronization", None)
