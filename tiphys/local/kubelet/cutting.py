"""Keeps pods cut off from everybody: finds every socket of their processes, again and again, and signs it.

Nothing is remembered outside the kernel: the keys stand in the sockets, and a kubelet that was killed and started
again finds the pods that are to be cut off by their policies, and heals all others. While no kubelet runs, all that
was cut off stays so, and so do new connections to the pod; one that the pod itself opens then is cut by the next.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tiphys.local.kubelet import tcp_keys
from tiphys.local.kubelet.processes import read_stat
from tiphys.local.kubelet.tcp_keys import CannotCutError

log = logging.getLogger(__name__)

SCAN_SECONDS = 0.004
"""Pause between two looks at the sockets of a pod that is cut off: a new connection gets no further than that."""
WALK_SECONDS = 0.025
"""Pause between two looks for new processes of it."""
SETTLED_SECONDS = 1.0
"""For how long a new process is looked at again: only once it runs its own program does it say whose it is."""
HELD = 150
"""Sockets kept of one pod at most, see `_Cut.held`."""
HEAL_PAUSES = (0.0, 0.05, 0.5)
"""Seconds before each look for sockets to heal: what was accepted meanwhile is found by the next."""

keys: dict[str, bytes] = {}
"""Address and key of each pod that this kubelet has cut off. A node may always talk to its pods, so that its probes
go on; they take the key from here."""


def key_of(uid: str) -> bytes:
    """Return the key of a pod: its own, so that two pods that are cut off do not talk to each other either."""
    return uid.encode()[:80]


@dataclass
class _Cut:
    """What is known of one pod that is cut off.

    Attributes:
        held: its sockets by inode, but for those that listen. The process may close its own descriptor of such a
            socket, and the kernel then ends the connection only when this one is closed too, at the end: so the other
            side learns of it once the network is whole again, as it would of a repeated FIN.
        listening: addresses it listens on.
        first: whether nothing was looked at yet; what is found then was there before the cut.
        slipped: new connections that were open before they were found, and the bytes that got through on them.
    """

    uid: str
    pids: set[int] = field(default_factory=set)
    held: dict[int, socket.socket] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    listening: set[tuple[str, int]] = field(default_factory=set)
    first: bool = True
    signed: int = 0
    slipped: list[int] = field(default_factory=list)


class Cutter:
    """Cuts pods off and heals them, in a thread of its own while there is any to be cut off.

    Args:
        pods: the folder of the pods' folders.
    """

    def __init__(self, pods: Path) -> None:
        self._pods = pods
        self._lock = threading.Lock()
        self._wanted: dict[str, str] = {}
        self._cuts: dict[str, _Cut] = {}
        self._troubles: dict[str, str] = {}
        self._strangers: set[int] = set()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._ended = False

    def set(self, wanted: Mapping[str, str]) -> None:
        """Say which pods are to be cut off: uid to address. Returns at once; `settle` waits."""
        with self._lock:
            for address in set(self._wanted.values()) - set(wanted.values()):
                keys.pop(address, None)
            self._wanted = dict(wanted)
            self._troubles = {uid: why for uid, why in self._troubles.items() if uid in wanted}
            keys.update({address: key_of(uid) for uid, address in wanted.items() if address})
            # Also to heal what a thread that died of something left cut off.
            if (wanted or self._cuts) and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="cutter", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, seconds: float = 30.0) -> dict[str, str]:
        """Wait until it is as `set` wants it; return the pods that cannot be cut off: uid to the reason."""
        with self._lock:
            self._changed.wait_for(self._settled, seconds)
            return dict(self._troubles)

    def close(self) -> None:
        """End the thread. What is cut off stays so, for the next kubelet to know."""
        with self._lock:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(10.0)

    def heal(self, uids: Iterable[str]) -> int:
        """Take the keys from all sockets of these pods and return how many had one."""
        healed = 0
        marks = {uid: self._mark(uid) for uid in uids}
        for pause in HEAL_PAUSES if marks else ():
            time.sleep(pause)
            found = 0
            for pids in processes(marks).values():
                found += _unsign_all(pids)
            healed += found
            if not found and not pause:
                break  # most pods were never cut off
        return healed

    def obstacle(self, uid: str) -> str:
        """Return why this pod could not be cut off, empty where it could (or has no process)."""
        try:
            with socket.socket() as trial:
                tcp_keys.sign(trial, b"trial")
            for pid in processes({uid: self._mark(uid)}).get(uid, ()):
                tcp_keys.borrow(pid, 0)
        except (CannotCutError, OSError) as error:
            return str(error)
        return ""

    def _mark(self, uid: str) -> bytes:
        return f"TIPHYS_ROOT={self._pods / uid / 'root'}".encode()

    def _settled(self) -> bool:
        wanted = set(self._wanted) - set(self._troubles)
        return wanted == set(self._cuts) and not any(cut.first for cut in self._cuts.values())

    def _run(self) -> None:
        walked = 0.0
        while True:
            with self._lock:
                wanted = {uid for uid in self._wanted if uid not in self._troubles}
                if self._ended or (not wanted and not self._cuts):
                    self._thread = None
                    self._strangers.clear()
                    self._changed.notify_all()
                    return
            for uid in set(self._cuts) - wanted:
                self._end(self._cuts[uid])
            new = [_Cut(uid) for uid in wanted - set(self._cuts)]
            if new or time.monotonic() - walked > WALK_SECONDS:
                walked = time.monotonic()
                self._walk(new)
            for cut in [*self._cuts.values(), *new]:
                self._scan(cut)
            if new:
                with self._lock:
                    self._cuts |= {cut.uid: cut for cut in new}  # what is half cut off is healed in the next round
                    self._changed.notify_all()
            with self._lock:
                if not self._ended:
                    self._changed.wait(SCAN_SECONDS)

    def _walk(self, new: list[_Cut]) -> None:
        """Find the processes of the pods; those that are known to be others' are not looked at again."""
        cuts = {cut.uid: cut for cut in [*self._cuts.values(), *new]}
        if new:
            self._strangers.clear()
        known = {pid for cut in cuts.values() for pid in cut.pids}
        here = _numbers()
        looked = here - known - self._strangers
        sessions = {uid: cut.pids for uid, cut in cuts.items()}
        found = processes({uid: self._mark(uid) for uid in cuts}, looked, sessions)
        for uid, cut in cuts.items():
            cut.pids = (cut.pids & here) | found.get(uid, set())
        ours = {pid for cut in cuts.values() for pid in cut.pids}
        self._strangers = (self._strangers & here) | {pid for pid in looked - ours if _is_settled(pid)}

    def _scan(self, cut: _Cut) -> None:
        key = key_of(cut.uid)
        try:
            here: set[int] = set()
            for pid in sorted(cut.pids):
                for inode, descriptor in tcp_keys.sockets(pid).items():
                    here.add(inode)
                    if inode in cut.seen:
                        continue
                    if (found := tcp_keys.borrow(pid, descriptor)) is not None:
                        self._sign(cut, inode, found, key)
                    cut.seen.add(inode)
            cut.seen &= here | set(cut.held)
            for inode in [inode for inode in cut.held if inode not in here][: max(0, len(cut.held) - HELD)]:
                cut.held.pop(inode).close()
            cut.first = False
        except CannotCutError as error:
            log.warning("a pod cannot be cut off", extra={"uid": cut.uid, "why": str(error)})
            with self._lock:
                self._troubles[cut.uid] = str(error)
                self._changed.notify_all()
        except OSError as error:  # no descriptor is left, for one: the next look begins where this one ended
            log.error("cannot look at a pod that is to be cut off", extra={"uid": cut.uid, "error": str(error)})

    def _sign(self, cut: _Cut, inode: int, found: socket.socket, key: bytes) -> None:
        try:
            tcp_keys.sign(found, key)
        except CannotCutError:
            found.close()
            raise
        cut.signed += 1
        if tcp_keys.listens(found):
            cut.listening.add(found.getsockname()[:2])
            found.close()
            return
        cut.held[inode] = found
        if not cut.first and (through := tcp_keys.slipped(found)) and not _within(found, cut.listening):
            cut.slipped.append(through)

    def _end(self, cut: _Cut) -> None:
        """Heal a pod: sockets that its processes have closed meanwhile, then all others."""
        for found in cut.held.values():
            tcp_keys.unsign(found)
            found.close()
        cut.held.clear()
        try:
            self.heal([cut.uid])
        except (CannotCutError, OSError) as error:
            log.warning("a pod cannot be healed", extra={"uid": cut.uid, "why": str(error)})
        what = {"uid": cut.uid, "sockets": cut.signed, "slipped": len(cut.slipped), "slippedBytes": sum(cut.slipped)}
        log.info("a pod is no longer cut off", extra=what)
        with self._lock:
            del self._cuts[cut.uid]
            self._changed.notify_all()


