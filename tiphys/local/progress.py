"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, float | None], None]
"""Called with what is being done and how much of it is done (0 to 1, None while that is unknown)."""

log = logging.getLogger(__name__)


def silent(_message: str, _fraction: float | None) -> None:
    """Report nothing."""


@contextmanager
def shown(title: str, steps: float = 0.25) -> Iterator[Report]:
    """Show the progress of `title` on stderr and yield the function that reports it.

    Args:
        title: what the whole work is called.
        steps: without a terminal, a line is logged each time this much more is done.
    """
    if not sys.stderr.isatty():
        yield _lines(title, steps)
        return
    # Only here: an image that fetches MySQL while it is built has no terminal, and no such library.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[title]}"),
        BarColumn(bar_width=30),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=1.0, title=title)

        def report(message: str, fraction: float | None) -> None:
            bar.update(task, description=message, completed=fraction, total=None if fraction is None else 1.0)

        yield report


def _lines(title: str, steps: float) -> Report:
    """Return a reporter that logs a line at a new message, and at every `steps` of one message."""
    last: tuple[str, float] = ("", 0.0)

    def report(message: str, fraction: float | None) -> None:
        nonlocal last
        done = fraction or 0.0
        if message != last[0] or done - last[1] >= steps:
            last = (message, done)
            log.info("%s: %s%s", title, message, "" if fraction is None else f" ({fraction:.0%})")

    return report
