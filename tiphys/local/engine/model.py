"""Names, identifiers, times and phases as Argo Workflows writes them (workflow/util/pod_name.go, NodeID)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

DOMAIN = "workflows.argoproj.io"
WORKFLOW_LABEL = f"{DOMAIN}/workflow"
COMPLETED_LABEL = f"{DOMAIN}/completed"
PHASE_LABEL = f"{DOMAIN}/phase"
TEMPLATE_LABEL = f"{DOMAIN}/workflow-template"
CRON_LABEL = f"{DOMAIN}/cron-workflow"
ON_EXIT_LABEL = f"{DOMAIN}/on-exit"
NODE_ID = f"{DOMAIN}/node-id"
NODE_NAME = f"{DOMAIN}/node-name"
SCHEDULED_TIME = f"{DOMAIN}/scheduled-time"
POD_FINALIZER = f"{DOMAIN}/status"
INPUT_ARTIFACTS = "tiphys.dev/input-artifacts"
OUTPUTS = "tiphys.dev/outputs"
"""Annotation of a pod: its template's outputs with every variable known, read when the pod is finished."""

FULFILLED = ("Succeeded", "Failed", "Error", "Skipped", "Omitted")
"""Phases of a node in which nothing more happens to it."""
LONGEST_PREFIX = 242


class SpecError(Exception):
    """What was asked for cannot be run; the message names the field or the object."""


def fulfilled(node: Mapping[str, Any]) -> bool:
    """Return whether the node has come to its end."""
    return node.get("phase") in FULFILLED


def failed(node: Mapping[str, Any]) -> bool:
    """Return whether the node ended badly."""
    return node.get("phase") in ("Failed", "Error")


def fnv32a(text: str) -> int:
    """Return the 32-bit FNV-1a hash, which Argo builds its node ids with."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def node_id(workflow: str, node: str) -> str:
    """Return the id of the node named `node`."""
    return workflow if workflow == node else f"{workflow}-{fnv32a(node)}"


def pod_name(workflow: str, node: str, template: str) -> str:
    """Return the name of the node's pod: the same at every attempt to create it."""
    if workflow == node:
        return workflow
    prefix = f"{workflow}-{template}" if template else workflow
    return f"{prefix[:LONGEST_PREFIX]}-{fnv32a(node)}"


def stamp(time: datetime) -> str:
    """Return `time` as Kubernetes writes it: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Return the time that Kubernetes wrote as `text`."""
    return datetime.fromisoformat(text)


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str | int) -> timedelta:
    """Return the length of a duration such as "1m30s"; a bare number counts seconds.

    Raises:
        SpecError: it is no duration.
    """
    written = str(text).strip()
    if written.isdigit():
        return timedelta(seconds=int(written))
    parts = _PART.findall(written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise SpecError(f"{written!r} is no duration: write seconds, or a number with a unit such as 30s or 5m")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def version_of(obj: Mapping[str, Any]) -> int:
    """Return an object's resourceVersion as a number: the platform's API server counts."""
    return int(obj["metadata"]["resourceVersion"])


def text_of(value: Any) -> str:
    """Return a parameter's value as text, as Argo's AnyString reads numbers and booleans."""
    return value if isinstance(value, str) else json.dumps(value)


def any_int(value: Any, path: str) -> int:
    """Return a whole number that may be written as text.

    Raises:
        SpecError: it is none.
    """
    try:
        return int(str(value))
    except ValueError as error:
        raise SpecError(f"{path}: {value!r} is no whole number") from error


def merged(base: Any, over: Any) -> Any:
    """Return `base` with `over` laid over it: maps are merged, everything else is replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        both = {key: merged(base[key], over[key]) for key in base.keys() & over.keys()}
        return {**base, **over, **both}
    return over


@dataclass(frozen=True)
class Collected:
    """What was read from a finished pod's files.

    Attributes:
        parameters: output parameter to its value.
        artifacts: stored output artifacts as they go into the node's status.
        problem: why an output that had to be there could not be had; empty if all went well.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Json, ...] = ()
    problem: str = ""


@dataclass
class PodView:
    """A pod as the engine sees it.

    Attributes:
        pod: its object.
        collected: None until its outputs have been read.
        waits: what the reading of its outputs waits for, in words; empty while it waits for nothing.
    """

    pod: Json
    collected: Collected | None = None
    waits: str = ""

    @property
    def phase(self) -> str:
        """The pod's phase."""
        return str(self.pod.get("status", {}).get("phase") or "Pending")

    @property
    def main(self) -> Json:
        """Status of the main container, empty before there is one."""
        statuses = self.pod.get("status", {}).get("containerStatuses") or []
        return next((status for status in statuses if status.get("name") == "main"), {})

    @property
    def deleted(self) -> bool:
        """Whether the pod's deletion was asked for."""
        return bool(self.pod["metadata"].get("deletionTimestamp"))

    @property
    def finished(self) -> bool:
        """Whether nothing runs in the pod any more, and never will."""
        if self.phase in ("Succeeded", "Failed"):
            return True
        statuses = self.pod.get("status", {}).get("containerStatuses") or []
        if not self.deleted:
            return False
        if not self.pod.get("spec", {}).get("nodeName"):
            return True
        return bool(statuses) and all("terminated" in (status.get("state") or {}) for status in statuses)
