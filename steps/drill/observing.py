"""Clients that write while something is done to a cluster: what a drill measures, for runbooks that are no drills.

    with Writes(kube, "demo", credentials, workflow) as writes:
        with writes.during("switch"):
            move_primary(...)
        writes.reach(new_primary)
        seen = writes.finish()
    seen.write_downtime, seen.of["switch"], seen.lost

The clients are those of a drill's ledger, and so are the definitions (:mod:`steps.drill.outages`) and the search for
lost writes (:mod:`steps.drill.verification`). What they wrote is deleted at the end, whatever happened. Users of an
application (:mod:`steps.drill.users`) may be watched on the same clock; how it answers keeps nobody from anything.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType

from steps.drill import rows
from steps.drill.attempts import Outcome
from steps.drill.clock import Clock, Heartbeat
from steps.drill.felt import Felt, felt
from steps.drill.ledger import ClientRecord, Endpoint, Ledger, Recorded
from steps.drill.outages import Downtime, downtime
from steps.drill.site import Site, site_of
from steps.drill.steady import STEADY_LIMIT_SECONDS, steady_since, unsteady
from steps.drill.users import Users
from steps.drill.verification import Verification, verify
from steps.errors import BadParameters, Refused, StepError, Temporary, TimedOut
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import ROUTER_RW_PORT, SERVER_PORT, Credentials, session
from steps.mysql.topology import read_topology

INTERVAL_SECONDS = 0.02
WRITERS = 4
STEADY_SECONDS = 2.0
"""How long every write must succeed before anything is done: the normal spacing is measured in it."""
SETTLE_SECONDS = 1.0
"""How long clients go on after the last thing was done, so that what it broke late is seen."""
TICK_SECONDS = 0.02
EARLIER = "an earlier try was cut off, its clients do not count"


@dataclass(frozen=True)
class Seen:
    """What clients felt.

    Attributes:
        write: downtime of the writes from the beginning of the first thing done to the end of the measuring.
        of: downtime of each thing done, by its name, from its beginning to that of the next.
        verification: what became of the writes.
        holes: why this may not be the whole truth, for people; empty where nothing speaks against it.
        partial: whether an earlier try of the run had clients of its own, of which nothing is known.
        users: what the users of an application felt; None where none was watched.
    """

    write: Downtime
    of: dict[str, Downtime]
    verification: Verification
    holes: tuple[str, ...] = ()
    partial: bool = False
    users: Felt | None = None

    def taken_up(self) -> Seen:
        """Return this as what was seen by a run that goes on where an earlier try of it was cut off."""
        return replace(self, holes=(*self.holes, EARLIER), partial=True)

    @property
    def write_downtime(self) -> float | None:
        """The longest time without an acknowledged write, seconds, to the millisecond; None where part is not known."""
        return None if self.partial else round(self.write.longest, 3)

    @property
    def app_downtime(self) -> float | None:
        """The longest time without a good answer of the application, seconds; None where not all of it is known."""
        return None if self.partial or self.users is None else round(self.users.downtime.longest, 3)

    @property
    def lost(self) -> int | None:
        """Acknowledged writes that are missing on a member; None where none is known to be, and not all is known."""
        known = not self.verification.unchecked and not self.partial
        return len(self.verification.lost) if self.verification.lost or known else None

    @property
    def in_doubt(self) -> int:
        """Writes whose fate their client does not know."""
        return self.verification.in_doubt

    def lines(self) -> list[str]:
        """Return what was measured in lines of at most 56 columns, and what speaks against it."""
        v = self.verification
        told = [
            f"longest time without a write: {_known(self.write_downtime)}",
            f"writes: {v.acknowledged} acknowledged, {'?' if self.lost is None else self.lost} lost, "
            f"{v.in_doubt} in doubt",
        ]
        if self.users is not None:
            earlier = self.users.spans["before"]
            told += [
                f"longest time without a good answer: {_known(self.app_downtime)}",
                f"the application: {self.users.failed} of {self.users.requests} requests failed",
            ]
            told += [f"  before: {earlier.failed} of {earlier.requests} failed already"] if earlier.failed else []
        return told + [f"not the whole truth: {hole}" for hole in self.holes]


def _known(seconds: float | None) -> str:
    """Return a downtime for people; that of a part only would pass for the whole."""
    return "not known" if seconds is None else f"{seconds:.3f} s"


def watched(kube: Kube, cluster: str, app_url: str | None, verify_tls: bool, *, measure: bool) -> Site | None:
    """Return the application to watch while clients write; None where there is none, or nobody writes.

    Raises:
        BadParameters: one is given though nothing is to be measured, or the cluster's annotation is no address.
    """
    if not measure and app_url is not None:
        raise BadParameters("app-url: the application is asked while clients write; leave measure at true.")
    return site_of(kube, cluster, app_url, verify_tls=verify_tls) if measure else None


@dataclass
class _Record(Recorded):
    run: str
    cluster: str
    clients: list[ClientRecord]


class Writes:
    """Clients that write through a cluster's Router. Use once, as a context manager.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: its administrator.
        run: names the rows; the workflow's name.
        site: the application whose users are watched, or None.
        stop_reason: asked while a steady state is waited for; a text ends that.
    """

    def __init__(
        self,
        kube: Kube,
        cluster: str,
        credentials: Credentials,
        run: str,
        *,
        site: Site | None = None,
        stop_reason: Callable[[], str] = lambda: "",
    ) -> None:
        self._kube, self._cluster, self._credentials, self._run = kube, cluster, credentials, run
        self._stop_reason, self._site = stop_reason, site
        self._clock = Clock()
        self._users = Users(site, self._clock) if site else None
        self._heartbeat = Heartbeat(self._clock)
        self._begun: list[tuple[str, float]] = []
        self._steady_from = 0.0
        self._running = self._cleared = False
        endpoint = Endpoint(kube.service_address(cluster), ROUTER_RW_PORT, credentials)
        self._ledger = Ledger(run, endpoint, None, self._clock, interval=INTERVAL_SECONDS, writers=WRITERS, readers=0)

    def __enter__(self) -> Writes:
        """Start the clients, and return once every write has succeeded for a while.

        Raises:
            Refused: they do not; nothing was changed.
            Temporary: there is no primary now.
        """
        self._on_primary(prepare=True)
        # Many threads that wait for sockets: a waiting one must not keep the others from running for 5 ms.
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(0.001)
        self._heartbeat.start()
        self._ledger.start()
        if self._users is not None:
            self._users.start()
        self._running = True
        try:
            self._wait_until_steady()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the clients and delete what they wrote, where `finish` has not."""
        self._stop()

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Note that something is done now; its name tells it from the other things done."""
        self._begun.append((name, self._clock()))
        yield

    def reach(self, server: str, limit: float) -> float:
        """Wait until the Router sends writes to a server, and return how long that took, in seconds.

        Args:
            server: its `server_uuid`.
            limit: seconds.

        Raises:
            TimedOut: no write that began after now was acknowledged by it.
        """
        begun = self._clock()
        while self._clock() - begun < limit:
            for attempts in self._ledger.attempts("write"):
                for attempt in attempts[-5:]:
                    acknowledged = attempt.outcome is Outcome.ACKNOWLEDGED and attempt.end is not None
                    if acknowledged and attempt.server == server and attempt.start > begun:
                        return self._clock() - begun
            threading.Event().wait(TICK_SECONDS)
        last = [attempts[-1] for attempts in self._ledger.attempts("write") if attempts]
        told = ", ".join(f"{a.outcome} by {a.server or 'nobody'} (error {a.code})" for a in last)
        raise TimedOut(
            f"The Router of {self._cluster} sent no write to server {server} within {limit:.0f} s. The clients' last "
            f"attempts: {told or 'none'}. Look at the Router's log; its metadata may be stale: run check-cluster."
        )

    def finish(self) -> Seen:
        """Go on a little, stop the clients, look for every write on every member, and return what was seen.

        Raises:
            Temporary: the primary went away while the writes were looked for.
        """
        threading.Event().wait(SETTLE_SECONDS)
        until = self._clock()
        record = _Record(self._run, self._cluster, self._halt())
        verification = verify(self._kube, record)
        self._cleared = True
        self._on_primary(prepare=False)
        acknowledged, started = record.acknowledged("write"), self._steady_from
        marks = [at for _, at in self._begun] or [started]
        ends = [*marks[1:], until]
        of = {
            name: downtime(acknowledged, started, at, end, calm_until=marks[0])
            for (name, at), end in zip(self._begun, ends, strict=False)
        }
        write = downtime(acknowledged, started, marks[0], until)
        stalled = sum(stall.overlap(marks[0], until) for stall in self._heartbeat.stalls)
        holes = [f"client {each.client} died: {each.died}" for each in record.clients if each.died]
        holes += [f"this process itself stood still for {stalled:.1f} s"] if stalled else []
        holes += [f"not checked for lost writes: {each}" for each in verification.unchecked]
        users = None
        if self._users is not None and self._site is not None:
            users = felt(self._site.url, self._users.stop(until), marks[0], until - SETTLE_SECONDS, until)
            holes += [f"the application was not asked to the end: {self._users.died}"] if self._users.died else []
        seen = Seen(write, of, verification, tuple(holes), users=users)
        told = {"app_downtime_seconds": seen.app_downtime} if users else {}
        log(
            "writes-measured",
            write_downtime_seconds=seen.write_downtime,
            lost=seen.lost,
            in_doubt=seen.in_doubt,
            **told,
        )
        return seen

    def _wait_until_steady(self) -> None:
        limit = self._clock() + STEADY_SECONDS + STEADY_LIMIT_SECONDS
        while True:
            threading.Event().wait(TICK_SECONDS)
            if reason := self._stop_reason():
                raise Refused(f"Stopped before anything was done: {reason}. Nothing was changed.")
            now, clients = self._clock(), self._ledger.attempts("write")
            since = steady_since(clients, now)
            if since is not None and now - since >= STEADY_SECONDS:
                self._steady_from = since
                return
            if now > limit:
                raise Refused(
                    f"Writes through the Router of {self._cluster} were not steady within "
                    f"{STEADY_SECONDS + STEADY_LIMIT_SECONDS:.0f} s, so nothing was changed: "
                    f"{unsteady(clients, STEADY_SECONDS, now)}. Run check-cluster, and look at the Router's log; "
                    "or go without measuring: measure=false."
                )

    def _halt(self) -> list[ClientRecord]:
        """Stop the clients and the heartbeat, and return what the clients did; nothing the second time."""
        if not self._running:
            return []
        self._running = False
        records = self._ledger.stop()
        if self._users is not None:
            self._users.stop()
        self._heartbeat.stop()
        sys.setswitchinterval(self._switch_interval)
        return records

    def _stop(self) -> None:
        self._halt()
        if self._cleared:
            return
        self._cleared = True
        try:
            self._on_primary(prepare=False)
        except StepError as error:
            # Harmless rows: the exit handler or reap clears them when there is a primary again.
            log("ledger-left", cluster=self._cluster, why=str(error))

    def _on_primary(self, *, prepare: bool) -> None:
        """Make the ledger's table without rows of this run, or delete those and the table with the last ones."""
        topology = read_topology(self._kube, self._cluster, credentials=self._credentials)
        if topology.primary is None:
            raise Temporary(f"Cluster {self._cluster} has no primary now: {topology.summary()}")
        primary = topology.primary
        with session(primary.address, SERVER_PORT, self._credentials, what=primary.pod) as connection:
            if prepare:
                rows.prepare(connection, self._run)
            else:
                rows.clear_all(connection, {self._run})
