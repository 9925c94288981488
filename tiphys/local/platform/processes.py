"""A platform's processes as /proc shows them, found by the variable that each of them carries."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tiphys.local.settings import PLATFORM_VARIABLE

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process at one time: a number that is used again is another process.

    Attributes:
        pid: its number.
        parent: its parent's number.
        ticks: when it started, in clock ticks since boot; with the pid this names it for ever.
        words: its command line.
    """

    pid: int
    parent: int
    ticks: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        command = " ".join(self.words)
        return f"{self.pid} ({command[:100]}{'...' if len(command) > 100 else ''})"


def read(pid: int) -> Process | None:
    """Return the process numbered `pid`, or None if it is gone or a zombie."""
    try:
        # The name in brackets may hold anything, brackets and blanks too: what counts follows the last one.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        words = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except (OSError, ValueError):
        return None
    if fields[0] in "ZX":
        return None
    return Process(pid, int(fields[1]), int(fields[19]), tuple(word.decode(errors="replace") for word in words))


def is_alive(process: Process) -> bool:
    """Tell whether that very process still runs."""
    now = read(process.pid)
    return now is not None and now.ticks == process.ticks


def of_platform(home: Path) -> list[Process]:
    """Return the processes that carry the platform's variable, without the caller and those above it."""
    mark = f"{PLATFORM_VARIABLE}={home}".encode()
    spared = _own_line()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        try:
            marked = mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another user's
            continue
        if marked and (process := read(int(entry.name))):
            found.append(process)
    return found


def platform_of(pid: int) -> Path | None:
    """Return the folder of the platform that process `pid` belongs to, if it belongs to one we may look at."""
    try:
        entries = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    mark = f"{PLATFORM_VARIABLE}=".encode()
    return next((Path(entry[len(mark) :].decode()) for entry in entries if entry.startswith(mark)), None)


def _own_line() -> set[int]:
    """Return the numbers of this process and of all above it."""
    line = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        process = read(pid)
        pid = process.parent if process else 0
    return line


def with_descendants(roots: Iterable[Process], among: Iterable[Process]) -> list[Process]:
    """Return `roots` and those of `among` that descend from them."""
    kept = {process.pid: process for process in roots}
    rest = [process for process in among if process.pid not in kept]
    while grown := [process for process in rest if process.parent in kept]:
        kept |= {process.pid: process for process in grown}
        rest = [process for process in rest if process.pid not in kept]
    return list(kept.values())


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to that very process; nothing happens if it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        # The handle holds on to whoever has the number now: only then is it safe to compare.
        if is_alive(process):
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(handle)


def end(find: Callable[[], list[Process]], grace: float, kill: float = 5.0) -> list[Process]:
    """End what `find` returns, asking first: TERM, and KILL when `grace` seconds are over.

    Args:
        find: returns the processes that are left; asked again and again, because one may start another.
        grace: seconds to end by themselves.
        kill: seconds to wait after KILL.

    Returns:
        Those that are still there.
    """
    asked: set[tuple[int, int]] = set()
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, kill)):
        deadline = time.monotonic() + seconds
        while left := find():
            for process in left:
                if number is signal.SIGKILL or (process.pid, process.ticks) not in asked:
                    asked.add((process.pid, process.ticks))
                    send(process, number)
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return []
    return find()
