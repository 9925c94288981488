"""Waiting for a run, and showing it meanwhile: a live tree on a terminal, else one line for each change."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console
from rich.constrain import Constrain
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from tiphys.runs.api import Cluster, Object
from tiphys.runs.errors import NotFound, ToolError, Unreachable
from tiphys.runs.lines import error_in, readable
from tiphys.runs.nodes import ENDED, Row, in_words, outputs_of, phase_of, rows, seconds_of, took, waits_for, when

LOOK_SECONDS = 0.4
FAILED = ("Failed", "Error")
DONE = (*ENDED, "Skipped", "Omitted")
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

    def show(self, workflow: Object, lines: Mapping[str, str], said: Mapping[str, str]) -> None:
        """Show a run's state, the newest log line of each step that runs, and what the failed ones said, by id."""

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
    said: dict[str, str] = {}
    display: Display = Board() if sys.stderr.isatty() else Journal()
    try:
        while True:
            now = time.monotonic()
            try:
                workflow, seen = cluster.workflow(name), now
                _listen(cluster, workflow, said)
                lines = _newest_lines(cluster, workflow) if isinstance(display, Board) else {}
                display.show(workflow, lines, said)
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
                raise ToolError(_too_late(name, workflow, timeout))
            time.sleep(LOOK_SECONDS)
    finally:
        display.close()


def _too_late(name: str, workflow: Object | None, timeout: float) -> str:
    late = f"{name} has not ended within {timeout:g} s"
    if workflow is None:
        return f"{late}: there is no answer about it; `tiphys wait {name}` looks again"
    if waits := waits_for(workflow):
        return f"{late}: it {waits}"
    state = phase_of(workflow)
    return f"{late} (it is {state}) and goes on: `tiphys wait {name}` follows it, `tiphys stop {name}` ends it"


def _listen(cluster: Cluster, workflow: Object, said: dict[str, str]) -> None:
    """Add what each step that has failed said itself, if its pod is still there to tell."""
    for row in rows(workflow):
        if row.pod and row.phase in FAILED and row.id not in said:
            try:
                said[row.id] = error_in(list(cluster.pod_log(row.pod, tail=20)))
            except Unreachable:
                raise
            except ToolError:
                said[row.id] = ""


def _with_words(workflow: Object, said: Mapping[str, str]) -> list[Row]:
    return [dataclasses.replace(row, message=said.get(row.id) or row.message) for row in rows(workflow)]


def _headline(workflow: Object, found: list[Row]) -> str:
    """Return the message of a run as a whole: why it failed, in the words of the steps that did."""
    if phase_of(workflow) in FAILED:
        failed = [row for row in found if row.pod and row.phase in FAILED]
        name = workflow["metadata"]["name"]
        if failed:
            # A run of one step is called like its step.
            return "; ".join(f"{'' if row.name == name else f'{row.name}: '}{row.message}" for row in failed)
    return in_words(workflow, str((workflow.get("status") or {}).get("message") or ""))


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

    def show(self, workflow: Object, lines: Mapping[str, str], said: Mapping[str, str]) -> None:
        """Draw the run."""
        # A full last line would be wrapped by the terminal's ^C, and a line too many would stand there at the end.
        width = self._console.width - len("^C") - 1
        self._live.update(Constrain(tree(workflow, lines, width, said), width))

    def close(self) -> None:
        """Stop drawing."""
        self._live.stop()


def tree(workflow: Object, lines: Mapping[str, str], width: int = 80, said: Mapping[str, str] | None = None) -> Tree:
    """Return a run as a tree: icon, name, duration, message; below a running step its newest log line."""
    name, room = workflow["metadata"]["name"], max(width - 1, 20)
    found = _with_words(workflow, said or {})
    message = _headline(workflow, found)
    root = Tree(label(Row("", 0, name, phase_of(workflow), message, seconds_of(workflow), "", 1)))
    branches = [root]
    for row in found:
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
    if row.message:
        text.append(f"  {row.message}", style=style if row.phase in (*FAILED, "Suspended") else "dim")
    return text


class Journal:
    """One line on stderr for each change of a step."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, ...]] = {}

    def show(self, workflow: Object, lines: Mapping[str, str], said: Mapping[str, str]) -> None:
        """Write what has changed since the last call, each change with the time at which it happened."""
        name = workflow["metadata"]["name"]
        found = _with_words(workflow, said)
        status = workflow.get("status") or {}
        at = when(status.get("finishedAt")) or when(status.get("startedAt"))
        told = [row.name for row in found if row.pod and row.phase in FAILED and row.message and row.name != name]
        why = f"{', '.join(told)} failed" if told and phase_of(workflow) in FAILED else _headline(workflow, found)
        whole = Row("", 0, name, phase_of(workflow), why, seconds_of(workflow), "", 1, at)
        # What consists of steps ends after them and starts before them; timestamps have whole seconds.
        depths = {row.id: -row.depth if row.phase in DONE else row.depth for row in found}
        steps = [row for row in found if row.name != name]
        steps.sort(key=lambda row: (row.at or datetime.now(UTC), depths[row.id]))
        for row in [*steps, whole] if whole.phase in ENDED else [whole, *steps]:
            self._tell(row)

    def close(self) -> None:
        """Nothing to do."""

    def _tell(self, row: Row) -> None:
        seen = (row.phase, row.message)
        if self._known.get(row.id) == seen:
            return
        # Argo notes the start and the end; what a step says in between, it says now.
        at = row.at if row.at and (row.phase in DONE or row.id not in self._known) else datetime.now(UTC)
        self._known[row.id] = seen
        after = f" after {took(row.seconds)}" if row.seconds and row.phase in ENDED else ""
        tail = f": {row.message}" if row.message else ""
        print(f"{at.astimezone():%H:%M:%S} {row.name} {row.phase}{after}{tail}", file=sys.stderr, flush=True)


STYLES = {"PASS": "bold green", "FAIL": "bold red", "INVALID": "bold yellow", "ABORTED": "bold yellow"}


def summary(workflow: Object, *, leave_out: Sequence[str] = ()) -> list[Text]:
    """Return a run's global outputs as the lines of a small table, the verdict first; [] if it has none."""
    outputs = {name: value for name, value in outputs_of(workflow).items() if value and name not in leave_out}
    if "report" in outputs:
        # Where it is in the bucket: nobody can open that as a file.
        outputs["report (S3 key)"] = outputs.pop("report")
    longest = max(map(len, outputs), default=0)
    ordered = sorted(outputs.items(), key=lambda item: ("\n" in item[1], item[0] != "verdict", item[0]))
    # What has lines of its own, such as a plan, is last, and begins at the left, for it is as wide as a terminal.
    return [
        Text.assemble((f"{name:<{longest}}" + ("\n" if "\n" in value else "  "), "dim"), (value, STYLES.get(value, "")))
        for name, value in ordered
    ]
