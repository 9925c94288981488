"""Step deploy-cluster: create a cluster, or bring an existing one to what is asked, and prove that it works."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click

from steps.declare import option, parameter, step, target_options
from steps.errors import Refused, Temporary
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.errors import Conflict
from steps.kube.pods import name_of
from steps.log import log
from steps.mysql.connection import ROUTER_RW_PORT, SERVER_PORT, Credentials, root_credentials
from steps.mysql.definition import (
    KEEP,
    QUANTITY,
    SETTINGS,
    VERSION,
    Asked,
    compare,
    drills_of,
    even_count_warning,
    new_cluster,
    root_secret,
    secret_name,
)
from steps.mysql.proof import prove_write
from steps.mysql.scale_plan import claim_name
from steps.mysql.waiting import Sight, wait_until


@dataclass(frozen=True)
class Deployed:
    """What deploy-cluster tells."""

    change: str = parameter("What was done: created, changed or unchanged.", is_global=True)
    primary: str = parameter("Pod of the primary.", is_global=True)
    members_online: int = parameter("Number of members that are ONLINE.", is_global=True)
    drills: str = parameter(
        "Whether drills may break the cluster on purpose: allowed (as in every new cluster, unless told otherwise) or "
        "forbidden.",
        is_global=True,
    )
    router_address: str = parameter("Address and port for writes, through Router.", is_global=True)
    seconds: float = parameter("Seconds until everything was up and proven.", is_global=True)
    summary: str = parameter(
        "What was done, and on which data: volumes that an earlier cluster of this name left are used again.",
        is_global=True,
    )


@step("deploy-cluster")
@target_options
@option("--servers", type=click.IntRange(1, 9), default=3, help="Number of MySQL servers; odd numbers are best.")
@option("--routers", type=click.IntRange(0, 9), default=2, help="Number of MySQL Routers that clients connect through.")
@option("--version", type=VERSION, default=None, help="Version of MySQL; empty takes the operator's own.")
@option(
    "--mycnf",
    type=SETTINGS,
    default=None,
    help="Server settings of a new cluster, as name=value separated by semicolons. Empty keeps the defaults.",
)
@option("--storage", type=QUANTITY, default="5Gi", help="Size of each server's volume in a new cluster.")
@option(
    "--environment",
    type=click.Choice(["test", "production", KEEP]),
    default=KEEP,
    help="What the cluster is for: in production, drills ask for an approval. keep: as it is; test for a new cluster.",
)
@option(
    "--drills",
    type=click.Choice(["allowed", "forbidden", KEEP]),
    default=KEEP,
    help="Whether drills may break this cluster on purpose. keep: as it is; allowed for a new cluster.",
)
@option(
    "--backups",
    type=click.Choice(["on", "off", KEEP]),
    default=KEEP,
    help="Whether schedules back this cluster up, verify that and prune. keep: as it is; off for a new cluster.",
)
@option(
    "--timeout-seconds",
    type=click.IntRange(10, 7200),
    default=600,
    help="How long to wait until all members are ONLINE and all Routers ready, in seconds.",
)
def deploy_cluster(
    namespace: str,
    cluster: str,
    servers: int,
    routers: int,
    version: str | None,
    mycnf: str | None,
    storage: str,
    environment: str,
    drills: str,
    backups: str,
    timeout_seconds: int,
) -> Deployed:
    """Create an InnoDBCluster, or bring an existing one to what is asked.

    Waits until every member is ONLINE by performance_schema and every Router is ready, then proves it with a write
    through Router that is read back on every member. Running it again changes nothing. It never removes servers or
    Routers: scale-cluster does that.
    """
    started = time.monotonic()
    kube = client.connect(namespace)
    asked = Asked(servers, routers, version or "", mycnf or "", storage, environment, drills, backups)
    if warning := even_count_warning(servers):
        log("warning", message=warning)
    left = left_claims(kube, cluster, servers)
    if left:
        log("warning", message=on_old_data(cluster, left))
    change = bring(kube, cluster, asked)
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    goal = f"{cluster}: {servers} members ONLINE, {routers} Routers ready"
    sight = wait_until(
        kube,
        cluster,
        credentials,
        lambda seen: seen.missing(servers, routers),
        what=goal,
        deadline=started + timeout_seconds,
    )
    host, port = write_address(kube, cluster, sight)
    members = {member.pod: member.address for member in sight.topology.members}
    took = _prove(host, port, members, credentials, deadline=started + timeout_seconds)
    log("write proven", address=f"{host}:{port}", members=len(members), seconds=round(took, 3))
    primary = sight.topology.primary
    return Deployed(
        change=change,
        primary=primary.pod if primary else "",
        members_online=sight.topology.online,
        drills=drills_of(found),
        router_address=f"{host}:{port}" if routers else "",
        seconds=round(time.monotonic() - started, 3),
        summary="; ".join([f"{cluster}: {change}", *([on_old_data(cluster, left)] if left else [])]),
    )


def left_claims(kube: Kube, cluster: str, servers: int) -> list[str]:
    """Return the volume claims that a cluster which is not there yet will find: StatefulSets take them by name."""
    if kube.find("innodbclusters", cluster) is not None:
        return []
    wanted = [claim_name(cluster, ordinal) for ordinal in range(servers)]
    there = {name_of(claim) for claim in kube.all("persistentvolumeclaims")}
    return [name for name in wanted if name in there]


def on_old_data(cluster: str, claims: Sequence[str]) -> str:
    """Say that a new cluster is not empty, and how to have one that is."""
    return (
        f"{cluster} starts on data that an earlier cluster of this name left: PVC {', '.join(claims)}. Its schemas, "
        "users and settings are there again. For an empty one delete the InnoDBCluster and these claims, then deploy it"
    )


def bring(kube: Kube, cluster: str, asked: Asked) -> str:
    """Create or change the InnoDBCluster, and return which: created, changed or unchanged.

    Raises:
        BadParameters: its settings are none that it could have; nothing was created.
        Refused: it would have to lose a server or a Router, or change what cannot be changed here.
        Temporary: the cluster is being deleted.
    """
    found = kube.find("innodbclusters", cluster)
    if found is None:
        made = new_cluster(cluster, asked)  # before the Secret: what is refused leaves nothing behind
        if kube.find("secrets", secret_name(cluster)) is None:
            kube.create("secrets", root_secret(cluster, new_password()))
            log("secret created", secret=secret_name(cluster))
        try:
            kube.create("innodbclusters", made)
        except Conflict:
            return bring(kube, cluster, asked)  # somebody else has just made it
        log("cluster created", cluster=cluster, servers=asked.servers, routers=asked.routers)
        return "created"
    if found["metadata"].get("deletionTimestamp"):
        raise Temporary(f"InnoDBCluster {cluster} is being deleted: wait until it is gone, then deploy it again")
    difference = compare(found, asked)
    if difference.refusals:
        raise Refused(". ".join(difference.refusals) + ". Nothing was changed.")
    for note in difference.notes:
        log("left as it is", cluster=cluster, what=note)
    if not difference.patch:
        log("nothing to change", cluster=cluster)
        return "unchanged"
    kube.patch("innodbclusters", cluster, difference.patch, resource_version=found["metadata"].get("resourceVersion"))
    log("cluster changed", cluster=cluster, patch=difference.patch)
    return "changed"


def new_password() -> str:
    """Return a password of 190 bits; the prefix satisfies the rules of validate_password's strong policy."""
    return "Ti7-" + secrets.token_urlsafe(24)


def write_address(kube: Kube, cluster: str, sight: Sight) -> tuple[str, int]:
    """Return where clients write: the Routers' Service, or the primary where there are no Routers."""
    if sight.routers:
        return kube.service_address(cluster), ROUTER_RW_PORT
    assert sight.topology.primary is not None
    return sight.topology.primary.address, SERVER_PORT


def _prove(host: str, port: int, members: dict[str, str], credentials: Credentials, *, deadline: float) -> float:
    """Prove a write; a Router that has only just become ready gets a few tries."""
    while True:
        try:
            return prove_write(host, port, members, credentials)
        except Temporary as error:
            if time.monotonic() > deadline:
                raise
            log("waiting", goal="a write through Router", missing=str(error))
            time.sleep(1)
