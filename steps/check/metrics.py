"""What was seen as numbers: gauges for the report, and as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from steps.check.finding import CRITICAL, OK, UNKNOWN, WARNING
from steps.check.look import Examined
from steps.check.servers import answering

LEVELS = {OK: 0, WARNING: 1, CRITICAL: 2}
"""A health as a number."""


@dataclass(frozen=True)
class Gauge:
    """One number of one moment.

    Attributes:
        name: as Prometheus has it, with the unit.
        help: what it is.
        value: the number.
        labels: by name.
    """

    name: str
    help: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def gauges(one: Examined) -> list[Gauge]:
    """Return a cluster's numbers; what is not known is left out."""
    return list(_gauges(one))


def _gauges(one: Examined) -> Iterator[Gauge]:
    facts, mine = one.seen.facts, {"cluster": one.name}
    yield Gauge("tiphys_cluster_health", "0 ok, 1 warning, 2 critical", LEVELS[one.health], mine)
    for severity in (WARNING, CRITICAL, UNKNOWN):
        labels = {**mine, "severity": severity}
        yield Gauge("tiphys_cluster_findings", "findings of check-cluster", len(one.of(severity)), labels)
    yield Gauge("tiphys_cluster_members_online", "members that are ONLINE", facts.topology.online, mine)
    yield Gauge("tiphys_cluster_members_wanted", "members that are asked for", facts.topology.expected, mine)
    yield Gauge("tiphys_cluster_routers_ready", "Routers that are ready", facts.routers_ready, mine)
    if facts.keyless is not None:
        yield Gauge("tiphys_cluster_keyless_tables", "tables without a primary key", len(facts.keyless), mine)
    for pod, queue in sorted(facts.queues.items()):
        waiting = queue.certifying + queue.applying
        yield Gauge("tiphys_member_queued_transactions", "transactions that wait", waiting, {**mine, "pod": pod})
    for server in answering(one.seen.servers):
        labels = {**mine, "pod": server.pod}
        told = "share of max_connections in use"
        yield Gauge("tiphys_member_connections_ratio", told, round(server.connections_used, 4), labels)
        told = "age of the transaction that is applied now"
        yield Gauge("tiphys_member_lag_seconds", told, round(server.apply_seconds, 3), labels)
        if (days := server.certificate_days) is not None:
            yield Gauge("tiphys_member_certificate_days", "days until its certificate ends", round(days, 2), labels)
    for volume in one.seen.volumes:
        labels = {**mine, "pod": volume.pod}
        if volume.disk_used is not None:
            yield Gauge("tiphys_member_disk_ratio", "share of the disk in use", round(volume.disk_used, 4), labels)
        if volume.claim_used is not None:
            told = "share of the volume claim that the server's files take"
            yield Gauge("tiphys_member_claim_ratio", told, round(volume.claim_used, 4), labels)
    if (newest := one.seen.protection.newest) is not None:
        yield Gauge("tiphys_cluster_backup_age_seconds", "age of the newest backup", newest.total_seconds(), mine)


def exposition(all_gauges: Sequence[Gauge]) -> str:
    """Return gauges in Prometheus' text format, the samples of each name together."""
    lines, by_name = [], dict[str, list[Gauge]]()
    for gauge in all_gauges:
        by_name.setdefault(gauge.name, []).append(gauge)
    for name, samples in by_name.items():
        lines += [f"# HELP {name} {samples[0].help}", f"# TYPE {name} gauge"]
        for sample in samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            lines.append(f"{name}{{{labels}}} {sample.value:g}")
    return "\n".join([*lines, ""])
