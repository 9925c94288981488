"""What ``tiphys status`` shows: the parts, MySQL, S3, nodes, clusters and running workflows."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tiphys.local.client import ApiError, Kube
from tiphys.local.mysql_packages import MySQLUnavailable, find
from tiphys.local.platform.processes import of_platform
from tiphys.local.platform.readiness import look, node_is_ready
from tiphys.local.platform.record import Record, is_up
from tiphys.local.s3.state import State
from tiphys.local.settings import NAMESPACE, Settings
from tiphys.runs.nodes import nodes_of, waits_for, when

MEASURE = "drill-measure"
"""The step of a drill that hits the cluster; it is never started a second time."""
_BLANKS_AT_END = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")
COLOURS = {"ready": "green", "starting": "yellow", "building": "yellow", "restarting": "red", "failed": "red"}


async def gather(settings: Settings) -> dict[str, Any]:
    """Return the platform's state as plain values; what cannot be known is missing, and ``problems`` says why."""
    up = is_up(settings.home)
    found: dict[str, Any] = {
        "home": str(settings.home),
        "up": up,
        "network": settings.network,
        "api": settings.api_url,
        "webhooks": f"http://127.0.0.1:{settings.webhook_port}",
        "mysql": _mysql(),
        "problems": [],
    }
    if not up:
        if left := of_platform(settings.home):
            found["problems"].append(
                f"{len(left)} processes run without their supervisor, which was killed: `tiphys up` takes them "
                "over, `tiphys down` ends them"
            )
        return found
    record = Record.load(settings.home)
    if record.ending:
        found["problems"].append("it is being ended, as by `tiphys down`")
    found["uptimeSeconds"] = round(time.time() - record.started, 1)
    found["version"] = record.version
    s3 = State.load(settings.home)
    found["s3"] = {
        "kind": s3.kind,
        "version": s3.version,
        "phase": s3.phase,
        "endpoint": settings.s3_url,
        "message": s3.message,
    }
    async with Kube.from_home(settings.home) as kube:
        readiness = await look(settings, kube)
        found["parts"] = [
            {
                "name": name,
                "state": readiness[name].state,
                "pid": state.pid,
                "uptimeSeconds": round(time.time() - state.since, 1) if state.pid else None,
                "restarts": state.restarts,
                "detail": readiness[name].detail,
            }
            for name, state in record.parts.items()
            if name in readiness
        ]
        try:
            found["nodes"] = [node_row(node) for node in await kube.list("nodes")]
            clusters = await kube.list("innodbclusters")
            found["clusters"] = [cluster_row(cluster) for cluster in clusters]
            workflows = await kube.list("workflows")
            found["workflows"] = [workflow_row(one) for one in workflows if is_running(one)]
        except ApiError as error:
            found["problems"].append(f"the API server: {error.message}")
    return found


def _mysql() -> dict[str, str]:
    try:
        mysql = find()
        return {"version": mysql.version, "origin": mysql.origin}
    except MySQLUnavailable as error:
        return {"version": "", "origin": "none", "message": str(error)}


def node_row(node: dict[str, Any]) -> dict[str, Any]:
    """Return what the status shows of a Node."""
    return {
        "name": node["metadata"]["name"],
        "ready": node_is_ready(node),
        "cordoned": bool(node.get("spec", {}).get("unschedulable")),
    }


