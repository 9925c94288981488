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
_MARK = f"{CONTAINER_VARIABLE}=".encode()


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
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        stat = read_stat(int(name))
        if stat is not None and stat.alive and (stat.session == session or _mark_of(name) == container_id):
            found.append(int(name))
    return found


def kill_marked(container_ids: set[str]) -> dict[str, list[int]]:
    """SIGKILL the processes that carry the mark of one of these containers; return what was found for each.

    One walk through /proc for all of them, since the walk is what costs (about 10 ms).
    """
    found: dict[str, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name[0].isdigit() or int(name) == os.getpid():
            continue
        identity = _mark_of(name)
        if identity in container_ids:
            found.setdefault(identity, []).append(int(name))
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(name), signal.SIGKILL)
    return found


def _mark_of(name: str) -> str:
    try:
        handle = os.open(f"/proc/{name}/environ", os.O_RDONLY)
    except OSError:
        return ""  # gone meanwhile, or another user's
    try:
        environment = os.read(handle, 1 << 20)
    except OSError:
        return ""
    finally:
        os.close(handle)
    at = environment.find(_MARK)
    if at < 0 or (at and environment[at - 1]):
        return ""
    return environment[at + len(_MARK) :].partition(b"\0")[0].decode(errors="replace")


class Sweeper:
    """Kills what containers leave behind; those that end at about the same time share one walk through /proc."""

    PAUSE = 0.05
    WALKS = 20
    """At most for one container: what was found may have started another one behind the walk's back."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[list[int]]]] = {}
        self._work: asyncio.Task[None] | None = None

    async def sweep(self, container_id: str) -> list[int]:
        """SIGKILL whatever is left of a container whose main process has ended; return what was found."""
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(container_id, []).append(answer)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._sweep_all())
        return await answer

    async def _sweep_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            found: dict[str, dict[int, None]] = {}
            left = set(batch)
            for _ in range(self.WALKS):
                killed = await asyncio.to_thread(kill_marked, left)
                for identity, pids in killed.items():
                    found.setdefault(identity, {}).update(dict.fromkeys(pids))
                if not (left := set(killed)):
                    break
            for identity, answers in batch.items():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(list(found.get(identity, {})))
            if self._waiting:
                await asyncio.sleep(self.PAUSE)


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
