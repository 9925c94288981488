"""The scratch cluster of a verification: made for one workflow, labelled with its name, removed whatever happened.

What keeps anything from being left behind: the cluster and its Secret are owned by the workflow; the exit handler
`verify-remove` removes them; `reap` does so where the workflow was terminated or is gone. A finalizer of ours keeps the
cluster's object until its volumes and its Secret are removed, since nobody else would know of them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.backup.verify_record import ORDER, SCRATCH, Order, Scratch, dump, load, now
from steps.declare import artifact, input_file, option, outputs_folder, step, target_options
from steps.errors import Refused, Temporary
from steps.kube import client
from steps.kube.client import CLUSTER_LABEL, Kube, Object
from steps.kube.errors import Conflict, NotFound
from steps.kube.owner import owner_of
from steps.log import log
from steps.mysql.connection import SERVER_PORT, query, root_credentials, session
from steps.mysql.definition import (
    DRILLS_LABEL,
    ENVIRONMENT_LABEL,
    Asked,
    new_cluster,
    root_secret,
    secret_name,
)
from steps.mysql.definition import SCRATCH_LABEL as LABEL
from steps.mysql.deploy_cluster import new_password
from steps.mysql.waiting import wait_until
from steps.parameters import OBJECT_NAME

FINALIZER = "tiphys.dev/scratch"
REQUESTED = "tiphys.dev/requested-at"
"""Annotation: when it was asked for, as an ISO time with milliseconds."""

COPIED = (
    "version",
    "edition",
    "imageRepository",
    "imagePullPolicy",
    "imagePullSecrets",
    "mycnf",
    "podSpec",
    "datadirVolumeClaimTemplate",
)
"""Fields of the cluster's own spec that a restore depends on: its version, settings, images and room."""

REMOVE_SECONDS = 240.0
"""How long a removal waits for servers to stop."""


@dataclass(frozen=True)
class ScratchReady:
    """The scratch cluster."""

    scratch: Path = artifact("When it was asked for and when it was ready.", SCRATCH)


@step("verify-scratch")
@option("--namespace", required=True, type=OBJECT_NAME, help="Namespace of the scratch cluster.")
@option("--workflow", required=True, type=OBJECT_NAME, help="The workflow that the scratch cluster is made for.")
@input_file("--order", ORDER, "The order of verify-prepare.")
def verify_scratch(namespace: str, workflow: str, order: Path) -> ScratchReady:
    """Make the scratch cluster and wait until its servers are ONLINE."""
    given = load(Order, order)
    kube = client.connect(namespace)
    made = bring(kube, given, workflow)
    requested = str(made["metadata"]["annotations"][REQUESTED])
    credentials = root_credentials(kube, made)
    sight = wait_until(
        kube,
        given.scratch,
        credentials,
        lambda seen: seen.missing(given.servers, 0),
        what=f"scratch cluster {given.scratch}: {given.servers} members ONLINE",
        deadline=time.monotonic() + given.timeout_seconds,
    )
    assert sight.topology.primary is not None
    version = sight.topology.primary.version
    for member in sight.topology.members:
        # The backup's events would change rows while they are compared.
        with session(member.address, SERVER_PORT, credentials, what=member.pod) as connection:
            query(connection, "SET PERSIST event_scheduler = OFF")
    path = outputs_folder() / SCRATCH
    path.write_bytes(dump(Scratch(given.scratch, requested, now(), version, given.servers)))
    log("scratch cluster ready", cluster=given.scratch, version=version)
    return ScratchReady(path)


@step("verify-remove")
@target_options
@option("--workflow", required=True, type=OBJECT_NAME, help="The workflow that the scratch cluster was made for.")
def verify_remove(namespace: str, cluster: str, workflow: str) -> None:
    """Remove the scratch cluster of this workflow with its volumes and Secret. Another's is left alone."""
    kube = client.connect(namespace)
    remove(kube, scratch_name(cluster, workflow), workflow)


def scratch_name(cluster: str, workflow: str) -> str:
    """Return the name of the scratch cluster of a workflow: always the same, at most 28 characters."""
    return f"verify-{cluster[:14].rstrip('-')}{_end(workflow)}"


def _end(workflow: str) -> str:
    return f"-{hashlib.sha256(workflow.encode()).hexdigest()[:6]}"


def _is_of(cluster: Object, workflow: str) -> bool:
    """Tell whether a cluster is the scratch cluster of a workflow: a copy of one, under another name, is somebody's."""
    metadata = cluster["metadata"]
    return (metadata.get("labels") or {}).get(LABEL) == workflow and str(metadata["name"]).endswith(_end(workflow))


def scratch_cluster(name: str, workflow: str, source: Object | None, owner: Object | None, order: Order) -> Object:
    """Return the InnoDBCluster to create.

    Args:
        name: of the scratch cluster.
        workflow: name of the workflow that it is for.
        source: the cluster whose backup is verified, None where it is gone.
        owner: reference to the workflow, None outside any.
        order: what is verified.
    """
    made = new_cluster(name, Asked(servers=order.servers, routers=0, environment="test", drills="forbidden"))
    spec = (source or {}).get("spec") or {}
    made["spec"].update({field: spec[field] for field in COPIED if spec.get(field)})
    metadata = made["metadata"]
    metadata["labels"] = {
        "app.kubernetes.io/part-of": "tiphys",
        LABEL: workflow,
        ENVIRONMENT_LABEL: "test",
        DRILLS_LABEL: "forbidden",
    }
    metadata["annotations"] = {REQUESTED: now()}
    metadata["finalizers"] = [FINALIZER]
    if owner:
        metadata["ownerReferences"] = [owner]
    return made


