"""Slow stretches: writes succeed, but each takes far longer than before the fault. Pure functions.

Definitions. All times are on one monotonic clock.

- *Normal* is the median latency of acknowledged attempts before the fault, without those that had to connect.
- The time after the fault is cut into *windows* of `WINDOW_SECONDS`; an acknowledged attempt belongs to the window in
  which it ended. A window is slow where the median latency in it is above `FACTOR` times the normal, and above
  `LEAST_SECONDS`. A window without an acknowledgement is none: that is an outage, and told as one.
- A *slow stretch* is a row of slow windows. It begins where the first slow attempt in it did, ends where the last one
  did, and counts where it lasts longer than `STRETCH_SECONDS`. Two rows with only one quick window between them are
  one: a stretch has its short lulls.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from steps.drill.attempts import Attempt, Outcome
from steps.drill.timeline import Band

WINDOW_SECONDS = 0.5
FACTOR = 5.0
LEAST_SECONDS = 0.05
STRETCH_SECONDS = 1.0

DOING = {
    "UNREACHABLE": "was unreachable",
    "ABSENT": "was out of the group",
    "OFFLINE": "was offline",
    "ERROR": "was in state ERROR",
    "RECOVERING": "rejoined",
}
"""What a member does in a state in which it does not serve, for people."""


@dataclass(frozen=True)
class Slow:
    """A stretch in which writes were slow.

    Attributes:
        start: on the drill's clock.
        end: on the drill's clock.
        median: latency in it, in seconds.
        normal: median latency before the fault, in seconds.
        open: whether it had not ended when the measuring did.
        meanwhile: what members did in it that did not serve, for people ("demo-2 rejoined"); may be empty.
    """

    start: float
    end: float
    median: float
    normal: float
    open: bool = False
    meanwhile: str = ""

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


def slow_stretches(
    clients: Iterable[Sequence[Attempt]],
    fault_at: float,
    until: float,
    bands: Mapping[str, Sequence[Band]],
    pods: Mapping[str, str],
) -> tuple[Slow, ...]:
    """Return the slow stretches after `fault_at`; see the module for every definition.

    Args:
        clients: the attempts of each client of one kind.
        fault_at: when the fault was injected.
        until: when the clients were stopped.
        bands: server UUID to its states over time.
        pods: server UUID to pod.
    """
    done = sorted(
        (a.end, a.end - a.start, a.connected is None)
        for attempts in clients
        for a in attempts
        if a.outcome is Outcome.ACKNOWLEDGED and a.end is not None and a.end <= until
    )
    before = [latency for end, latency, kept in done if end <= fault_at and kept]
    if not before:
        return ()
    normal = statistics.median(before)
    limit = max(FACTOR * normal, LEAST_SECONDS)
    windows: dict[int, list[tuple[float, float]]] = {}
    for end, latency, _ in done:
        if end > fault_at:
            windows.setdefault(math.floor((end - fault_at) / WINDOW_SECONDS), []).append((end, latency))
    found = []
    for row in _rows(windows, limit):
        attempts_in = [attempt for key in row for attempt in windows[key]]
        slow = [(end, latency) for end, latency in attempts_in if latency > limit]
        start, end = max(fault_at, min(e - latency for e, latency in slow)), max(e for e, _ in slow)
        if end - start > STRETCH_SECONDS:
            median = statistics.median(latency for _, latency in attempts_in)
            still = until - end < WINDOW_SECONDS
            found.append(Slow(start, end, median, normal, still, _meanwhile(start, end, bands, pods)))
    return tuple(found)


def _rows(windows: Mapping[int, Sequence[tuple[float, float]]], limit: float) -> list[list[int]]:
    """Return the rows of slow windows, by number; a single quick window in a row is taken in, an empty one is not."""
    rows: list[list[int]] = []
    for key in sorted(windows):
        if statistics.median(latency for _, latency in windows[key]) <= limit:
            continue
        if rows and key - rows[-1][-1] <= 2 and all(k in windows for k in range(rows[-1][-1], key)):
            rows[-1] += range(rows[-1][-1] + 1, key + 1)
        else:
            rows.append([key])
    return rows


def _meanwhile(start: float, end: float, bands: Mapping[str, Sequence[Band]], pods: Mapping[str, str]) -> str:
    """Say what the members did that did not serve for a tenth of the time or more."""
    parts = []
    for server, row in bands.items():
        doing: list[str] = []
        for band in row:
            shared = min(end, band.end) - max(start, band.start)
            if band.state in DOING and shared >= (end - start) / 10 and DOING[band.state] not in doing:
                doing.append(DOING[band.state])
        if doing:
            parts.append(f"{pods.get(server, server)} {' and '.join(doing)}")
    return "; ".join(parts)


def milliseconds(value: float) -> str:
    """Return a latency of `value` seconds as people read it: ``4.9 ms``, ``204 ms``."""
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def sentence(slow: Slow, fault_at: float) -> str:
    """Tell a slow stretch in one sentence; its times are seconds after the fault."""
    meanwhile = f", while {slow.meanwhile}" if slow.meanwhile else ""
    still = "; they still were when the measuring ended" if slow.open else ""
    return (
        f"From {slow.start - fault_at:.1f} s to {slow.end - fault_at:.1f} s after the fault writes were slow: "
        f"{milliseconds(slow.median)} (median) instead of {milliseconds(slow.normal)}{meanwhile}{still}."
    )
