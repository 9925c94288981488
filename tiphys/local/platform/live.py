"""The list that ``tiphys up`` and ``tiphys down`` show while they work."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tiphys.local.platform.readiness import Readiness

MARKS = {
    "ready": Text("✓", "green"),
    "stopped": Text("✓", "green"),
    "failed": Text("✗", "red"),
    "restarting": Text("!", "red"),
    "absent": Text("-", "dim"),
}


class LiveList:
    """Rows of name, state and time; a line for each change where there is no terminal."""

    def __init__(self, names: list[str]):
        """Show the rows `names` from the start; others are added as they are told of."""
        self.console = Console(stderr=True)
        self.started = time.monotonic()
        self.rows: dict[str, Readiness] = {name: Readiness("starting") for name in names}
        self.settled: dict[str, float] = {}
        self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=8)

    def __enter__(self) -> LiveList:
        if sys.stderr.isatty():
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live.is_started:
            self.live.stop()

    def show(self, name: str, now: Readiness) -> None:
        """Take in what is seen of one row."""
        before = self.rows.get(name)
        self.rows[name] = now
        seconds = time.monotonic() - self.started
        if not _is_over(now.state):
            self.settled.pop(name, None)
        elif name not in self.settled:
            self.settled[name] = seconds
        is_news = before is None or before.state != now.state or now.state == "stopping" and before.detail != now.detail
        if not self.live.is_started and is_news:
            detail = f": {now.detail}" if now.detail else ""
            self.console.print(f"{seconds:6.1f} s  {name} {now.state}{detail}", highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic() - self.started
        for name, row in self.rows.items():
            mark = MARKS.get(row.state) or Spinner("dots")
            seconds = self.settled.get(name, now)
            table.add_row(mark, name, row.state, Text(f"{seconds:.1f} s", "dim"), Text(row.detail, "dim"))
        return table


def _is_over(state: str) -> bool:
    return state in ("ready", "absent", "failed", "stopped")
