"""The InnoDBCluster that deploy-cluster makes, and how an existing one differs from what is asked: pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from steps.errors import BadParameters
from steps.kube.client import CLUSTER_LABEL, Object
from steps.mysql.cnf import PLUGINS
from steps.parameters import Text

DRILLS_LABEL, ENVIRONMENT_LABEL = "tiphys.dev/drills", "tiphys.dev/environment"
BACKUPS_LABEL = "tiphys.dev/backups"
GAME_DAY_LABEL = "tiphys.dev/game-day"
"""Value on: schedules back the cluster up, verify its backups and prune them."""

SCRATCH_LABEL = "tiphys.dev/scratch"
"""On a cluster that a workflow made for itself and removes again: that workflow's name."""

KEEP = "keep"
"""Value of a choice that leaves an existing cluster's label as it is."""

SETTINGS = Text("server settings", "A-Za-z0-9_=.,:;/*+# -", 2000, first="a-z")
QUANTITY = Text("a size", "0-9A-Za-z.", 16, first="1-9", last="0-9A-Za-z")
VERSION = Text("a version", "0-9.", 12, first="0-9", last="0-9")


@dataclass(frozen=True)
class Asked:
    """What the caller of deploy-cluster asks for.

    Attributes:
        servers: number of MySQL servers.
        routers: number of Routers.
        version: of MySQL; empty for the operator's own.
        mycnf: server settings, ``name=value`` separated by semicolons; may be empty.
        storage: size of each server's volume.
        environment: test, production or keep.
        drills: allowed, forbidden or keep.
        backups: on, off or keep.
    """

    servers: int
    routers: int
    version: str = ""
    mycnf: str = ""
    storage: str = "5Gi"
    environment: str = KEEP
    drills: str = KEEP
    backups: str = KEEP

    @property
    def labels(self) -> dict[str, str]:
        """The labels that are asked for, without those to keep."""
        pairs = {ENVIRONMENT_LABEL: self.environment, DRILLS_LABEL: self.drills, BACKUPS_LABEL: self.backups}
        return {key: value for key, value in pairs.items() if value != KEEP}


def secret_name(cluster: str) -> str:
    """Return the name of the Secret that holds the administrator's password."""
    return f"{cluster}-root"


OURS = re.compile(
    r"(.*_)?(file|dir|datadir|basedir|socket|path|directory|directories)|(?!max_user_connections$).*(plugin|keyring|component|user|bind_address|init_connect|init_replica).*"
    r"|skip_(grant_tables|networking)|secure_.*|server_id|port|report_.*|gtid_mode|enforce_gtid_consistency|log_error"
)
"""Settings that decide who gets in, which files the server touches, or what the operator itself has to set."""


def my_cnf(settings: str) -> str:
    """Return settings (``name=value; name=value``) as the text of a my.cnf, empty where there are none.

    Raises:
        BadParameters: one of them is no setting, or one that a cluster's caller must not choose.
    """
    lines = [line.strip() for line in settings.split(";") if line.strip()]
    for number, line in enumerate(lines):
        name = line.partition("=")[0].strip().replace("-", "_").lower()
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise BadParameters(f"mycnf: {line!r} is no setting; give name=value, separated by semicolons")
        variable = name.removeprefix("loose_").replace("slave", "replica")  # both say the same variable
        if OURS.fullmatch(variable):
            raise BadParameters(
                f"mycnf: {name} decides who gets into the server, which files it touches, or what the operator sets, "
                "and cannot be chosen here; leave it out"
            )
        if "=" not in line:
            raise BadParameters(
                f"mycnf: {line} has no value: give {line}=VALUE. A switch needs one here, too (skip-name-resolve=ON): "
                "unlike set-config, this asks no server what is one, and a server does not start with another name "
                "alone"
            )
        if PLUGINS.fullmatch(name):  # a new pod's server starts before it has them
            lines[number] = f"loose_{line}"
    return "\n".join(["[mysqld]", *lines, ""]) if lines else ""


