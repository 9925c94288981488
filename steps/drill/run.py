"""Measure and inject, in one process and on one clock.

The order is fixed: look, refuse or note the intent, start the clients, wait until everything succeeds, inject, watch
until the group is whole again (or a limit breaks), go on a little, stop. Whatever happens after the injection ends in
a measurement, never in an error: what went wrong is part of the result.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from steps.drill import intent, rows
from steps.drill import users as application
from steps.drill.attempts import Attempt, Outcome
from steps.drill.clock import Clock, Heartbeat
from steps.drill.evidence import Evidence, Proof, Target
from steps.drill.fault import Fault, Scene
from steps.drill.felt import as_attempts
from steps.drill.guards import Facts, require_safe
from steps.drill.injection import Injection
from steps.drill.ledger import Endpoint, Ledger
from steps.drill.measurement import Measurement
from steps.drill.parameters import DrillParameters
from steps.drill.sampler import GroupSampler
from steps.drill.samples import Observed, Onlooker
from steps.drill.site import Site
from steps.drill.steady import STEADY_LIMIT_SECONDS, steady_since, unsteady
from steps.drill.target import (
    choose,
    memory,
    primary_of,
    read_settings,
    read_versions,
    require_possible,
    shortly_before,
)
from steps.drill.watch import KillSwitch, Limits, StopReason, last_acknowledged
from steps.errors import Refused
from steps.log import log
from steps.mysql.connection import ROUTER_RO_PORT, ROUTER_RW_PORT, SERVER_PORT, session

TICK_SECONDS = 0.05
PROOF_SECONDS = 0.2
"""How often the samples are searched for proof."""
WRITES_SECONDS = 0.25
"""How often the clients' attempts are searched for the latest acknowledged write."""

APPLICATION_SECONDS = 30.0
"""How much longer than for the group is waited for good answers of the application; then its outage stays open."""


@dataclass
class _Live:
    """What is known while the drill runs."""

    observed: list[Observed]
    seen: int = 0


