"""Mutexes and semaphores between workflows: who holds them, and who waits in which order.

A waiter takes all its locks at once or none, so there are no deadlocks. Free locks go to the oldest waiter all
of whose locks are free. Argo lets the head of a semaphore's queue block the rest while it waits for a mutex;
here the rest may pass, and the head is still the first to get what becomes free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tiphys.local.engine.model import SpecError

Limit = Callable[[str], int]
"""How many holders a lock may have at once; raises SpecError when that is not known."""


@dataclass
class Waiter:
    """Somebody who wants locks: keys in order, and an age to be served by (smaller is first)."""

    holder: str
    keys: tuple[str, ...]
    age: tuple[int, str, str, int]


@dataclass
class Locks:
    """The table of locks of one engine; rebuilt from the workflows' status when the engine starts.

    Attributes:
        limit: see `Limit`.
        holders: key to those who hold it.
        waiters: holder to what it waits for.
        granted: called with a holder that got its locks while it waited.
    """

    limit: Limit
    granted: Callable[[str], None] = lambda holder: None
    holders: dict[str, set[str]] = field(default_factory=dict)
    waiters: dict[str, Waiter] = field(default_factory=dict)
    _count: int = 0

    def hold(self, holder: str, key: str) -> None:
        """Record that `holder` has `key`, as its status said when the engine started."""
        self.holders.setdefault(key, set()).add(holder)

    def wait(self, holder: str, keys: tuple[str, ...], priority: int = 0, created: str = "") -> None:
        """Put `holder` into the line, if it is not there; nothing is handed out yet."""
        if holder not in self.waiters:
            self._count += 1
            # Timestamps have whole seconds: among workflows of one second the name decides, so that the order is the
            # same after a restart. Within a workflow whoever came first is served first.
            workflow = "/".join(holder.split("/")[:2])
            self.waiters[holder] = Waiter(holder, keys, (-priority, created, workflow, self._count))

    def acquire(self, holder: str, keys: list[str], priority: int = 0, created: str = "") -> str:
        """Take all of `keys`, or wait in line for them.

        Returns:
            Empty if `holder` has them all, else the first one that it has to wait for.

        Raises:
            SpecError: the limit of one is not known.
        """
        wanted = tuple(dict.fromkeys(keys))
        if all(holder in self.holders.get(key, ()) for key in wanted):
            return ""
        for key in wanted:
            self.limit(key)  # a lock without a limit is the caller's error, and must not stand in the line
        self.wait(holder, wanted, priority, created)
        self.serve(wanted, quiet=holder)
        if holder not in self.waiters:
            return ""
        return next((key for key in wanted if not self._free(key, holder)), wanted[0])

    def release(self, holder: str) -> None:
        """Give back everything that `holder` has, and leave every line."""
        self.waiters.pop(holder, None)
        released = [key for key, holders in self.holders.items() if holder in holders]
        for key in released:
            self.holders[key].discard(holder)
            if not self.holders[key]:
                del self.holders[key]
        if released:
            self.serve(tuple(released))

    def serve(self, keys: tuple[str, ...] | None = None, quiet: str = "") -> None:
        """Hand out free locks, oldest waiter first; only to those who wait for one of `keys`, if given."""
        concerned = [w for w in self.waiters.values() if keys is None or not set(keys).isdisjoint(w.keys)]
        for waiter in sorted(concerned, key=lambda w: w.age):
            if all(self._free(key, waiter.holder) for key in waiter.keys):
                for key in waiter.keys:
                    self.hold(waiter.holder, key)
                del self.waiters[waiter.holder]
                if waiter.holder != quiet:
                    self.granted(waiter.holder)

    def _free(self, key: str, holder: str) -> bool:
        holders = self.holders.get(key, set())
        return holder in holders or len(holders) < self._limit_now(key)

    def _limit_now(self, key: str) -> int:
        """Return the limit, or 0 while nobody can say it: those in line wait until it is known again."""
        try:
            return self.limit(key)
        except SpecError:
            return 0

    def everybody(self) -> set[str]:
        """Return all who hold or wait for anything."""
        return {holder for holders in self.holders.values() for holder in holders} | set(self.waiters)

    def keys_of(self, holder: str) -> list[str]:
        """Return the keys that `holder` has."""
        return sorted(key for key, holders in self.holders.items() if holder in holders)

    def describe(self, key: str) -> str:
        """Return Argo's message of one who waits for `key`."""
        limit = self._limit_now(key)
        return f"Waiting for {key} lock. Lock status: {limit - len(self.holders.get(key, ()))}/{limit}"


def lock_keys(synchronization: dict[str, list[dict[str, object]]], namespace: str) -> list[str]:
    """Return the keys of the locks that a `synchronization` names, as Argo writes them into status."""
    keys = []
    for mutex in synchronization.get("mutexes") or []:
        keys.append(f"{mutex.get('namespace') or namespace}/Mutex/{mutex['name']}")
    for semaphore in synchronization.get("semaphores") or []:
        reference = semaphore["configMapKeyRef"]
        assert isinstance(reference, dict)
        keys.append(f"{semaphore.get('namespace') or namespace}/ConfigMap/{reference['name']}/{reference['key']}")
    return keys