def cluster_row(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return what the status shows of an InnoDBCluster."""
    status = cluster.get("status", {}).get("cluster", {})
    spec = cluster.get("spec", {})
    return {
        "namespace": cluster["metadata"].get("namespace", NAMESPACE),
        "name": cluster["metadata"]["name"],
        "status": status.get("status", "PENDING"),
        "online": status.get("onlineInstances", 0),
        "instances": spec.get("instances", 0),
        "routers": spec.get("router", {}).get("instances", 0),
    }


def is_running(workflow: dict[str, Any]) -> bool:
    """Tell whether a Workflow has not finished."""
    return not workflow.get("status", {}).get("finishedAt")


async def active_runs(settings: Settings, seconds: float = 3.0) -> list[str]:
    """Return what `down` says about the runs that it interrupts, a line each; nothing if the API does not answer."""
    try:
        async with asyncio.timeout(seconds), Kube.from_home(settings.home) as kube:
            return interrupted(await kube.list("workflows"))
    except (ApiError, TimeoutError, OSError):
        return []


def interrupted(workflows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what becomes of the runs that have not ended, when the platform goes down: a line each, or none."""
    running = [one for one in workflows if is_running(one)]
    if not running:
        return []
    names = ", ".join(sorted(one["metadata"]["name"] for one in running))
    lines = [f"Not ended yet: {names}. What has not ended goes on after the next `tiphys up`."]
    if measuring := sorted(one["metadata"]["name"] for one in running if _is_measuring(one)):
        lines.append(
            f"{', '.join(measuring)} is measuring and cannot go on with that: the drill ends ABORTED, and undoes what "
            "it changed."
        )
    return lines


def _is_measuring(workflow: dict[str, Any]) -> bool:
    steps = [node for node in nodes_of(workflow).values() if node.get("templateName") == MEASURE]
    return any(step.get("type") == "Pod" and step.get("phase") in ("Pending", "Running") for step in steps)


def workflow_row(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return what the status shows of a Workflow."""
    status = workflow.get("status", {})
    return {
        "name": workflow["metadata"]["name"],
        "phase": status.get("phase", "Pending"),
        "progress": status.get("progress", ""),
        "startedAt": status.get("startedAt"),
        "waitsFor": waits_for(workflow),
    }


def duration(seconds: float | None) -> str:
    """Return a length of time as people say it: 45s, 12m, 3h20m, 5d."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m" if whole < 172800 else f"{whole // 86400}d"


def rendered(found: dict[str, Any]) -> RenderableType:
    """Return the state as a page for a terminal."""
    if not found["up"]:
        mysql = found["mysql"]
        there = f"MySQL {mysql['version']} ({mysql['origin']}) is at hand. " if mysql["version"] else ""
        problems = " ".join(found["problems"])
        return Text(f"The platform in {found['home']} is down. {problems or there + 'Bring it up with: tiphys up'}")
    page: list[RenderableType] = [
        Text(f"Platform in {found['home']}, up {duration(found['uptimeSeconds'])}, API {found['api']}")
    ]
    parts = _table("PART", "STATE", "PID", "UP", "RESTARTS", "")
    for part in found["parts"]:
        state = Text(part["state"], style=COLOURS.get(part["state"], "dim"))
        words = (str(part["pid"] or ""), duration(part["uptimeSeconds"]), str(part["restarts"]), part["detail"])
        parts.add_row(part["name"], state, *words)
    page.append(parts)
    mysql = found["mysql"]
    page.append(Text(f"\nMySQL {mysql['version'] or 'not found'} ({mysql.get('message') or mysql['origin']})"))
    if nodes := found.get("nodes"):
        names = [f"{one['name']}{' (cordoned)' if one['cordoned'] else ''}" for one in nodes if one["ready"]]
        names += [f"{one['name']} (NotReady)" for one in nodes if not one["ready"]]
        page.append(Text(f"Nodes: {', '.join(names)}"))
    clusters = _table("CLUSTER", "STATUS", "ONLINE", "ROUTERS")
    for one in found.get("clusters", []):
        online = f"{one['online']}/{one['instances']}"
        clusters.add_row(f"{one['namespace']}/{one['name']}", one["status"], online, str(one["routers"]))
    page += [Text(), clusters] if clusters.rows else [Text("No clusters.")]
    workflows = _table("RUNNING WORKFLOW", "PHASE", "PROGRESS", "AGE")
    for one in found.get("workflows", []):
        started = when(one["startedAt"])
        age = duration(time.time() - started.timestamp()) if started else ""
        phase = Text("Suspended", "yellow") if one["waitsFor"] else one["phase"]
        workflows.add_row(one["name"], phase, one["progress"], age)
    page += [Text(), workflows] if workflows.rows else [Text("No workflow is running.")]
    # Below the table, where a long line is not folded: it is to be copied.
    page += [
        Text(f"{one['name']} {one['waitsFor']}", "yellow") for one in found.get("workflows", []) if one["waitsFor"]
    ]
    page += [Text(problem, style="red") for problem in found["problems"]]
    return Group(*page)


def page_lines(found: dict[str, Any], console: Console) -> list[str]:
    """Return the state as the lines of a page, with the console's colours and without blanks at their ends."""
    with console.capture() as captured:
        console.print(rendered(found))
    return [_BLANKS_AT_END.sub(r"\1", line) for line in captured.get().splitlines()]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