class Drill:
    """One drill from its intent to its measurement. Use once.

    Args:
        facts: that the guards look at; they are checked here again.
        scene: clients and the cluster.
        fault: what to inject.
        parameters: of the drill.
        site: the application whose users are watched, if any.
        stop_reason: asked all the time; a text stops the drill.
        by_hand: whether it runs outside any workflow.
    """

    def __init__(
        self,
        facts: Facts,
        scene: Scene,
        fault: Fault,
        parameters: DrillParameters,
        *,
        site: Site | None = None,
        stop_reason: StopReason = lambda: "",
        by_hand: bool = False,
    ) -> None:
        self._facts, self._scene, self._fault, self._parameters = facts, scene, fault, parameters
        self._stop_reason, self._by_hand = stop_reason, by_hand
        self._clock = Clock()
        self._site, self._users = site, application.Users(site, self._clock) if site else None
        self._onlooker = Onlooker(facts.cluster, facts.topology.expected)
        self._live = _Live([])
        self._limits = Limits.of(parameters, outage=fault.outage)

    def measure(self) -> Measurement:
        """Run the drill and return what was measured.

        Raises:
            Refused: a guard refuses, or the cluster is not steady; nothing was injected.
            StepError: the drill could not begin; nothing was injected.
        """
        facts, scene, fault, parameters = self._facts, self._scene, self._fault, self._parameters
        require_safe(facts, fault)
        primary = primary_of(facts.topology)
        target = choose(scene, fault, facts.topology)
        require_possible(scene, fault, target)
        note = intent.Intent(facts.workflow, fault.name, intent.now(), memory(target), self._expiry(target))
        intent.write(scene.kube, facts.cluster, note)
        log("intent-noted", run=facts.workflow, fault=fault.name, primary=target.pod)
        with session(primary.address, SERVER_PORT, scene.credentials, what=primary.pod) as connection:
            rows.prepare(connection, facts.workflow)
        self._measurement = Measurement(
            run=facts.workflow,
            namespace=scene.kube.namespace,
            cluster=facts.cluster,
            expected=facts.topology.expected,
            fault=fault.name,
            event=fault.event,
            plan=fault.describe(target),
            parameters=asdict(parameters),
            started_at=self._clock.started_at.isoformat(timespec="milliseconds"),
            target=target,
            settings=read_settings(scene, primary),
            versions=read_versions(scene, primary),
        )
        self._sampler = GroupSampler(scene.kube, facts.cluster, scene.credentials, self._clock)
        self._ledger = self._make_ledger()
        self._injection = Injection(fault, scene, self._measurement, self._clock, hold_seconds=parameters.hold_seconds)
        self._heartbeat = Heartbeat(self._clock)
        self._switch = KillSwitch(scene.kube)
        # Many threads that wait for sockets: a waiting one must not keep the others from running for 5 ms.
        sys.setswitchinterval(0.001)
        self._heartbeat.start()
        self._switch.start()
        try:
            self._sampler.start()
            self._ledger.start()
            if self._users:
                self._users.start()
            self._wait_until_steady()
            self._inject_and_watch()
        finally:
            self._finish()
        return self._measurement

    def _expiry(self, target: Target) -> str:
        if not self._by_hand:
            return ""
        p = self._parameters
        seconds = 600 + p.steady_seconds + self._wait_seconds(target) + p.settle_seconds
        return self._clock.wall(self._clock() + seconds).isoformat(timespec="seconds")

    def _wait_seconds(self, target: Target) -> float:
        """Return how long after the injection began the group may take to be whole again: while it is hit it cannot."""
        held = self._parameters.hold_seconds if self._fault.lasts else 0.0
        return self._fault.lasting_seconds(target) + held + self._parameters.timeout_seconds

    def _make_ledger(self) -> Ledger:
        address = self._scene.kube.service_address(self._facts.cluster)
        parameters = self._parameters
        return Ledger(
            self._facts.workflow,
            Endpoint(address, ROUTER_RW_PORT, self._scene.credentials),
            Endpoint(address, ROUTER_RO_PORT, self._scene.credentials),
            self._clock,
            interval=parameters.write_interval_ms / 1000,
            writers=parameters.writers,
            readers=parameters.readers,
        )

    def _must_stop(self) -> str:
        return self._stop_reason() or self._switch.reason

    def _wait_until_steady(self) -> None:
        needed = self._parameters.steady_seconds
        limit = self._clock() + needed + STEADY_LIMIT_SECONDS
        while True:
            threading.Event().wait(TICK_SECONDS)
            self._look()
            if reason := self._must_stop():
                raise Refused(f"Stopped before the fault was injected: {reason}. Nothing was injected.")
            now = self._clock()
            clients = [*self._ledger.attempts("write"), *self._ledger.attempts("read")]
            users = [as_attempts(self._users.requests)] if self._users else []
            since = steady_since([*clients, *users], now)
            if since is not None and now - since >= needed and self._whole():
                self._require_same_primary()
                self._measurement.steady_from = since
                log("steady", seconds=round(now - since, 2))
                return
            if now > limit:
                self._require_application(clients, needed, now)
                raise Refused(
                    f"Not steady within {needed + STEADY_LIMIT_SECONDS:.0f} s, so nothing was injected: "
                    f"{unsteady(clients, needed, now)}. Run check-cluster, and look at the Router's log."
                )

    def _require_same_primary(self) -> None:
        """Refuse where the group has another primary than when the target was chosen: another member would be hit."""
        target, primary = self._measurement.target, self._live.observed[-1].topology.primary
        if primary is None or primary.id != target.leader:
            now = primary.pod or primary.id if primary is not None else "nobody"
            raise Refused(
                f"The primary changed since the target {target.pod} was chosen: it is {now} now. Nothing was injected. "
                "Start the drill again, and look at what moved the primary."
            )

    def _require_application(self, clients: Sequence[Sequence[Attempt]], needed: float, now: float) -> None:
        """Refuse where it is the application that is not steady, and not the cluster, which it could not do without."""
        since = steady_since(clients, now)
        if self._site is None or self._users is None or since is None or now - since < needed or not self._whole():
            return
        since = steady_since([as_attempts(self._users.requests)], now)
        if since is None or now - since < needed:
            seen = application.unsteady(self._users.requests, needed, now)
            raise Refused(application.refusal(self._site, self._users.died or seen))

    def _whole(self) -> bool:
        return bool(self._live.observed) and self._live.observed[-1].topology.is_whole

    def _look(self) -> None:
        """Take in the samples that have arrived."""
        samples = self._sampler.samples
        for sample in samples[self._live.seen :]:
            seen = self._onlooker.add(sample)
            self._live.observed.append(seen)
            self._limits.see(seen)
            self._live.seen += 1

    def _inject_and_watch(self) -> None:
        measurement, fault, injection = self._measurement, self._fault, self._injection
        target = shortly_before(measurement.target, self._sampler)
        injection.begin(target)
        injected = searched = counted = measurement.injected_at or 0.0
        proof: Proof | None = None
        recovered: float | None = None
        timeout_at = injected + self._wait_seconds(target)
        while True:
            threading.Event().wait(TICK_SECONDS)
            self._look()
            now = self._clock()
            if now - counted >= WRITES_SECONDS:
                counted = now
                self._limits.wrote(last_acknowledged(self._ledger.attempts("write")), injected)
            if reason := self._must_stop() or self._limits.broken(now, timeout_at):
                return self._end("aborted", reason)
            if proof is None and now - searched >= PROOF_SECONDS:
                searched = now
                proof = measurement.proof = fault.proof(target, self._evidence())
                if proof is not None:
                    log("landed", after_seconds=round(proof.at - injected, 3), proof=proof.text)
            if proof is None and not injection.under_way:
                patience = 5.0 if measurement.injection_error else fault.landing_seconds(target)
                if now - (measurement.injected_until or injected) > patience:
                    return self._end("not-landed", f"no proof that the fault landed within {patience:.0f} s")
            over = not injection.lasts(now) and not injection.under_way
            back = proof is not None and over and self._whole() and self._writes_flow(proof)
            back = back and fault.recovered(target, self._evidence())
            recovered = (recovered if recovered is not None else now) if back else None
            if recovered is not None and now - recovered >= self._parameters.settle_seconds + self._patience(now):
                return self._end("recovered", "the group is whole and writes succeed")
            if recovered is None and now >= timeout_at:
                seen = self._live.observed[-1].topology.summary() if self._live.observed else "nothing was seen"
                return self._end("timeout", f"not recovered within {self._parameters.timeout_seconds:.0f} s: {seen}")

    def _patience(self, now: float) -> float:
        """Return how much longer than the clients the application gets: its sessions may take a while to come back."""
        if self._users is None:
            return 0.0
        since = steady_since([as_attempts(self._users.requests)], now)
        back = since is not None and now - since >= self._parameters.settle_seconds
        return 0.0 if back or self._users.died else APPLICATION_SECONDS

    def _end(self, end: str, reason: str) -> None:
        if end == "aborted" and self._measurement.proof is None:
            # Stopped between two searches: what is already known still counts.
            self._measurement.proof = self._fault.proof(self._measurement.target, self._evidence())
        log("observation-ended", end=end, reason=reason)
        self._measurement.end, self._measurement.end_reason = end, reason

    def _evidence(self) -> Evidence:
        injected = self._measurement.injected_at
        assert injected is not None
        sampler, m = self._sampler, self._measurement
        witnessed = m.injected_until or 0.0
        return Evidence(injected, sampler.pods.samples, sampler.samples, self._live.observed, m.witness, witnessed)

    def _writes_flow(self, proof: Proof) -> bool:
        """Tell whether the primary of now has acknowledged a write since the fault landed."""
        primary = self._live.observed[-1].topology.primary
        return primary is not None and any(
            attempt.outcome is Outcome.ACKNOWLEDGED and attempt.server == primary.id and attempt.start > proof.at
            for attempts in self._ledger.attempts("write")
            for attempt in attempts[-5:]
        )

    def _finish(self) -> None:
        """Stop everything that was started, whether or not the drill came to its end, and keep what it saw."""
        measurement = self._measurement
        # Whoever stops a drill wants its fault gone now, and not after its report.
        self._injection.finish(undo=measurement.end != "recovered")
        measurement.ended_at = self._clock()
        measurement.evictions = self._fault.record()
        measurement.clients = self._ledger.stop() if self._ledger.clients[0].ident else []
        if self._users:
            measurement.requests = self._users.stop(measurement.ended_at)
            if self._users.died:
                measurement.holes.append(f"the application was not asked to the end: {self._users.died}")
        self._sampler.stop()
        self._switch.stop()
        self._heartbeat.stop()
        measurement.members, measurement.pods = self._sampler.samples, self._sampler.pods.samples
        measurement.stalls, measurement.latest_beat = self._heartbeat.stalls, self._heartbeat.latest
        if failures := self._sampler.pods.failures:
            measurement.holes.append(f"the API server did not answer {failures} times when pods were looked at")
        if measurement.injection_error:
            measurement.holes.append(f"the injection reported an error: {measurement.injection_error}")
        log("measured", **{outcome.value: n for outcome, n in _count(self._ledger.attempts("write")).items()})


def _count(clients: Sequence[Sequence[Attempt]]) -> Counter[Outcome]:
    return Counter(attempt.outcome for attempts in clients for attempt in attempts)
