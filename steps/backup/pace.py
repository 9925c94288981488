"""A limit on bytes per second that several threads share."""

from __future__ import annotations

import time
from threading import Lock


class Pace:
    """Lets bytes pass at a rate: each taker waits until those before it would have passed.

    Args:
        rate: bytes a second; 0 for no limit.
        burst: seconds of work that may come at once after a pause.
    """

    def __init__(self, rate: float, burst: float = 0.2) -> None:
        self.rate, self.burst = rate, burst
        self._free = 0.0
        self._lock = Lock()

    def take(self, amount: int) -> None:
        """Count `amount` bytes, and wait until they may pass."""
        if self.rate and (wait := self.due(amount, time.monotonic())) > 0:
            time.sleep(wait)

    def due(self, amount: int, now: float) -> float:
        """Count `amount` bytes at the time `now`, and return the seconds until they may pass."""
        with self._lock:
            self._free = max(self._free, now - self.burst) + amount / self.rate
            return self._free - now
