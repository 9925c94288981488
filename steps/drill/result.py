"""Everything that a drill's result consists of, computed once from its two files. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps.drill import felt as application
from steps.drill.advice import Advice, advise
from steps.drill.attempts import Attempt, Outcome
from steps.drill.measurement import Measurement
from steps.drill.outages import Downtime, downtime
from steps.drill.samples import Observed
from steps.drill.slowness import Slow, slow_stretches
from steps.drill.timeline import Band, Timeline, bands, timeline
from steps.drill.verdict import Verdict, judge
from steps.drill.verification import Verification

SCHEMA = 1
"""Version of report.json; fields may be added without raising it."""


@dataclass(frozen=True)
class Latency:
    """Latencies of acknowledged attempts in milliseconds."""

    median: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Result:
    """A drill's result.

    Attributes:
        measurement: what it is made from.
        verification: likewise; None where there is none.
        writes: write downtime.
        reads: read downtime; None where no client read.
        app: what the application's users felt; None where none was watched.
        slow_writes: stretches in which writes succeeded, but slowly.
        worst_client: the longest time that one single writing client was without an acknowledgement, in seconds.
        worst_reader: likewise of the reading clients; 0 where there is none.
        timeline: moments and phases.
        bands: server UUID to its states over time.
        pods: server UUID to pod.
        new_primary: pod of the new primary, empty where none was elected.
        verdict: and why.
        advice: what to change.
        write_latency: before the fault.
        read_latency: before the fault.
    """

    measurement: Measurement
    verification: Verification | None
    writes: Downtime
    reads: Downtime | None
    app: application.Felt | None
    slow_writes: tuple[Slow, ...]
    worst_client: float
    worst_reader: float
    timeline: Timeline
    bands: dict[str, list[Band]]
    pods: dict[str, str]
    new_primary: str
    verdict: Verdict
    advice: tuple[Advice, ...]
    write_latency: Latency | None
    read_latency: Latency | None

    @property
    def lost(self) -> int:
        """Number of lost writes."""
        return len(self.verification.lost) if self.verification else 0

    @property
    def in_doubt(self) -> int:
        """Number of writes in doubt."""
        return len(self.measurement.writes(Outcome.IN_DOUBT))


def evaluate(measurement: Measurement, verification: Verification | None) -> Result:
    """Return the result of a drill; the same two files always give the same result."""
    fault_at = measurement.injected_at if measurement.injected_at is not None else measurement.ended_at
    evidence = measurement.evidence()
    story = timeline(
        measurement.target, evidence, measurement.proof, measurement.of_kind("write"), measurement.released_at
    )
    writes = downtime(measurement.acknowledged("write"), 0.0, fault_at, measurement.ended_at)
    has_readers = any(client.kind == "read" for client in measurement.clients)
    reads = downtime(measurement.acknowledged("read"), 0.0, fault_at, measurement.ended_at) if has_readers else None
    worst, worst_reader = (
        max((_alone(attempts, fault_at, measurement) for attempts in measurement.of_kind(kind)), default=0.0)
        for kind in ("write", "read")
    )
    elected = next((moment.note for moment in story.moments if moment.key == "elected"), "")
    pods = {sample.view.own_id: sample.pod for sample in measurement.members if sample.view is not None}
    states = bands(evidence.observed, _servers(evidence.observed, pods), measurement.ended_at)
    over = max((moment.at for moment in story.moments if moment.at is not None), default=fault_at)
    url = str(measurement.parameters.get("app_url") or "")
    app = application.felt(url, measurement.requests, fault_at, over, measurement.ended_at) if url else None
    slow = slow_stretches(measurement.of_kind("write"), fault_at, measurement.ended_at, states, pods)
    return Result(
        measurement=measurement,
        verification=verification,
        writes=writes,
        reads=reads,
        app=app,
        slow_writes=slow,
        worst_client=worst,
        worst_reader=worst_reader,
        timeline=story,
        bands=states,
        pods=pods,
        new_primary=elected,
        verdict=judge(measurement, writes, verification, slow, app),
        advice=advise(measurement.fault, story, measurement.settings, writes.longest, worst),
        write_latency=_latency(measurement.of_kind("write"), fault_at),
        read_latency=_latency(measurement.of_kind("read"), fault_at),
    )


def _alone(attempts: Sequence[Attempt], fault_at: float, measurement: Measurement) -> float:
    ends = [a.end for a in attempts if a.served and a.end is not None]
    return downtime(ends, 0.0, fault_at, measurement.ended_at).longest


def _servers(observed: Sequence[Observed], pods: dict[str, str]) -> list[str]:
    seen = {member.id for one in observed for member in one.topology.members} | set(pods)
    return sorted(seen, key=lambda server: pods.get(server, server))


def _latency(clients: Sequence[Sequence[Attempt]], before: float) -> Latency | None:
    found = sorted(
        (a.end - a.start) * 1000
        for attempts in clients
        for a in attempts
        if a.outcome is Outcome.ACKNOWLEDGED and a.end is not None and a.end <= before and a.connected is None
    )
    if not found:
        return None
    return Latency(statistics.median(found), found[min(len(found) - 1, int(len(found) * 0.99))], found[-1])


def to_json(result: Result) -> dict[str, Any]:
    """Return report.json: a stable schema for machines.

    Keys: ``schema``, ``verdict``, ``sentence``, ``reasons``; ``run``, ``namespace``, ``cluster``, ``fault``, ``plan``,
    ``started_at``; ``numbers`` (seconds and counts; null for what was not measured); ``timeline`` (each moment's key,
    title, seconds after the fault or null, note); ``phases`` (key, title, start after the fault, seconds);
    ``application`` (what its users felt, see :func:`steps.drill.felt.to_json`, or null); ``copies``
    (the ledger on each member); ``evictions`` (of a drain: each pod and its times) and ``placement`` (after it: members
    that shared a node); ``lost`` (client, sequence, missing_on); ``slow_writes`` (start and end after fault, seconds,
    median_ms, normal_ms, open, meanwhile); ``advice``; ``parameters``, ``settings``, ``versions``; ``measuring``
    (jitter, stalls, holes, how the fault was seen to end).
    """
    m, v = result.measurement, result.verification
    fault_at = m.injected_at or 0.0

    def after(at: float | None) -> float | None:
        return None if at is None else round(at - fault_at, 3)

    counts = {outcome: len(m.writes(outcome)) for outcome in Outcome}
    return {
        "schema": SCHEMA,
        "verdict": result.verdict.outcome,
        "sentence": result.verdict.sentence,
        "reasons": list(result.verdict.reasons),
        "run": m.run,
        "namespace": m.namespace,
        "cluster": m.cluster,
        "fault": m.fault,
        "plan": m.plan,
        "started_at": m.started_at,
        "new_primary": result.new_primary,
        "numbers": {
            "write_downtime_seconds": round(result.writes.longest, 3),
            "total_write_downtime_seconds": round(result.writes.total, 3),
            "write_outages": len(result.writes.outages),
            "slow_write_seconds": round(sum(slow.length for slow in result.slow_writes), 3),
            "worst_client_seconds": round(result.worst_client, 3),
            "worst_reader_seconds": round(result.worst_reader, 3) if result.reads else None,
            "read_downtime_seconds": round(result.reads.longest, 3) if result.reads else None,
            "app_downtime_seconds": round(result.app.downtime.longest, 3) if result.app else None,
            "read_outages": len(result.reads.outages) if result.reads else None,
            "normal_write_spacing_seconds": round(result.writes.spacing, 4),
            "full_redundancy_seconds": after(result.timeline.at("whole")),
            "acknowledged_writes": counts[Outcome.ACKNOWLEDGED],
            "refused_writes": counts[Outcome.REFUSED],
            "in_doubt_writes": counts[Outcome.IN_DOUBT],
            "in_doubt_present": v.in_doubt_present if v else None,
            "in_doubt_absent": v.in_doubt_absent if v else None,
            "refused_present": v.refused_present if v else None,
            "lost_writes": len(v.lost) if v else None,
        },
        "timeline": [
            {"key": moment.key, "title": moment.title, "seconds": after(moment.at), "note": moment.note}
            for moment in result.timeline.moments
        ],
        "phases": [
            {"key": p.key, "title": p.title, "start": after(p.start), "seconds": round(p.length, 3)}
            for p in result.timeline.phases
        ],
        "application": application.to_json(result.app, fault_at) if result.app else None,
        "copies": [vars(copy) for copy in v.copies] if v else [],
        "evictions": m.evictions,
        "placement": m.placement,
        "lost": [vars(lost) for lost in v.lost] if v else [],
        "slow_writes": [
            {
                "start": after(slow.start),
                "end": after(slow.end),
                "seconds": round(slow.length, 3),
                "median_ms": round(slow.median * 1000, 2),
                "normal_ms": round(slow.normal * 1000, 2),
                "open": slow.open,
                "meanwhile": slow.meanwhile,
            }
            for slow in result.slow_writes
        ],
        "advice": [vars(advice) for advice in result.advice],
        "parameters": m.parameters,
        "settings": m.settings,
        "versions": m.versions,
        "measuring": {
            "end": m.end,
            "end_reason": m.end_reason,
            "latest_heartbeat_seconds": round(m.latest_beat, 4),
            "stalls": [{"start": after(stall.start), "end": after(stall.end)} for stall in m.stalls],
            "holes": m.holes,
            "fault_ended": m.fault_ended,
            "still_acting": m.still_acting,
            "undone": m.undone,
        },
    }
