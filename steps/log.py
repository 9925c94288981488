"""Logs of the steps: one JSON object a line on stderr; on a terminal, lines for people and a progress bar."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SLOWEST = 30.0
"""Seconds between two reports at most."""

_state = {"step": "", "bar": ""}
_one_at_a_time = threading.RLock()


def set_step(name: str) -> None:
    """Name the step whose lines follow."""
    _state["step"] = name


def log(event: str, **fields: Any) -> None:
    """Write one line: what happened (`event`, a short name in the past tense or a noun) and its details.

    Never pass a secret: every field is written as it is.
    """
    if sys.stderr.isatty():
        if _state["bar"]:
            # The bar draws itself again below the line.
            print("\r\x1b[K", end="", file=sys.stderr)
        details = "  ".join(f"{key}={value}" for key, value in fields.items())
        print(f"{datetime.now():%H:%M:%S} {event:<28} {details}", file=sys.stderr, flush=True)
        return
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "workflow": os.environ.get("TIPHYS_WORKFLOW", ""),
        "step": _state["step"],
        **fields,
    }
    text = json.dumps(line, default=str) + "\n"
    with _one_at_a_time:
        # print() would write the line and its end by two calls, between which another thread may write.
        sys.stderr.write(text)
        sys.stderr.flush()


class Progress:
    """Tells how far a long piece of work is: percent, rate and ETA.

    On a terminal it draws a bar; otherwise it logs a ``progress`` line at most every `interval` seconds at first,
    and as the work takes longer, at most every twentieth of its time so far, up to SLOWEST seconds. `total` may be
    an estimate: only the end is 100 percent. Where Argo's executor offers a progress file (``ARGO_PROGRESS_FILE``),
    it is kept up to date as well.
    """

    def __init__(self, what: str, total: int, unit: str, interval: float = 2.0) -> None:
        self.what, self.total, self.unit, self.interval = what, max(total, 1), unit, interval
        self.done = 0
        self._started = self._last = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done, and report if it is time to."""
        self.done += amount
        now = time.monotonic()
        if now - self._last >= self.pause(now - self._started):
            self._last = now
            self._report(now)

    def pause(self, elapsed: float) -> float:
        """Return the seconds from one report to the next, that long after the beginning."""
        return 0.2 if sys.stderr.isatty() else min(max(self.interval, elapsed / 20), SLOWEST)

    def finish(self) -> None:
        """Report the end, whatever the interval."""
        self._report(time.monotonic(), ended=True)
        if sys.stderr.isatty():
            print(file=sys.stderr)
            _state["bar"] = ""

    def _report(self, now: float, *, ended: bool = False) -> None:
        rate = self.done / max(now - self._started, 1e-6)
        total = max(self.total, self.done)
        percent = 100.0 * self.done / total
        percent = 100.0 if ended else min(percent, 99.9)
        eta = (total - self.done) / rate if rate else 0.0
        if path := os.environ.get("ARGO_PROGRESS_FILE"):
            Path(path).write_text(f"{self.done}/{total}\n")
        if sys.stderr.isatty():
            _state["bar"] = self.what
            bar = ("█" * int(percent / 4)).ljust(25, "·")
            print(
                f"\r{self.what[:24]:<24} {bar} {int(percent):3d}%  {rate:,.0f} {self.unit}/s  ETA {eta:3.0f} s ",
                end="",
                file=sys.stderr,
                flush=True,
            )
            return
        log(
            "progress",
            what=self.what,
            percent=round(percent, 1),
            done=self.done,
            total=total,
            unit=self.unit,
            rate=round(rate, 1),
            eta_seconds=round(eta, 1),
        )


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Progress]:
    """Yield a :class:`Progress` for a piece of work; its end is reported when the block ends without error."""
    bar = Progress(what, total, unit)
    yield bar
    bar.finish()
