"""The one clock of a drill, and proof that the measuring process itself kept running."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BEAT_SECONDS = 0.02
"""How often the heartbeat looks at the clock."""

STALL_SECONDS = 0.25
"""A heartbeat that is later than this is a stall: the process did not run, so it saw nothing."""


class Clock:
    """Seconds since the measuring began, on the monotonic clock."""

    def __init__(self) -> None:
        self._zero = time.monotonic()
        self.started_at = datetime.now(UTC)

    def __call__(self) -> float:
        """Return the seconds since the clock was made."""
        return time.monotonic() - self._zero

    def wall(self, at: float) -> datetime:
        """Return the wall clock's time at `at`; for people only, lengths never come from it."""
        return self.started_at + timedelta(seconds=at)


@dataclass(frozen=True)
class Stall:
    """A stretch in which the measuring process did not run."""

    start: float
    end: float

    def overlap(self, start: float, end: float) -> float:
        """Return how many seconds of `start` to `end` this stall covers."""
        return max(0.0, min(self.end, end) - max(self.start, start))


class Heartbeat(threading.Thread):
    """Wakes up every `BEAT_SECONDS` and notes how late it was.

    Attributes:
        stalls: stretches of more than `STALL_SECONDS` without a beat.
        latest: the largest delay of a beat so far, in seconds.
        beats: number of beats.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._clock = clock
        self._stopped = threading.Event()
        self.stalls: list[Stall] = []
        self.latest = 0.0
        self.beats = 0

    def run(self) -> None:
        """Beat until stopped."""
        last = self._clock()
        while not self._stopped.wait(BEAT_SECONDS):
            now = self._clock()
            late = now - last - BEAT_SECONDS
            self.latest = max(self.latest, late)
            self.beats += 1
            if late > STALL_SECONDS:
                self.stalls.append(Stall(last, now))
            last = now

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self.join()
