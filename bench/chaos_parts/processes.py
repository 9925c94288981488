"""Processes of one platform as /proc has them: the step's process that is killed, and those that must not be there.

Only what the platform's own records name is ever killed: the kubelet wrote the number of a step's process, its start
time is the same before and at the kill, and it carries the mark of this platform.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from chaos_parts.platform import Platform
from tiphys.local.kubelet.launch import main_process
from tiphys.local.kubelet.processes import read_stat
from tiphys.local.platform.record import Record
from tiphys.local.settings import PLATFORM_VARIABLE


@dataclass(frozen=True)
class Victim:
    """A step's process, alive when it was found.

    Attributes:
        pid: its number.
        started: its start in clock ticks since boot; with the number it names the process for ever.
        step: name of the step.
        after: the newest event that it had logged.
    """

    pid: int
    started: int
    step: str
    after: str


@dataclass(frozen=True)
class Process:
    """One process of the platform.

    Attributes:
        pid: its number.
        state: one letter, as in proc(5).
        command: its words, with blanks between.
    """

    pid: int
    state: str
    command: str


def victims(platform: Platform, workflow: str) -> list[Victim]:
    """Return the living main processes of a workflow's steps."""
    found = []
    for pod in platform.pods(workflow):
        pid = main_process(platform.home, str(pod["metadata"]["uid"]), "main")
        stat = read_stat(pid) if pid is not None else None
        if pid is None or stat is None or not stat.alive:
            continue
        words = pod["spec"]["containers"][0].get("command") or ["", ""]
        found.append(Victim(pid, stat.started, str(words[-1]), platform.last_event(pod)))
    return found


def kill(platform: Platform, victim: Victim) -> bool:
    """SIGKILL this very process, if it is still there and this platform's; tell whether it was sent."""
    try:
        handle = os.pidfd_open(victim.pid)
    except ProcessLookupError:
        return False
    try:
        # Read after the handle was opened, which from then on means this process and no later one of its number.
        stat = read_stat(victim.pid)
        if stat is None or not stat.alive or stat.started != victim.started or not _ours(platform.home, victim.pid):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def hold_down(platform: Platform, part: str, seconds: float) -> int:
    """SIGKILL a part of the platform as often as its supervisor starts it, for a time; return how often."""
    limit, count = time.monotonic() + seconds, 0
    while time.monotonic() < limit:
        pid = Record.load(platform.home).parts[part].pid
        stat = read_stat(pid) if pid else None
        if stat is not None and stat.alive:
            count += kill(platform, Victim(pid, stat.started, part, ""))
        time.sleep(0.05)
    return count


def of_platform(home: Path) -> list[Process]:
    """Return the living processes that carry the platform's mark."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or not _ours(home, int(name)):
            continue
        stat = read_stat(int(name))
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if stat is not None and stat.alive:
            found.append(Process(int(name), stat.state, words.strip()))
    return found


def _ours(home: Path, pid: int) -> bool:
    try:
        return f"{PLATFORM_VARIABLE}={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