def bring(kube: Kube, order: Order, workflow: str) -> Object:
    """Make the scratch cluster, or return the one that an earlier attempt of this workflow made.

    Raises:
        Refused: another cluster has its name.
    """
    name = order.scratch
    found = kube.find("innodbclusters", name)
    if found is not None:
        if (found["metadata"].get("labels") or {}).get(LABEL) != workflow or found["metadata"].get("deletionTimestamp"):
            raise Refused(f"InnoDBCluster {name} is not this run's scratch cluster, or is being removed: run it again.")
        log("scratch cluster found", cluster=name)
        return found
    owner = owner_of(kube, workflow)
    if kube.find("secrets", secret_name(name)) is None:
        secret = root_secret(name, new_password())
        secret["metadata"]["labels"][LABEL] = workflow
        if owner:
            secret["metadata"]["ownerReferences"] = [owner]
        kube.create("secrets", secret)
    made = scratch_cluster(name, workflow, kube.find("innodbclusters", order.cluster), owner, order)
    made = kube.create("innodbclusters", made)
    log("scratch cluster asked for", cluster=name, servers=order.servers, version=made["spec"].get("version", ""))
    return made


def is_scratch(cluster: Object) -> bool:
    """Tell whether an InnoDBCluster is a scratch cluster."""
    return LABEL in (cluster["metadata"].get("labels") or {})


def remove(kube: Kube, name: str, workflow: str, seconds: float = REMOVE_SECONDS) -> bool:
    """Remove a scratch cluster, its volumes and its Secret; return whether there was one.

    Args:
        kube: client for its namespace.
        name: of the cluster.
        workflow: that it was made for; another's cluster is left alone.
        seconds: to wait for its servers to stop.

    Raises:
        Temporary: they did not stop in time; calling this again goes on.
    """
    found = kube.find("innodbclusters", name)
    if found is not None and not _is_of(found, workflow):
        log("left-alone", cluster=name, why=f"it is not the scratch cluster of {workflow}")
        return False
    if found is not None and not found["metadata"].get("deletionTimestamp"):
        kube.delete("innodbclusters", name, uid=str(found["metadata"]["uid"]))
        log("scratch cluster deleted", cluster=name)
    until = time.monotonic() + seconds
    # Volumes go after the servers: as long as one is meant to run, its volume would be made anew.
    while pods := kube.all("pods", f"{CLUSTER_LABEL}={name}"):
        if time.monotonic() > until:
            raise Temporary(f"{len(pods)} pods of scratch cluster {name} have not stopped in {seconds:.0f} s")
        time.sleep(0.5)
    claims = [claim for claim in kube.all("persistentvolumeclaims") if _belongs(claim, name)]
    for claim in claims:
        _delete(kube, "persistentvolumeclaims", str(claim["metadata"]["name"]))
    secret = kube.find("secrets", secret_name(name))
    if secret is not None and (secret["metadata"].get("labels") or {}).get(LABEL) == workflow:
        _delete(kube, "secrets", secret_name(name))
    _let_go(kube, name)
    while kube.find("innodbclusters", name) is not None:
        if time.monotonic() > until:
            raise Temporary(f"Scratch cluster {name} is being deleted, but its operator has not let it go")
        time.sleep(0.5)
    log("scratch cluster gone", cluster=name, volumes=len(claims), there_was_one=found is not None)
    return found is not None


def _belongs(claim: Object, cluster: str) -> bool:
    labels = claim["metadata"].get("labels") or {}
    stem, _, number = str(claim["metadata"]["name"]).rpartition("-")
    return labels.get(CLUSTER_LABEL, cluster) == cluster and stem == f"datadir-{cluster}" and number.isdecimal()


def _delete(kube: Kube, resource: str, name: str) -> None:
    try:
        kube.delete(resource, name)
    except NotFound:
        log("already gone", what=f"{resource}/{name}")


def _let_go(kube: Kube, name: str) -> None:
    """Take our finalizer off a cluster's object."""
    for _ in range(20):
        found = kube.find("innodbclusters", name)
        finalizers = (found or {"metadata": {}})["metadata"].get("finalizers") or []
        if found is None or FINALIZER not in finalizers:
            return
        left: dict[str, Any] = {"metadata": {"finalizers": [each for each in finalizers if each != FINALIZER]}}
        try:
            kube.patch("innodbclusters", name, left, resource_version=str(found["metadata"]["resourceVersion"]))
            return
        except NotFound:
            return
        except Conflict:
            time.sleep(0.2)
    raise Temporary(f"InnoDBCluster {name} changes all the time: its finalizer {FINALIZER} could not be removed")


def orphans(clusters: Collection[Object], phases: Mapping[str, str], over: Collection[str]) -> list[tuple[str, str]]:
    """Return name and workflow of the scratch clusters whose workflow is gone or over.

    Args:
        clusters: InnoDBClusters, read before the workflows were.
        phases: of every workflow by name.
        over: phases of a workflow that has ended.
    """
    found = []
    for cluster in clusters:
        workflow = (cluster["metadata"].get("labels") or {}).get(LABEL)
        if workflow is None or not _is_of(cluster, workflow):
            continue
        if workflow not in phases or phases[workflow] in over:
            found.append((str(cluster["metadata"]["name"]), str(workflow)))
    return found