def processes(
    marks: Mapping[str, bytes], pids: Iterable[int] | None = None, sessions: Mapping[str, set[int]] | None = None
) -> dict[str, set[int]]:
    """Return the living processes of pods by uid: those whose environment has the pod's mark, or in their sessions.

    Args:
        marks: uid to the variable that each process of the pod has in its environment.
        pids: where to look; everywhere where None.
        sessions: uid to processes that are known already, whose sessions' processes are the pod's, too.
    """
    found: dict[str, set[int]] = {}
    for pid in _numbers() if pids is None else pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or another user's
        for uid, mark in marks.items():
            known = sessions.get(uid) if sessions else None
            if mark in variables or (known and (stat := read_stat(pid)) and stat.session in known):
                found.setdefault(uid, set()).add(pid)
    return found


def _numbers() -> set[int]:
    own = os.getpid()
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own}


def _is_settled(pid: int) -> bool:
    """Tell whether a process has run for so long that it says whose it is, if ever."""
    stat = read_stat(pid)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - stat.started / os.sysconf("SC_CLK_TCK") if stat else 0.0
    return age > SETTLED_SECONDS


def _unsign_all(pids: Iterable[int]) -> int:
    healed = 0
    for pid in pids:
        for descriptor in tcp_keys.sockets(pid).values():
            if (found := tcp_keys.borrow(pid, descriptor)) is not None:
                healed += tcp_keys.unsign(found)
                found.close()
    return healed


def _within(connection: socket.socket, listening: set[tuple[str, int]]) -> bool:
    """Tell whether a connection has an end at which its own pod listens: others get none there."""
    ends = [connection.getsockname()[:2]]
    try:
        ends.append(connection.getpeername()[:2])
    except OSError:
        return False
    return any(end in listening or ("0.0.0.0", end[1]) in listening for end in ends)
