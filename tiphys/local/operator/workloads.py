"""The StatefulSet of the servers and the Deployment of the Routers."""

from __future__ import annotations

from typing import Any

from tiphys.local.operator import names
from tiphys.local.operator.dressing import dressed
from tiphys.local.operator.objects import Object, app_labels, owned, router_labels, server_labels
from tiphys.local.operator.spec import ClusterSpec, merged

GRACE_SECONDS = 120
"""As the real operator: how long a server pod may take to stop."""


def _pod_env() -> list[Object]:
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"}
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def _volume_mounts(*pairs: tuple[str, str]) -> list[Object]:
    return [{"name": name, "mountPath": path} for name, path in pairs]


def _server_containers(spec: ClusterSpec, pre_stop_seconds: int) -> list[Object]:
    ping = ["mysqladmin", f"-u{names.HEALTH_USER}", "ping"]
    port = {"tcpSocket": {"port": names.SERVER_PORT}}
    sidecar = {
        "name": "sidecar",
        "image": f"{names.OPERATOR_IMAGE}:{spec.version}",
        "command": ["sidecar"],
        "env": _pod_env(),
        "volumeMounts": [
            *_volume_mounts(("rundir", "/var/run/mysqld"), ("datadir", "/var/lib/mysql")),
            # Read through the API; mounted so that a missing Secret is told where everyone looks first.
            {"name": "rootcreds", "mountPath": "/rootcreds", "readOnly": True},
        ],
    }
    # A shell and not mysqladmin alone: the wait gives the operator time to take the member out of the group.
    stop = f"sleep {pre_stop_seconds}; exec mysqladmin -u{names.LOCAL_ROOT} shutdown"
    mysql = {
        "name": "mysql",
        "image": f"{names.SERVER_IMAGE}:{spec.version}",
        "args": ["mysqld"],
        "env": [*_pod_env(), {"name": names.BASE_SERVER_ID, "value": str(spec.base_server_id)}],
        "ports": [
            {"name": "mysql", "containerPort": names.SERVER_PORT},
            {"name": "mysqlx", "containerPort": 33060},
            {"name": "gr-xcom", "containerPort": 33061},
        ],
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", stop]}}},
        # A probe that only opens the port costs nothing; the liveness probe asks the server itself, since a
        # frozen server's port still opens.
        "startupProbe": {**port, "periodSeconds": 1, "failureThreshold": 10000},
        "readinessProbe": {**port, "periodSeconds": 2, "failureThreshold": 3},
        "livenessProbe": {
            "exec": {"command": ping},
            "initialDelaySeconds": 15,
            "periodSeconds": 15,
            "timeoutSeconds": 5,
            "failureThreshold": 10,
        },
        "volumeMounts": _volume_mounts(
            ("datadir", "/var/lib/mysql"), ("rundir", "/var/run/mysqld"), ("initconfdir", "/etc/my.cnf.d")
        ),
    }
    return [sidecar, mysql]


def stateful_set(spec: ClusterSpec, pre_stop_seconds: int) -> Object:
    """Return the StatefulSet of the servers as it is at creation.

    Args:
        spec: the cluster.
        pre_stop_seconds: how long a server pod waits between its deletion and its shutdown.
    """
    init = {
        "name": "initmysql",
        "image": f"{names.SERVER_IMAGE}:{spec.version}",
        "args": ["mysqld"],
        "env": [{"name": "MYSQL_INITIALIZE_ONLY", "value": "1"}],
        "volumeMounts": _volume_mounts(("datadir", "/var/lib/mysql")),
    }
    pod: dict[str, Any] = {
        "metadata": {"labels": server_labels(spec)},
        "spec": {
            "subdomain": f"{spec.name}-instances",
            "readinessGates": [{"conditionType": names.GATE_CONFIGURED}, {"conditionType": names.GATE_READY}],
            "serviceAccountName": f"{spec.name}-sidecar-sa",
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "initContainers": [init],
            "containers": _server_containers(spec, pre_stop_seconds),
            "volumes": [
                {"name": "rundir", "emptyDir": {}},
                {"name": "initconfdir", "configMap": {"name": f"{spec.name}-initconf"}},
                {"name": "rootcreds", "secret": {"secretName": spec.secret_name}},
            ],
        },
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    return owned(
        spec,
        "apps/v1",
        "StatefulSet",
        spec.name,
        {names.LABEL_TYPE: "group-member", **app_labels(spec, "mysql-innodbcluster", "", "database")},
        spec={
            "serviceName": f"{spec.name}-instances",
            "replicas": spec.instances,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": server_labels(spec)},
            "template": merged({**pod, "spec": dressed(pod["spec"])}, spec.pod),
            "volumeClaimTemplates": [{"metadata": {"name": "datadir"}, "spec": merged(claim, spec.claim)}],
        },
    )


def router_deployment(spec: ClusterSpec, replicas: int) -> Object:
    """Return the Deployment of the Routers; it starts with 0 replicas until the servers have all joined."""
    container = {
        "name": "router",
        "image": f"{names.ROUTER_IMAGE}:{spec.version}",
        "args": ["mysqlrouter"],
        "env": _pod_env(),
        "ports": [
            {"name": "mysqlrw", "containerPort": names.ROUTER_RW_PORT},
            {"name": "mysqlro", "containerPort": names.ROUTER_RO_PORT},
        ],
        # As with the real operator, a Router is ready once it is configured: its RW port closes while there is
        # no primary, and a probe of it would take every Router out of the Service during each failover.
        "startupProbe": {
            "exec": {"command": ["test", "-s", names.ROUTER_CONFIG]},
            "periodSeconds": 1,
            "failureThreshold": 600,
        },
    }
    pod: dict[str, Any] = {
        "metadata": {"labels": router_labels(spec)},
        "spec": {
            "serviceAccountName": f"{spec.name}-sidecar-sa",
            "terminationGracePeriodSeconds": 10,
            "containers": [container],
        },
    }
    return owned(
        spec,
        "apps/v1",
        "Deployment",
        f"{spec.name}-router",
        app_labels(spec, "mysql-innodbcluster", "-router", "router"),
        spec={
            "replicas": replicas,
            "selector": {"matchLabels": router_labels(spec)},
            "template": merged({**pod, "spec": dressed(pod["spec"])}, spec.router_pod),
        },
    )
