"""How a Sensor's trigger wants its event delivered: tries, pace and dead letter, as values.

Sources: argo-events pkg/sensors/listener.go, pkg/shared/util/retry.go, and go.uber.org/ratelimit, which it uses.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tiphys.local.events.calendar import parse_duration

UNITS = {"": 1.0, "Second": 1.0, "Minute": 60.0, "Hour": 3600.0}
"""Seconds by the unit of a rate limit."""
SLACK = 10
"""Tries that come at once after a pause, beside the first."""


@dataclass(frozen=True)
class Backoff:
    """A ``retryStrategy``.

    Attributes:
        steps: tries in all.
        pause: seconds before the second try.
        factor: how much longer each further pause is.
        jitter: part of a pause that may be added to it, by chance.
    """

    steps: int = 1
    pause: float = 1.0
    factor: float = 1.0
    jitter: float = 1.0

    @classmethod
    def of(cls, spec: dict[str, Any] | None) -> Backoff:
        """Return what a trigger's ``retryStrategy`` says; one try where it has none.

        Raises:
            ValueError, TypeError, CalendarError: a value cannot be read.
        """
        if spec is None:
            return cls()
        duration = spec.get("duration", "1s")
        # Argo Events takes a number for nanoseconds.
        pause = duration / 1e9 if isinstance(duration, int) else parse_duration("duration", duration).total_seconds()
        steps = int(spec.get("steps") or 0)
        return cls(steps if steps > 0 else 5, pause, float(spec.get("factor", 1)), float(spec.get("jitter", 1)))

    def pauses(self) -> Iterator[float]:
        """Yield the seconds between the tries: one less than there are tries."""
        pause = self.pause
        for _ in range(self.steps - 1):
            yield pause * (1 + random.random() * self.jitter)
            pause *= self.factor


class Pace:
    """A ``rateLimit``: what is too much waits, and nothing is dropped."""

    def __init__(self, seconds: float):
        """Begin a pace of one try in so many seconds."""
        self._seconds = seconds
        self._next: float | None = None

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Pace:
        """Return the pace of a trigger's ``rateLimit``."""
        return cls(UNITS[spec.get("unit") or ""] / spec["requestsPerUnit"])

    def wait(self, now: float) -> float:
        """Return for how many seconds the next try has to wait, and count it.

        Args:
            now: of a clock that never goes back, in seconds.
        """
        earliest = now if self._next is None else self._next + self._seconds
        self._next = max(earliest, now - SLACK * self._seconds)
        return max(0.0, self._next - now)
