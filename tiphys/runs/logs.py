"""Logs of a run's steps: all pods in the order in which they started, each line with its step's name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tiphys.runs.api import Cluster, Object
from tiphys.runs.errors import NotFound, ToolError
from tiphys.runs.nodes import ENDED, nodes_of, phase_of, pod_name, positions, step_name

LOOK_SECONDS = 0.5
GONE_SECONDS = 10.0
"""How long a step's pod may be missing before we say that it is gone: its node is there a little earlier."""

Write = Callable[[str, str], None]
"""Takes the step's name and one line."""


def steps_with_pods(workflow: Object, only: str | None) -> list[tuple[str, str, bool]]:
    """Return step name, pod and whether it has started, of each pod of a run, oldest first.

    Raises:
        ToolError: if `only` names no step of the run that has ended.
    """
    everything = nodes_of(workflow)
    order = positions(everything)
    nodes = [node for node in everything.values() if node.get("type") == "Pod"]
    nodes.sort(key=lambda node: (node.get("startedAt") or "9", order[node["id"]]))
    found = [(step_name(workflow, node), node) for node in nodes]
    if only is not None:
        names = sorted({name for name, _ in found})
        found = [(name, node) for name, node in found if only in (name, name.partition("(")[0])]
        if not found and phase_of(workflow) in ENDED:
            raise ToolError(f"no step {only} in this run; it has: {', '.join(names) or 'none'}")
    return [(name, pod_name(workflow, node), node.get("phase") != "Pending") for name, node in found]


def print_logs(cluster: Cluster, name: str, only: str | None, write: Write) -> None:
    """Write what has been logged so far."""
    for step, pod, started in steps_with_pods(cluster.workflow(name), only):
        if started:
            _stream(cluster, step, pod, write, follow=False)


def follow_logs(cluster: Cluster, name: str, only: str | None, write: Write) -> None:
    """Write the logs as they come, until the run has ended. Steps that run side by side mix, line by line."""
    streams: dict[str, threading.Thread] = {}
    lock = threading.Lock()

    def locked(step: str, line: str) -> None:
        with lock:
            write(step, line)

    while True:
        workflow = cluster.workflow(name)
        for step, pod, started in steps_with_pods(workflow, only):
            if started and pod not in streams:
                arguments = (cluster, step, pod, locked)
                thread = threading.Thread(target=_stream, args=arguments, kwargs={"follow": True}, daemon=True)
                streams[pod] = thread
                thread.start()
        if phase_of(workflow) in ENDED:
            break
        time.sleep(LOOK_SECONDS)
    for thread in streams.values():
        thread.join(timeout=GONE_SECONDS)


def _stream(cluster: Cluster, step: str, pod: str, write: Write, *, follow: bool) -> None:
    deadline = time.monotonic() + (GONE_SECONDS if follow else 0)
    written = 0
    while True:
        try:
            for number, line in enumerate(cluster.pod_log(pod, follow=follow)):
                if number >= written:
                    write(step, line)
                    written += 1
            return
        except NotFound:
            reason = f"(its pod {pod} is gone, and its log with it)"
        except (ToolError, OSError) as error:
            # Not started yet, or the connection broke: what was written is skipped the next time.
            reason = f"(no log: {error})"
        except Exception as error:  # urllib3's errors share no base with OSError
            reason = f"(the log's connection broke: {error})"
        if time.monotonic() > deadline:
            write(step, reason)
            return
        time.sleep(LOOK_SECONDS)
