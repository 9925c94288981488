"""What a drill must not leave behind: looked for in every object of the API server, in /proc and on the servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chaos_parts.platform import Platform
from chaos_parts.processes import of_platform
from steps.drill.book import BOOK
from steps.errors import StepError
from steps.kube import cordon
from steps.kube.client import Object
from steps.kube.pods import is_ready
from steps.mysql.connection import SERVER_PORT, query, root_credentials, session
from tiphys.local.kube_errors import ApiError

MARK = "tiphys.dev/"
LASTING = ("tiphys.dev/created-with", "tiphys.dev/rebooted-at", "tiphys.dev/about")
"""Annotations of clusters and templates that are no drill's."""
MAY_NAME_IT = ("events", "workflows", "workflowtaskresults")
"""Kinds whose objects tell of a drill for ever: what happened, and the run itself."""
TAIL = 60_000
"""Characters of each log in a dump."""


def marks(objects: dict[str, list[Object]]) -> set[str]:
    """Return drills' annotations on everything but the steps' own pods, as `kind/name key`."""
    found = set()
    for plural, listed in objects.items():
        for one in listed:
            meta = one["metadata"]
            if plural == "pods" and "workflows.argoproj.io/workflow" in (meta.get("labels") or {}):
                continue
            keys = [key for key in meta.get("annotations") or {} if key.startswith(MARK) and key not in LASTING]
            found |= {f"{plural}/{meta['name']} {key}" for key in keys}
    return found


class Traces:
    """Tells what is left of a drill.

    NetworkPolicies and entries of ConfigMaps that are there at the beginning are no drill's, but for the book of drills
    and for policies that carry a mark of ours.

    Raises:
        StepError, ApiError: the platform does not answer.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        objects = platform.objects()
        self._policies = {_name(one) for one in objects["networkpolicies"] if MARK not in json.dumps(one)}
        self._entries = {text for text in _entries(objects) if not text.startswith(f"{BOOK} ")}

    def of(self, workflow: str = "") -> list[str]:
        """Return everything that is left of a drill, in sentences; empty when the place is clean.

        Args:
            workflow: of the drill; empty looks only for what no drill may leave.
        """
        try:
            return [*self._objects(workflow), *self._processes(workflow), *self._group()]
        except (StepError, ApiError) as error:
            return [f"nobody can tell: {error}"]

    def _objects(self, workflow: str) -> list[str]:
        objects = self._platform.objects()
        found = [f"annotation {text}" for text in sorted(marks(objects))]
        found += [f"node {_name(node)} is cordoned" for node in objects["nodes"] if cordon.is_cordoned(node)]
        policies = {_name(one) for one in objects["networkpolicies"]} - self._policies
        found += [f"networkpolicy {name}" for name in sorted(policies)]
        found += [f"configmap entry {text}" for text in sorted(_entries(objects) - self._entries)]
        for run in objects["workflows"] if workflow else []:
            if _name(run) == workflow and (held := (run.get("status") or {}).get("synchronization")):
                found.append(f"workflow {workflow} still has locks: {json.dumps(held)}")
        if workflow:
            found += _naming(objects, workflow)
        pods = [pod for pod in objects["pods"] if _is_of_cluster(pod, self._platform.cluster)]
        found += [f"pod {_name(pod)} is not ready" for pod in pods if not is_ready(pod)]
        return found

    def _processes(self, workflow: str) -> list[str]:
        found = []
        for process in of_platform(self._platform.home):
            if process.state == "T":
                found.append(f"process {process.pid} is stopped: {process.command[:120]}")
            if workflow and workflow in process.command:
                found.append(f"process {process.pid} is of the drill: {process.command[:120]}")
        return found

    def _group(self) -> list[str]:
        platform = self._platform
        topology = platform.topology()
        primary = topology.primary
        found = [] if topology.is_whole else [f"the group is not whole: {topology.summary()}"]
        if primary is None:
            return found
        credentials = root_credentials(platform.kube, platform.kube.cluster(platform.cluster))
        with session(primary.address, SERVER_PORT, credentials, what=primary.pod) as connection:
            if query(connection, "SHOW SCHEMAS LIKE 'tiphys'"):
                tables = query(connection, "SHOW TABLES FROM tiphys")
                rows = query(connection, "SELECT run, COUNT(*) FROM tiphys.ledger GROUP BY run") if tables else []
                found.append(f"schema tiphys on {primary.pod}: {dict(rows)}")
        return found


def dump(platform: Platform, folder: Path, workflow: str, story: dict[str, Any]) -> Path:
    """Keep the state for a diagnosis: every object but Secrets, processes, logs of the drill and of the platform."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "round.json").write_text(json.dumps(story, indent=2))
    try:
        objects = platform.objects(without=("secrets",))
    except ApiError as error:
        objects = {"unreadable": [{"error": str(error)}]}
    (folder / "objects.json").write_text(json.dumps(objects, indent=1))
    lines = [f"{p.pid} {p.state} {p.command}" for p in of_platform(platform.home)]
    (folder / "processes.txt").write_text("\n".join(lines))
    for path in (platform.home / "logs").glob("*.log"):
        (folder / path.name).write_text(path.read_text(errors="replace")[-TAIL:])
    for pod in objects.get("pods", []):
        if workflow in _name(pod) or _is_of_cluster(pod, platform.cluster) or "reap" in _name(pod):
            for path in (platform.home / "pods" / pod["metadata"]["uid"]).glob("*.log"):
                (folder / f"{_name(pod)}-{path.name}").write_text(path.read_text(errors="replace")[-TAIL:])
    return folder


def _name(one: Object) -> str:
    return str(one["metadata"]["name"])


def _entries(objects: dict[str, list[Object]]) -> set[str]:
    return {f"{_name(one)} {key}" for one in objects["configmaps"] for key in one.get("data") or {}}


def _is_of_cluster(pod: Object, cluster: str) -> bool:
    return (pod["metadata"].get("labels") or {}).get("mysql.oracle.com/cluster") == cluster


def _naming(objects: dict[str, list[Object]], workflow: str) -> list[str]:
    """Return the objects that name the drill and are neither its history nor its own finished pods."""
    found = []
    for plural, listed in objects.items():
        if plural in MAY_NAME_IT:
            continue
        for one in listed:
            if workflow not in json.dumps(one):
                continue
            if plural != "pods":
                found.append(f"{plural}/{_name(one)} names the drill")
            elif (one.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                found.append(f"pod {_name(one)} of the drill is {(one.get('status') or {}).get('phase')}")
    return found
