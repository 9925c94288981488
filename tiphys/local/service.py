"""What every process of the platform does alike: its option, its log lines, its end.

A part is ``python -m tiphys.local.<part> --home HOME``: it runs in the foreground, logs one JSON object a line
to stderr, and stops cleanly at SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tiphys.local.settings import PLATFORM_VARIABLE, default_home

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_libc = ctypes.CDLL(None, use_errno=True)


class JsonLines(logging.Formatter):
    """Log records as JSON objects: time, level, part, logger, event, and whatever `extra` named."""

    def __init__(self, part: str):
        super().__init__()
        self.part = part

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self.part,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_json_lines(part: str, level: int = logging.INFO) -> None:
    """Send this process's log to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(part))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies (for ``preexec_fn``, Linux)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def run_part(part: str, run: Callable[[Path], Coroutine[Any, Any, int | None]], argv: Sequence[str] = ()) -> int:
    """Run a part of the platform until it ends or is told to.

    Args:
        part: its name.
        run: the part itself, given the platform's folder; it is cancelled at SIGTERM and SIGINT. It may return
            an exit code.
        argv: words of the command line, those of the process if there are none.

    Returns:
        The exit code: 0 when it was told to end.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tiphys.local.{part}")
    parser.add_argument("--home", type=Path, default=default_home(), help="the platform's folder")
    home: Path = parser.parse_args(argv or None).home.absolute()
    os.environ[PLATFORM_VARIABLE] = str(home)
    return run_until_told(part, run(home))


def run_until_told(part: str, work: Coroutine[Any, Any, int | None]) -> int:
    """Run the work of the part of that name until it ends or is told to; return the exit code."""
    # The platform's folder may be one that was there before, and readable to others: its files are not.
    os.umask(0o077)
    log_json_lines(part)
    return asyncio.run(_until_told(work))


async def _until_told(work: Coroutine[Any, Any, int | None]) -> int:
    """Run `work`, cancelling it at the first signal to end."""
    task = asyncio.ensure_future(work)
    told = False

    def end() -> None:
        nonlocal told
        told = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        return await task or 0
    except asyncio.CancelledError:
        if told:
            return 0
        raise
