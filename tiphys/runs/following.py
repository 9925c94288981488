"""Waiting for a run, and showing it meanwhile: a live tree on a terminal, else one line for each change."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from tiphys.runs.api import Cluster, Object
from tiphys.runs.errors import NotFound, ToolError, Unreachable
from tiphys.runs.lines import error_in, readable
from tiphys.runs.nodes import ENDED, Row, outputs_of, phase_of, rows, seconds_of, took

LOOK_SECONDS = 0.4
OUTAGE_SECONDS = 60.0
"""How long the API server may be away while a run is followed."""
ICONS = {
    "Pending": ("◌", "dim"),
    "Running": ("●", "cyan"),
    "Suspended": ("‖", "yellow"),
    "Succeeded": ("✔", "green"),
    "Failed": ("✖", "red"),
    "Error": ("✖", "red"),
    "Skipped": ("○", "dim"),
    "Omitted": ("○", "dim"),
}


class Display(Protocol):
    """Shows a run while it goes on."""

    def show(self, workflow: Object, lines: dict[str, str]) -> None:
        """Show a run's state, and the newest log line of each pod that runs."""

    def close(self) -> None:
        """Leave the last state standing."""


def follow(cluster: Cluster, name: str, *, timeout: float | None, appear: float = 3.0) -> Object:
    """Show a run until it has ended, and return it.

    Args:
        cluster: where it is.
        name: the run's.
        timeout: seconds to wait at most, None for no limit.
        appear: seconds to wait for the run to be there at all: a webhook answers before its run exists.

    Raises:
        ToolError: if it has not ended in time, or the API server stays away.
    """
    started = time.monotonic()
    seen = started
    workflow: Object | None = None
    display: Display = Board() if sys.stderr.isatty() else Journal()
    try:
        while True:
            now = time.monotonic()
            try:
                workflow, seen = cluster.workflow(name), now
                display.show(workflow, _newest_lines(cluster, workflow) if isinstance(display, Board) else {})
                if phase_of(workflow) in ENDED:
                    return workflow
            except NotFound:
                if workflow is not None:
                    raise ToolError(f"run {name} was deleted while it was followed") from None
                if now - started > appear:
                    raise
            except Unreachable:
                if now - seen > (OUTAGE_SECONDS if workflow else appear):
                    raise
            if timeout is not None and now - started > timeout:
                state = phase_of(workflow) if workflow else "not there"
                raise ToolError(f"{name} has not ended within {timeout:g} s (it is {state}); it goes on by itself")
            time.sleep(LOOK_SECONDS)
    finally:
        display.close()


def _newest_lines(cluster: Cluster, workflow: Object) -> dict[str, str]:
    found = {}
    for row in rows(workflow):
        if row.pod and row.phase == "Running":
            try:
                lines = list(cluster.pod_log(row.pod, tail=1))
            except ToolError:
                continue  # the pod is starting or has just gone
            if lines:
                found[row.id] = readable(lines[-1])
    return found


class Board:
    """A tree that is drawn anew at each look."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=8, transient=False)
        self._live.start()

    def show(self, workflow: Object, lines: dict[str, str]) -> None:
        """Draw the run."""
        self._live.update(tree(workflow, lines, self._console.width))

    def close(self) -> None:
        """Stop drawing."""
        self._live.stop()


def tree(workflow: Object, lines: dict[str, str], width: int = 80) -> Tree:
    """Return a run as a tree: icon, name, duration, message; below a running step its newest log line."""
    name, room = workflow["metadata"]["name"], max(width - 1, 20)
    message = str((workflow.get("status") or {}).get("message") or "")
    root = Tree(label(Row("", 0, name, phase_of(workflow), message, seconds_of(workflow), "", 1)))
    branches = [root]
    for row in rows(workflow):
        # The entrypoint stands for the run itself: its steps are drawn right below the heading, as is the exit handler.
        del branches[max(row.depth, 1) :]
        branch = root if row.depth == 0 and row.name == name else branches[-1].add(label(row))
        if row.depth > 0:
            branches.append(branch)
        if row.id in lines:
            branch.add(Text(lines[row.id][: room - 4 * len(branches)], style="dim", no_wrap=True, overflow="ellipsis"))
    return root


def label(row: Row) -> Text:
    """Return one line of the tree."""
    icon, style = ICONS.get(row.phase, ("?", ""))
    text = Text.assemble((f"{icon} ", style), (row.name, "bold" if not row.id else ""))
    if row.seconds is not None and row.phase not in ("Skipped", "Omitted"):
        text.append(f"  {took(row.seconds)}", style="dim")
    if row.tries > 1:
        text.append(f"  try {row.tries}", style="yellow")
    if row.phase == "Suspended":
        text.append("  waits for `tiphys resume`", style="yellow")
    if row.message:
        text.append(f"  {row.message}", style=style if row.phase in ("Failed", "Error") else "dim")
    return text


class Journal:
    """One line on stderr for each change of a step."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, ...]] = {}

    def show(self, workflow: Object, lines: dict[str, str]) -> None:
        """Write what has changed since the last call."""
        status = workflow.get("status") or {}
        name = workflow["metadata"]["name"]
        self._tell("", f"{name} {phase_of(workflow)}", str(status.get("message") or ""), seconds_of(workflow))
        for row in rows(workflow):
            if row.name != name:
                self._tell(row.id, f"{row.name} {row.phase}", row.message, row.seconds)

    def close(self) -> None:
        """Nothing to do."""

    def _tell(self, identity: str, what: str, message: str, seconds: float | None) -> None:
        if self._known.get(identity) == (what, message):
            return
        self._known[identity] = (what, message)
        after = f" after {took(seconds)}" if seconds and not what.endswith(("Running", "Pending")) else ""
        tail = f": {message}" if message else ""
        print(f"{time.strftime('%H:%M:%S')} {what}{after}{tail}", file=sys.stderr, flush=True)


def why(cluster: Cluster, workflow: Object) -> list[str]:
    """Return why a run did not succeed: a line for each step that failed, with what it said itself."""
    reasons = []
    for row in rows(workflow):
        if row.pod and row.phase in ("Failed", "Error"):
            try:
                said = error_in(list(cluster.pod_log(row.pod, tail=20)))
            except ToolError:
                said = ""
            reasons.append(f"{row.name}: {said or row.message or row.phase}")
    return reasons or [str((workflow.get("status") or {}).get("message") or phase_of(workflow))]


STYLES = {"PASS": "bold green", "FAIL": "bold red", "INVALID": "bold yellow", "ABORTED": "bold yellow"}


def summary(workflow: Object) -> list[Text]:
    """Return a run's global outputs as the lines of a small table, the verdict first; [] if it has none."""
    outputs = {name: value for name, value in outputs_of(workflow).items() if value}
    longest = max(map(len, outputs), default=0)
    ordered = sorted(outputs.items(), key=lambda item: (item[0] != "verdict", item[0]))
    return [Text.assemble((f"{name:<{longest}}  ", "dim"), (value, STYLES.get(value, ""))) for name, value in ordered]