def root_secret(cluster: str, password: str) -> Object:
    """Return the Secret that the operator reads the administrator from."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(cluster), "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "type": "Opaque",
        "stringData": {"rootUser": "root", "rootHost": "%", "rootPassword": password},
    }


def new_cluster(cluster: str, asked: Asked) -> Object:
    """Return the InnoDBCluster to create. Unless told otherwise it is for tests, and drills are allowed."""
    labels = {ENVIRONMENT_LABEL: "test", DRILLS_LABEL: "allowed", **asked.labels}
    spec: dict[str, Any] = {
        "secretName": secret_name(cluster),
        "tlsUseSelfSigned": True,
        "instances": asked.servers,
        "router": {"instances": asked.routers, "podSpec": _apart(cluster, "mysqlrouter")},
        "podSpec": _apart(cluster, "mysqld"),
        "datadirVolumeClaimTemplate": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": asked.storage}},
        },
    }
    if asked.version:
        spec["version"] = asked.version
    if asked.mycnf:
        spec["mycnf"] = my_cnf(asked.mycnf)
    return {
        "apiVersion": "mysql.oracle.com/v2",
        "kind": "InnoDBCluster",
        "metadata": {"name": cluster, "labels": labels},
        "spec": spec,
    }


def drills_of(cluster: Object) -> str:
    """Return whether drills may break a cluster, by its label: allowed, or forbidden for any other value or none."""
    allowed = (cluster["metadata"].get("labels") or {}).get(DRILLS_LABEL) == "allowed"
    return "allowed" if allowed else "forbidden"


def _apart(cluster: str, component: str) -> dict[str, Any]:
    """Return a pod spec that spreads a cluster's pods over the nodes where that is possible."""
    term = {
        "labelSelector": {"matchLabels": {CLUSTER_LABEL: cluster, "component": component}},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}


@dataclass(frozen=True)
class Difference:
    """How an existing cluster differs from what is asked.

    Attributes:
        patch: merge patch that brings it there; empty where nothing is to do.
        refusals: what this runbook will not do, each with the one that does.
        notes: what is different and stays so.
    """

    patch: dict[str, Any]
    refusals: list[str]
    notes: list[str]


def compare(cluster: Object, asked: Asked) -> Difference:
    """Compare an existing InnoDBCluster with what is asked: it only ever grows here."""
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    patch: dict[str, Any] = {}
    refusals, notes = [], []
    servers = int(spec.get("instances", 1))
    routers = int((spec.get("router") or {}).get("instances", 0))
    for what, has, wants in (("servers", servers, asked.servers), ("routers", routers, asked.routers)):
        if wants < has:
            refusals.append(
                f"{name} has {has} {what} and {wants} are asked for: deploy-cluster never removes any. "
                f"Ask for {has}, or run scale-cluster with {what}={wants}"
            )
    if asked.servers > servers:
        patch.setdefault("spec", {})["instances"] = asked.servers
    if asked.routers > routers:
        patch.setdefault("spec", {})["router"] = {"instances": asked.routers}
    if asked.version and asked.version != spec.get("version"):
        refusals.append(
            f"{name} runs version {spec.get('version') or 'of the operator'} and {asked.version} is asked for: "
            "leave the version empty here; changing it is an upgrade of its own"
        )
    if asked.mycnf and my_cnf(asked.mycnf) != spec.get("mycnf"):
        refusals.append(
            f"{name} was made with other server settings, and the operator ignores a changed spec.mycnf: "
            "leave mycnf empty here and run set-config with settings=..."
        )
    template = spec.get("datadirVolumeClaimTemplate") or {}
    storage = ((template.get("resources") or {}).get("requests") or {}).get("storage")
    if storage and storage != asked.storage:
        notes.append(f"volumes stay at {storage}: the operator does not resize them")
    labels = cluster["metadata"].get("labels") or {}
    changed = {key: value for key, value in asked.labels.items() if labels.get(key) != value}
    if changed:
        patch["metadata"] = {"labels": changed}
    return Difference(patch, refusals, notes)


def even_count_warning(servers: int) -> str:
    """Return a warning where a number of servers buys no more safety than one fewer; else the empty text."""
    if servers == 2:
        return "2 servers survive no failure: without one, the other has no quorum and takes no writes; 3 survive one"
    if servers % 2 == 0:
        return (
            f"{servers} servers tolerate as many failures as {servers - 1}, {(servers - 1) // 2}: "
            "an odd number is cheaper and as safe"
        )
    if servers == 1:
        return "one server has no redundancy: every failure is an outage"
    return ""
