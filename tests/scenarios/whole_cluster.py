"""Waiting until a cluster is whole, and what is told of it where it does not become so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platform_run import Platform

from steps.mysql.topology import Topology, read_topology

WHOLE_SECONDS = 180.0
LINES = 5
"""Last lines of each log that a failure shows: CI keeps the end of its output only."""


def topology(platform: Platform, cluster: str) -> Topology:
    """Return the cluster as the majority of its servers sees it."""
    return read_topology(platform.kube, cluster)


def until_whole(platform: Platform, cluster: str, seconds: float = WHOLE_SECONDS) -> Topology:
    """Wait until every member is ONLINE; a failure tells what each of them and the operator said last.

    Whoever is not in the group then gets another pod, so that one test's failure is not that of all after it.
    """
    limit = time.monotonic() + seconds
    while not (seen := topology(platform, cluster)).is_whole:
        if time.monotonic() >= limit:
            told = "\n".join(_told(platform, cluster))
            inside = {member.pod for member in seen.members if member.state == "ONLINE"}
            for pod in platform.kube.servers(cluster) if inside else []:
                if pod["metadata"]["name"] not in inside:
                    platform.kube.delete("pods", pod["metadata"]["name"])
            raise AssertionError(f"{cluster} is not whole after {seconds:.0f} s: {seen.summary()}\n{told}")
        time.sleep(0.2)
    return seen


def _told(platform: Platform, cluster: str) -> Iterator[str]:
    for pod in platform.kube.servers(cluster):
        name, folder = pod["metadata"]["name"], platform.home / "pods" / pod["metadata"]["uid"]
        status = next((c for c in pod["status"].get("containerStatuses") or [] if c["name"] == "mysql"), {})
        going = " going" if pod["metadata"].get("deletionTimestamp") else ""
        yield f"{name}{going} restarts={status.get('restartCount')} state={json.dumps(status.get('state'))[:160]}"
        said = [line for line in _lines(folder / "mysql.log") if "[System]" not in line]
        yield from (f"  {name} | {line[11:260]}" for line in said[-LINES:])
    for line in _lines(platform.home / "logs/operator.log")[-2 * LINES :]:
        yield f"  operator | {_short(line)}"


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()
    except OSError as error:
        return [str(error)]


def _short(line: str) -> str:
    """Return a line of our log as time, event and fields."""
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        return line[:240]
    known = ("time", "level", "part", "logger", "event")
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if key not in known)
    return f"{str(fields.get('time'))[11:19]} {fields.get('event')} {rest}"[:240]
