"""What /proc tells about processes: identity that survives number reuse, and who belongs to a container."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CONTAINER_VARIABLE = "TIPHYS_CONTAINER_ID"
"""Environment variable that marks every process of one run of one container."""


@dataclass(frozen=True)
class ProcessStat:
    """The part of ``/proc/<pid>/stat`` that tells one process from another (proc(5)).

    Attributes:
        state: one letter; Z and X are dead.
        parent: process id of the parent.
        session: session id, which is the process id of the session's leader.
        started: start time in clock ticks since boot; with the number it names a process uniquely.
    """

    state: str
    parent: int
    session: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether the process still runs; a zombie does not."""
        return self.state not in ("Z", "X")


def parse_stat(line: str) -> ProcessStat:
    """Read a line of ``/proc/<pid>/stat``; the command's name may hold spaces and parentheses."""
    fields = line[line.rindex(")") + 1 :].split()
    return ProcessStat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def read_stat(pid: int) -> ProcessStat | None:
    """Return what /proc says of `pid`, or None when there is no such process."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_running(pid: int, started: int) -> bool:
    """Whether `pid` is still the process that began at tick `started`, and not a later one of its number."""
    stat = read_stat(pid)
    return stat is not None and stat.alive and stat.started == started


def members(container_id: str, session: int | None = None) -> list[int]:
    """Return the living processes of a container: those that carry its mark, or are in its session.

    The mark finds also what left the session (daemons); the session finds what cleaned its environment.
    """
    mark = f"{CONTAINER_VARIABLE}={container_id}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            stat = read_stat(int(name))
            if stat is None or not stat.alive:
                continue
            inside = session is not None and stat.session == session
            if inside or mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
        except (OSError, ValueError):
            continue  # gone meanwhile, or another user's
    return found


def kill_members(container_id: str, session: int | None = None) -> list[int]:
    """SIGKILL whatever is left of a container, as a runtime does when the main process has ended.

    A session number alone is no proof once its leader is dead, since the kernel may reuse it: pass it only
    while that cannot have happened. Returns the processes that were found.
    """
    found = members(container_id, session)
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found


async def ended(pid: int, pidfd: int) -> None:
    """Wait until the process behind `pidfd` has ended; the descriptor is closed in the end."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def readable() -> None:
        if not done.done():
            done.set_result(None)

    loop.add_reader(pidfd, readable)
    try:
        await done
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
