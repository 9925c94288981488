"""The small objects of a cluster: secrets, configuration, services, disruption budget, service account."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from tiphys.local.operator import names
from tiphys.local.operator.spec import ClusterSpec

Object = dict[str, Any]


def owned(
    cluster: ClusterSpec, api_version: str, kind: str, name: str, labels: Mapping[str, str], /, **rest: Any
) -> Object:
    """Return an object that the InnoDBCluster owns: it goes when the cluster goes."""
    owner = {
        "apiVersion": "mysql.oracle.com/v2",
        "kind": "InnoDBCluster",
        "name": cluster.name,
        "uid": cluster.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    meta = {
        "name": name,
        "namespace": cluster.namespace,
        "labels": {"tier": "mysql", names.LABEL_CLUSTER: cluster.name, **labels},
        "ownerReferences": [owner],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **rest}


def app_labels(spec: ClusterSpec, name: str, instance: str, component: str) -> dict[str, str]:
    """Return the recommended labels (app.kubernetes.io/...) as the real operator sets them."""
    prefix = "app.kubernetes.io/"
    values = {
        "name": name,
        "instance": f"mysql-innodbcluster-{spec.name}{instance}",
        "component": component,
        "managed-by": "mysql-operator",
        "created-by": "mysql-operator",
    }
    return {prefix + key: value for key, value in values.items()}


def server_labels(spec: ClusterSpec) -> dict[str, str]:
    """Return the labels of server pods, which the StatefulSet selects by."""
    return {
        "component": "mysqld",
        "tier": "mysql",
        names.LABEL_CLUSTER: spec.name,
        names.LABEL_TYPE: "group-member",
        **app_labels(spec, "mysql-innodbcluster-mysql-server", "-mysql-server", "database"),
    }


def router_labels(spec: ClusterSpec) -> dict[str, str]:
    """Return the labels of Router pods, which the Deployment selects by."""
    return {
        "component": "mysqlrouter",
        "tier": "mysql",
        names.LABEL_CLUSTER: spec.name,
        **app_labels(spec, "mysql-router", "-router", "router"),
    }


def secret(spec: ClusterSpec, suffix: str, values: Mapping[str, str]) -> Object:
    """Return a Secret ``{cluster}-{suffix}``."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return owned(spec, "v1", "Secret", f"{spec.name}-{suffix}", {}, type="Opaque", data=data)


def decoded(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return a Secret's values in clear."""
    return {key: base64.b64decode(value).decode() for key, value in (obj.get("data") or {}).items()}


def new_password() -> str:
    """Return a random password."""
    return secrets.token_urlsafe(24)


def account_secrets(spec: ClusterSpec) -> list[Object]:
    """Return the Secrets of the accounts that the operator, Router and backups use, with new passwords.

    They are created once; an existing Secret is never overwritten.
    """
    private = {
        "clusterAdminUsername": names.ADMIN_USER,
        "clusterAdminPassword": new_password(),
        # MySQL Shell makes one such account a member and keeps the password in the server only; here it is
        # one for all, so that a member can be given it before it has ever joined.
        "recoveryUsername": names.RECOVERY_USER,
        "recoveryPassword": new_password(),
    }
    return [
        secret(spec, "privsecrets", private),
        secret(spec, "router", {"routerUsername": names.ROUTER_USER, "routerPassword": new_password()}),
        secret(spec, "backup", {"backupUsername": names.BACKUP_USER, "backupPassword": new_password()}),
    ]


def initconf(spec: ClusterSpec) -> Object:
    """Return the ConfigMap whose ``*.cnf`` keys mysqld reads; made at creation, never changed afterwards."""
    group = (
        "# Group replication\n[mysqld]\n"
        f"log_bin={spec.name}\n"
        "enforce_gtid_consistency=ON\ngtid_mode=ON\nskip_replica_start=ON\n"
        f"loose_group_replication_group_name={spec.group_name}\n"
    )
    data = {
        "00-basic.cnf": "# Basic configuration\n[mysqld]\nplugin_load_add=auth_socket.so\n",
        "01-group_replication.cnf": group,
        "99-extra.cnf": f"# From spec.mycnf when the cluster was created\n{spec.mycnf}\n",
    }
    return owned(spec, "v1", "ConfigMap", f"{spec.name}-initconf", {}, data=data)


def _ports(ports: Iterable[tuple[str, int, int]]) -> list[Object]:
    return [{"name": name, "port": port, "protocol": "TCP", "targetPort": target} for name, port, target in ports]


def services(spec: ClusterSpec) -> list[Object]:
    """Return the headless Service of the servers and the Service of the Routers."""
    instances = owned(
        spec,
        "v1",
        "Service",
        f"{spec.name}-instances",
        {names.LABEL_TYPE: "group-member"},
        spec={
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "ports": _ports([("mysql", 3306, 3306), ("mysqlx", 33060, 33060), ("gr-xcom", 33061, 33061)]),
            "selector": {
                "component": "mysqld",
                "tier": "mysql",
                names.LABEL_CLUSTER: spec.name,
                names.LABEL_TYPE: "group-member",
            },
        },
    )
    router_ports = [
        ("mysql", 3306, names.ROUTER_RW_PORT),
        ("mysqlx", 33060, 6448),
        ("mysql-alternate", names.ROUTER_RW_PORT, names.ROUTER_RW_PORT),
        ("mysqlx-alternate", 6448, 6448),
        ("mysql-ro", names.ROUTER_RO_PORT, names.ROUTER_RO_PORT),
        ("mysqlx-ro", 6449, 6449),
        ("mysql-rw-split", names.ROUTER_SPLIT_PORT, names.ROUTER_SPLIT_PORT),
        ("router-rest", 8443, 8443),
    ]
    routers = owned(
        spec,
        "v1",
        "Service",
        spec.name,
        {},
        spec={
            "type": "ClusterIP",
            "ports": _ports(router_ports),
            "selector": {"component": "mysqlrouter", "tier": "mysql", names.LABEL_CLUSTER: spec.name},
        },
    )
    return [instances, routers]


def disruption_budget(spec: ClusterSpec) -> Object:
    """Return the PodDisruptionBudget: one server may be missing at a time."""
    selector = {"component": "mysqld", "tier": "mysql", names.LABEL_CLUSTER: spec.name}
    return owned(
        spec,
        "policy/v1",
        "PodDisruptionBudget",
        f"{spec.name}-pdb",
        {},
        spec={"maxUnavailable": 1, "selector": {"matchLabels": selector}},
    )


def role_binding(spec: ClusterSpec) -> Object:
    """Return what gives that account the rights of a server pod, named as the real operator names it."""
    account = {"kind": "ServiceAccount", "name": f"{spec.name}-sidecar-sa", "namespace": spec.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.SIDECAR_ROLE}
    api = "rbac.authorization.k8s.io/v1"
    return owned(spec, api, "RoleBinding", f"{spec.name}-sidecar-rb", {}, subjects=[account], roleRef=role)


def service_account(spec: ClusterSpec) -> Object:
    """Return the ServiceAccount of the server pods."""
    return owned(spec, "v1", "ServiceAccount", f"{spec.name}-sidecar-sa", {})
