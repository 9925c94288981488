"""Downtime from acknowledgements: how long no client got one.

Definitions. All times are on one monotonic clock.

- *Acknowledgements* are the END times of all acknowledged attempts of all clients of one kind (writes, or reads), but
  for those whose client had given up waiting: they tell that a write is there, and nobody was served by them.
- *Normal spacing* is the median distance of two acknowledgements in a row before the fault: with four writers at 20 ms
  about 5 ms. It is what a stretch without acknowledgement lasts when nothing is wrong.
- A *stretch* lies between two acknowledgements in a row. Those that end after the fault was injected count: the first
  starts at the last acknowledgement before the fault. The last one ends where the observation ends, whether or not an
  acknowledgement came: an outage that is still open counts up to the end and is marked so.
- The *downtime* of a stretch is its length minus the normal spacing, never below zero.
- *Write downtime* is the longest downtime of one stretch. *Total downtime* is the sum over all *outages*: the stretches
  whose downtime is at least `OUTAGE_SECONDS`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

OUTAGE_SECONDS = 0.5
"""A shorter interruption is slowness and not an outage, and the latency plot shows it: while a member rejoins, a group
commits about every 250 ms, and clients that wait for it in step would be counted as dozens of outages."""


@dataclass(frozen=True)
class Outage:
    """A stretch without acknowledgements.

    Attributes:
        start: last acknowledgement before it, or the start of the observation.
        end: first acknowledgement after it, or the end of the observation.
        downtime: its length in seconds minus the normal spacing.
        open: whether no acknowledgement ended it.
    """

    start: float
    end: float
    downtime: float
    open: bool = False


@dataclass(frozen=True)
class Downtime:
    """How long clients were without acknowledgements.

    Attributes:
        longest: the longest downtime of one stretch, in seconds: the number that the budget is held against.
        total: the sum of the downtimes of all outages, in seconds.
        spacing: the normal spacing, in seconds.
        worst: the stretch that `longest` is of; None where there was nothing to observe.
        outages: those of at least `OUTAGE_SECONDS`, in order of time.
    """

    longest: float
    total: float
    spacing: float
    worst: Outage | None = None
    outages: tuple[Outage, ...] = field(default=())

    @property
    def open(self) -> bool:
        """Whether the last outage had not ended when the observation did."""
        return bool(self.outages) and self.outages[-1].open


def normal_spacing(acknowledged: Iterable[float], before: float) -> float:
    """Return the median distance in seconds of acknowledgements up to `before`; 0 where there are fewer than two."""
    gaps = [later - earlier for earlier, later in pairwise(sorted(at for at in acknowledged if at <= before))]
    return statistics.median(gaps) if gaps else 0.0


def downtime(
    acknowledged: Iterable[float],
    observed_from: float,
    fault_at: float,
    observed_until: float,
    calm_until: float | None = None,
) -> Downtime:
    """Return the downtime after `fault_at`; see the module for every definition.

    Args:
        acknowledged: end times of acknowledged attempts, in any order.
        observed_from: when the clients started; stands for the last acknowledgement where there is none.
        fault_at: when the fault was injected.
        observed_until: when the clients were stopped.
        calm_until: until when all was well, which gives the normal spacing, if that is not `fault_at`.
    """
    times = sorted(at for at in acknowledged if observed_from <= at <= observed_until)
    spacing = normal_spacing(times, fault_at if calm_until is None else calm_until)
    edges = [(at, False) for at in (observed_from, *times)] + [(observed_until, True)]
    stretches = [
        Outage(start, end, max(0.0, end - start - spacing), still_open)
        for (start, _), (end, still_open) in pairwise(edges)
        if end > fault_at
    ]
    outages = tuple(stretch for stretch in stretches if stretch.downtime >= OUTAGE_SECONDS)
    worst = max(stretches, key=lambda stretch: stretch.downtime, default=None)
    return Downtime(
        longest=worst.downtime if worst else 0.0,
        total=sum(outage.downtime for outage in outages),
        spacing=spacing,
        worst=worst,
        outages=outages,
    )
