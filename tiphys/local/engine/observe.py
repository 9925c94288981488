"""What happened to the pods: phases, outputs, and those that have to be stopped (Argo's podReconciliation)."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta

from tiphys.local.engine.execute import fill_supplied, workflow_deadline
from tiphys.local.engine.model import OUTPUTS, Json, PodView, SpecError, fulfilled, parse_time, text_of
from tiphys.local.engine.run import Run

DEADLINE_MARGIN = timedelta(seconds=2)
"""How long the kubelet may take to end a pod that is past its deadline before the engine stops it."""


def observe(run: Run) -> None:
    """Bring the nodes up to what their pods show, and stop the pods that must not go on."""
    for node in list(run.nodes.values()):
        if node["type"] == "Suspend" and fulfilled(node):
            _after_resume(run, node)
        if node["type"] != "Pod":
            continue
        view = run.pods.get(node["id"])
        if fulfilled(node):
            _after_the_end(run, node, view)
        elif view is not None:
            _assess(run, node, view)
            if not fulfilled(node):
                _control(run, node, view)
        elif node["phase"] == "Running":
            run.mark(node, "Error", "pod deleted")
    _end_without_pods(run)


def _after_resume(run: Run, node: Json) -> None:
    """Complete a suspended node that somebody resumed: its end, and the defaults of what was not supplied."""
    if node["phase"] == "Succeeded" and not node.get("finishedAt"):
        run.mark(node, "Succeeded")
        with suppress(SpecError):  # without a default the output is just not there
            fill_supplied(node)
    run.export(node)


def settled(run: Run) -> bool:
    """Return whether no pod of the workflow runs any more and every output has been read."""
    return all(view.finished and view.collected is not None for view in run.pods.values())


def _after_the_end(run: Run, node: Json, view: PodView | None) -> None:
    """Look after the pod of a node that was ended by a shutdown or a deadline: its outputs still count."""
    if view is None:
        return
    if not view.finished:
        if not view.deleted:
            run.stop.append(view.pod["metadata"]["name"])
    elif view.collected is not None and "outputs" not in node:
        _take_outputs(run, node, view)


def _assess(run: Run, node: Json, view: PodView) -> None:
    status = view.pod.get("status") or {}
    if status.get("podIP"):
        node["podIP"] = status["podIP"]
    if host := (view.pod.get("spec") or {}).get("nodeName"):
        node["hostNodeName"] = host
    if view.finished:
        if view.collected is None:
            if view.waits:
                run.mark(node, node["phase"], view.waits)
            return
        _take_outputs(run, node, view)
        phase, message = end_of(view)
        if phase == "Succeeded" and view.collected.problem:
            phase, message = "Error", view.collected.problem
        run.mark(node, phase, message)
    elif view.phase == "Running":
        run.mark(node, "Running", "")
    else:
        run.mark(node, node["phase"] if node["phase"] == "Running" else "Pending", _pending_reason(view))


def _pending_reason(view: PodView) -> str:
    waiting = (view.main.get("state") or {}).get("waiting") or {}
    if waiting.get("reason"):
        return ": ".join(part for part in (waiting["reason"], waiting.get("message", "")) if part)
    for condition in (view.pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
    return ""


def end_of(view: PodView) -> tuple[str, str]:
    """Return phase and message of the node whose pod has finished as `view` shows.

    A pod that was deleted before it was done is an Error, whatever its container's exit code: retries need
    OnError, Always or an expression, as in Argo.
    """
    status = view.pod.get("status") or {}
    ended = (view.main.get("state") or {}).get("terminated") or {}
    if view.phase == "Succeeded":
        return "Succeeded", ""
    if view.deleted and not _ended_before_deletion(view, ended):
        return "Error", "pod deleted"
    if status.get("message"):
        return "Failed", str(status["message"])
    waiting = (view.main.get("state") or {}).get("waiting")
    if waiting:
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        return "Error", f"Pod failed before main container starts due to {reason}: {message}"
    if not ended:
        return "Failed", f"pod failed and its main container has no end: {status.get('reason') or 'no reason given'}"
    message = f"main: {ended.get('reason') or 'Error'} (exit code {ended.get('exitCode')})"
    if ended.get("message"):
        message = f"{message}: {ended['message']}"
    return "Failed", message


def _ended_before_deletion(view: PodView, ended: Json) -> bool:
    meta = view.pod["metadata"]
    if not ended.get("finishedAt"):
        return False
    grace = timedelta(seconds=int(meta.get("deletionGracePeriodSeconds") or 0))
    return parse_time(ended["finishedAt"]) < parse_time(meta["deletionTimestamp"]) - grace


def _take_outputs(run: Run, node: Json, view: PodView) -> None:
    """Write what was collected into the node and publish it. A failed pod's outputs count as well."""
    assert view.collected is not None
    declared = json.loads((view.pod["metadata"].get("annotations") or {}).get(OUTPUTS) or "{}")
    outputs: Json = {}
    parameters = []
    for item in declared.get("parameters") or []:
        value = view.collected.parameters.get(item["name"], (item.get("valueFrom") or {}).get("default"))
        parameters.append(item if value is None else {**item, "value": text_of(value)})
    if parameters:
        outputs["parameters"] = parameters
    if view.collected.artifacts:
        outputs["artifacts"] = list(view.collected.artifacts)
    ended = (view.main.get("state") or {}).get("terminated") or {}
    if "exitCode" in ended:
        outputs["exitCode"] = str(ended["exitCode"])
    node["outputs"] = outputs
    run.export(node)


def _control(run: Run, node: Json, view: PodView) -> None:
    """Stop a pod that runs on although it must not."""
    if view.finished:
        return
    name, on_exit = view.pod["metadata"]["name"], run.in_exit_handler(node)
    deadline = workflow_deadline(run)
    if not run.may_execute(on_exit):
        run.stop.append(name)
        run.mark(node, "Failed", f"workflow shutdown with strategy:  {run.shutdown}")
        return
    if deadline is not None and not on_exit:
        if run.now >= deadline:
            run.stop.append(name)
            run.mark(node, "Failed", "Step exceeded its deadline")
            return
        run.wake_at(deadline)
    seconds = (view.pod.get("spec") or {}).get("activeDeadlineSeconds")
    started = (view.pod.get("status") or {}).get("startTime")
    if seconds is not None and started:
        end = parse_time(started) + timedelta(seconds=int(seconds)) + DEADLINE_MARGIN
        if run.now >= end:
            run.stop.append(name)
            run.mark(node, "Failed", "Pod was active on the node longer than the specified deadline")
        else:
            run.wake_at(end)


def _end_without_pods(run: Run) -> None:
    """End nodes that have no pod to stop: suspended ones, and those that wait."""
    deadline = workflow_deadline(run)
    late = deadline is not None and run.now >= deadline
    for node in list(run.nodes.values()):
        if fulfilled(node):
            continue
        on_exit = run.in_exit_handler(node)
        waits = "waiting" in (node.get("synchronizationStatus") or {})
        if not run.may_execute(on_exit) and (node["type"] == "Suspend" or waits):
            run.mark(node, "Failed", f"Stopped with strategy '{run.shutdown}'")
        elif late and not on_exit and (node["type"] == "Suspend" or waits):
            run.mark(node, "Failed", "Step exceeded its deadline")
