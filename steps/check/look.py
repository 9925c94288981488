"""Looking at one cluster with everything that check-cluster has, and judging it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steps.check.finding import Finding, health
from steps.check.judge import Seen, judge_all
from steps.check.read_kube import read_config, read_place, read_volumes
from steps.check.read_servers import read_servers
from steps.kube.client import Kube
from steps.mysql.connection import root_credentials
from steps.mysql.inspection import facts_of
from steps.mysql.protection import protection_of
from steps.mysql.topology import server_addresses
from steps.mysql.waiting import look

if TYPE_CHECKING:
    from steps.backup.catalogue import Catalogue


@dataclass(frozen=True)
class Examined:
    """One cluster: what was seen, and what it amounts to."""

    seen: Seen
    findings: list[Finding]

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.seen.facts.name

    @property
    def health(self) -> str:
        """The worst that was found."""
        return health(self.findings)

    def of(self, *severities: str) -> list[Finding]:
        """Return the findings of some severities."""
        return [finding for finding in self.findings if finding.severity in severities]


def see(kube: Kube, cluster: str, backups: Catalogue | str, *, timeout: float = 5.0) -> Seen:
    """Look at everything that check-cluster judges; changes nothing.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        backups: what the bucket holds, or why that cannot be told.
        timeout: seconds for each connection and answer.

    Raises:
        BadParameters: there is no such cluster.
    """
    credentials = root_credentials(kube, kube.cluster(cluster))
    sight = look(kube, cluster, credentials)
    servers = read_servers(server_addresses(sight.servers), credentials, timeout)
    config, config_error = read_config(kube, cluster)
    return Seen(
        facts=facts_of(kube, sight, credentials, timeout=timeout),
        servers=servers,
        place=read_place(kube, sight.cluster, sight.servers, sight.routers),
        volumes=read_volumes(kube, sight.servers, servers),
        mycnf=str(sight.cluster["spec"].get("mycnf") or ""),
        config=config,
        config_error=config_error,
        protection=protection_of(sight.cluster, backups),
    )


def examine(kube: Kube, cluster: str, backups: Catalogue | str, *, timeout: float = 5.0) -> Examined:
    """Look at a cluster as :func:`see` does, and judge it."""
    seen = see(kube, cluster, backups, timeout=timeout)
    return Examined(seen, judge_all(seen))
