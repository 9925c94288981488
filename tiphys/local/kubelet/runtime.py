"""Runs one container as a process in a session of its own, under a small shell that outlives the kubelet.

The shell (the shim) records who it is, starts the container's program as its only child, and writes the exit
code when that ends. A kubelet that was killed and started again finds the shim by number and start time,
waits for it through a pidfd, and reads the exit code from its file: nothing is lost but the time in between.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tiphys.local.kubelet.launch import Launch, main_pid
from tiphys.local.kubelet.processes import (
    Sweeper,
    ended,
    is_running,
    members,
    parse_stat,
)

# The traps keep the shim alive when a signal is sent to the whole group; a trap (other than an ignored signal)
# is reset in the child, so the program starts with the default actions. The shim's own stderr is closed so
# that "Killed" of the shell does not get into the container's log (in a subshell, since dash keeps a command's
# redirections in force while it waits for it). Only builtins are used, because PATH is the
# container's.
_SHIM = r"""
base=$1 id=$2; shift 2
trap : TERM INT HUP QUIT
exec 3>&2 2>/dev/null
read -r stat </proc/$$/stat
printf '%s\n%s\n' "$id" "$stat" >"$base.shim"
(exec /bin/sh -c 'printf "%s\n" "$$" >"$0.pid"; exec "$@"' "$base" "$@" 2>&3 3>&-)
printf '%s\n' "$?" >"$base.exit"
"""

_SWEEPER = Sweeper()

UNKNOWN_EXIT = 255
"""Exit code of a container whose shim was killed before it could tell (Kubernetes: ContainerStatusUnknown)."""


@dataclass(frozen=True)
class Exit:
    """How a container's process ended.

    Attributes:
        code: exit code; 128 plus the signal's number after a signal.
        finished_at: wall clock time, seconds since the epoch.
        known: False when the shim was lost, so that the code is `UNKNOWN_EXIT`.
    """

    code: int
    finished_at: float
    known: bool = True


def new_container_id() -> str:
    """Return an id for one run of one container, as a runtime gives it."""
    return f"tiphys://{secrets.token_hex(32)}"


class ContainerProcess:
    """One run of one container.

    Attributes:
        container_id: its mark in the environment of its processes.
        started_at: wall clock time of its start, seconds since the epoch.
    """

    def __init__(self, base: Path, container_id: str, shim: int, started_at: float):
        self.base = base
        self.container_id = container_id
        self.started_at = started_at
        self._shim = shim
        self._child: subprocess.Popen[bytes] | None = None
        self._over: asyncio.Task[None] | None = None

    @classmethod
    def start(cls, base: Path, container_id: str, launch: Launch) -> ContainerProcess:
        """Start `launch`, whose environment must be complete; its files are ``<base>.log``, ``.exit``, ....

        The log of the previous run becomes ``<base>.prev.log``.
        """
        for suffix in (".exit", ".pid", ".shim"):
            Path(f"{base}{suffix}").unlink(missing_ok=True)
        log = Path(f"{base}.log")
        if log.exists():
            log.replace(f"{base}.prev.log")
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            started_at = time.time()
            child = subprocess.Popen(
                ["/bin/sh", "-c", _SHIM, "tiphys-shim", str(base), container_id, *launch.argv],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd=launch.cwd,
                env=dict(launch.env),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        process = cls(base, container_id, child.pid, started_at)
        process._child = child
        process._watch()
        return process

    @classmethod
    def adopt(cls, base: Path, container_id: str, started_at: float) -> ContainerProcess | None:
        """Take over a run that another kubelet started and that has not ended; None when it has."""
        try:
            recorded, line = Path(f"{base}.shim").read_text().splitlines()
            shim, stat = int(line.split(maxsplit=1)[0]), parse_stat(line)
        except (FileNotFoundError, ValueError, IndexError):
            return None
        if recorded != container_id or not is_running(shim, stat.started):
            return None
        process = cls(base, container_id, shim, started_at)
        try:
            process._watch()
        except ProcessLookupError:
            return None
        # Between the check and the pidfd the number could have passed on to another process: look again.
        if not is_running(shim, stat.started):
            process.detach()
            return None
        return process

    @classmethod
    def began(cls, base: Path, container_id: str) -> bool:
        """Whether the run's program may have started: the shim tells who it is before that."""
        return last_run(base)[0] == container_id

    @classmethod
    def past_exit(cls, base: Path, container_id: str) -> Exit:
        """Return how a run ended that is not alive any more."""
        file = Path(f"{base}.exit")
        with suppress(FileNotFoundError, ValueError):
            if cls.began(base, container_id):
                return Exit(int(file.read_text()), file.stat().st_mtime)
        return Exit(UNKNOWN_EXIT, time.time(), known=False)

    async def wait(self) -> Exit:
        """Wait until the container's process has ended and return how; may be awaited more than once."""
        if self._over is None:
            raise RuntimeError("this process was detached")
        await asyncio.shield(self._over)
        return self.past_exit(self.base, self.container_id)

    async def clean(self) -> list[int]:
        """SIGKILL what the container left behind after its main process ended; return what was found."""
        return await _SWEEPER.sweep(self.container_id)

    def main_pid(self) -> int | None:
        """Return the number of the container's program, or None when it has ended or not begun."""
        return main_pid(self.base, self._shim)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the container's program; False when it has ended or not begun."""
        pid = self.main_pid()
        if pid is None:
            return False
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if self.main_pid() != pid:
                return False
            signal.pidfd_send_signal(pidfd, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)

    async def kill(self) -> None:
        """SIGKILL the whole container and wait until it is over."""
        while self._over is not None and not self._over.done():
            if not self.signal(signal.SIGKILL):
                # No main process to be found: the shim is between two of its lines, or lost its child.
                inside = await asyncio.to_thread(members, self.container_id, self._shim)
                if not self._over.done():
                    for pid in inside:
                        if pid != self._shim:
                            kill_one(pid)
            await asyncio.wait({self._over}, timeout=0.1)
        await self.clean()

    def detach(self) -> None:
        """Let go of the process without ending it: the next kubelet will adopt it."""
        if self._over is not None:
            self._over.cancel()
            self._over = None

    def _watch(self) -> None:
        self._over = asyncio.ensure_future(ended(self._shim, os.pidfd_open(self._shim)))
        self._over.add_done_callback(self._release)

    def _release(self, _task: asyncio.Task[None]) -> None:
        # Reaped by `ended`, or left to the next kubelet: Popen need not complain when it is forgotten, and
        # the shim's own exit code says nothing.
        if self._child is not None and self._child.returncode is None:
            self._child.returncode = 0


def last_run(base: Path) -> tuple[str, float]:
    """Return the id and the start of the newest run as its shim told them; empty and 0 when none ever did."""
    path = Path(f"{base}.shim")
    try:
        return path.read_text().partition("\n")[0], path.stat().st_mtime
    except FileNotFoundError:
        return "", 0.0


def kill_one(pid: int) -> None:
    """SIGKILL one process, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
