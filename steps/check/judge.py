"""All that check-cluster judges, in the order in which one would look at a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from steps.check import data, drift, members, placement, routers, servers, storage
from steps.check.facts import Facts
from steps.check.finding import Finding, unknown
from steps.check.placement import Place
from steps.check.servers import Server
from steps.check.storage import Volume
from steps.mysql.protection import Protection, judge_protection


@dataclass(frozen=True)
class Seen:
    """All that was seen of one cluster.

    Attributes:
        facts: its group, Routers and data.
        servers: what each server says of itself.
        place: what Kubernetes holds of it.
        volumes: where its servers keep their data.
        mycnf: ``spec.mycnf``.
        config: what its ConfigMap holds of that; None where it could not be read.
        config_error: why.
        protection: its backups.
    """

    facts: Facts
    servers: Sequence[Server]
    place: Place
    volumes: Sequence[Volume]
    mycnf: str
    config: str | None
    config_error: str
    protection: Protection


BASIC: Mapping[str, Callable[[Facts], list[Finding]]] = {
    "members": members.judge_members,
    "writers": members.judge_writers,
    "operator": members.judge_operator,
    "pods": members.judge_pods,
    "routers": routers.judge_routers,
    "replication": data.judge_replication,
    "tables": data.judge_tables,
    "restores": data.judge_restores,
}
"""What the facts alone tell, by subject."""


def _configuration(seen: Seen) -> list[Finding]:
    found = drift.judge_wanted_settings(seen.servers, seen.mycnf, seen.config)
    if seen.config is None:
        found.append(unknown("configuration", seen.config_error, f"kubectl get configmap {seen.facts.name}-initconf"))
    return found


DEEP: Mapping[str, Callable[[Seen], list[Finding]]] = {
    "servers": lambda seen: servers.judge_silence(seen.servers),
    "lag": lambda seen: servers.judge_lag(seen.servers),
    "settings": lambda seen: drift.judge_members_settings(seen.servers),
    "configuration": _configuration,
    "pending settings": lambda seen: drift.judge_pending_settings(seen.servers),
    "connections": lambda seen: servers.judge_connections(seen.servers),
    "certificates": lambda seen: servers.judge_certificates(seen.servers),
    "clocks": lambda seen: servers.judge_clocks(seen.servers),
    "storage": lambda seen: storage.judge_storage(seen.volumes),
    "spread": lambda seen: placement.judge_spread(seen.place, seen.facts.topology),
    "cordoned nodes": lambda seen: placement.judge_cordons(seen.place),
    "disruption budget": lambda seen: placement.judge_budget(seen.place, seen.facts.topology),
    "role labels": lambda seen: placement.judge_labels(seen.place, seen.facts.topology),
    "router versions": lambda seen: placement.judge_router_versions(seen.place, seen.facts.topology),
    "notes": lambda seen: placement.judge_notes(seen.place, bool(seen.facts.writers_by_mode)),
    "protection": lambda seen: judge_protection(seen.protection),
}
"""What takes a longer look, by subject."""


def judge_facts(facts: Facts) -> list[Finding]:
    """Return what the facts alone tell, the good findings too."""
    return [finding for judge in BASIC.values() for finding in judge(facts)]


def judge_all(seen: Seen) -> list[Finding]:
    """Return all findings, the good ones too."""
    return judge_facts(seen.facts) + [finding for judge in DEEP.values() for finding in judge(seen)]
