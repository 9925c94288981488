"""What Kubernetes fills in when a manifest leaves it out, as far as controllers and clients lean on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tiphys.local.apiserver import innodbcluster
from tiphys.local.kube_errors import ApiError
from tiphys.local.registry import Kind


class _HasObject(Protocol):
    @property
    def obj(self) -> dict[str, Any]: ...


class ServiceAddresses:
    """Gives Services their cluster IPs: `127.<network>.200.1` to `.254`."""

    def __init__(self, network: int):
        self._prefix = f"127.{network}.200."

    def assign(self, service: dict[str, Any], others: Sequence[_HasObject]) -> None:
        """Give a new Service its address, unless it is headless, external or brings a free one of its own.

        Raises:
            ApiError: 422 if the address it brings is not free, 500 if none is left.
        """
        spec = service["spec"]
        if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
            if spec.get("clusterIP"):
                spec["clusterIPs"] = [spec["clusterIP"]]
            return
        taken = {other.obj["spec"].get("clusterIP") for other in others}
        wanted = spec.get("clusterIP")
        if wanted in taken:
            raise ApiError(422, "Invalid", f"spec.clusterIP: {wanted} is taken by another Service")
        if not wanted:
            free = (f"{self._prefix}{host}" for host in range(1, 255) if f"{self._prefix}{host}" not in taken)
            wanted = next(free, None)
            if wanted is None:
                raise ApiError(500, "InternalError", f"all 254 cluster IPs of {self._prefix}0/24 are taken")
        spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]


def apply(kind: Kind, obj: dict[str, Any]) -> None:
    """Fill in the defaults of an object, in place; what is set stays."""
    fill = _BY_PLURAL.get(kind.plural)
    if fill and isinstance(obj.get("spec", {}), dict):
        fill(obj)


def _pod(obj: dict[str, Any]) -> None:
    _pod_spec(obj.setdefault("spec", {}))
    obj["spec"].setdefault("enableServiceLinks", True)
    obj.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def _pod_spec(spec: dict[str, Any]) -> None:
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
    )
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in [*_dicts(spec.get("initContainers")), *_dicts(spec.get("containers"))]:
        image = str(container.get("image", ""))
        tag = image.rsplit("/", 1)[-1].partition(":")[2]
        _set(
            container,
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            imagePullPolicy="Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent",
            resources={},
        )
        for port in _dicts(container.get("ports")):
            _set(port, protocol="TCP")
        for name in ("livenessProbe", "readinessProbe", "startupProbe"):
            if isinstance(container.get(name), dict):
                _set(container[name], timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
                if isinstance(container[name].get("httpGet"), dict):
                    _set(container[name]["httpGet"], path="/", scheme="HTTP")
    for volume in _dicts(spec.get("volumes")):
        for source in ("configMap", "secret"):
            if isinstance(volume.get(source), dict):
                _set(volume[source], defaultMode=420)


def _workload(obj: dict[str, Any]) -> None:
    spec = obj.setdefault("spec", {})
    template = spec.get("template")
    if isinstance(template, dict):
        _pod_spec(template.setdefault("spec", {}))


def _stateful_set(obj: dict[str, Any]) -> None:
    _workload(obj)
    _set(
        obj["spec"],
        replicas=1,
        podManagementPolicy="OrderedReady",
        revisionHistoryLimit=10,
        updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"},
    )
    for claim in _dicts(obj["spec"].get("volumeClaimTemplates")):
        _set(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={"phase": "Pending"})
        if isinstance(claim.get("spec"), dict):
            _set(claim["spec"], volumeMode="Filesystem")
    obj.setdefault("status", {"replicas": 0, "availableReplicas": 0})


def _deployment(obj: dict[str, Any]) -> None:
    _workload(obj)
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
    _set(
        obj["spec"],
        replicas=1,
        revisionHistoryLimit=10,
        progressDeadlineSeconds=600,
        strategy={"type": "RollingUpdate", "rollingUpdate": rolling},
    )
    obj.setdefault("status", {})


def _replica_set(obj: dict[str, Any]) -> None:
    _workload(obj)
    _set(obj["spec"], replicas=1)
    obj.setdefault("status", {"replicas": 0})


def _service(obj: dict[str, Any]) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    for port in _dicts(spec.get("ports")):
        _set(port, protocol="TCP")
        if "port" in port:
            _set(port, targetPort=port["port"])
    obj.setdefault("status", {"loadBalancer": {}})


def _namespace(obj: dict[str, Any]) -> None:
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name")
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {"phase": "Active"})


def _claim(obj: dict[str, Any]) -> None:
    _set(obj.setdefault("spec", {}), volumeMode="Filesystem")
    obj.setdefault("status", {"phase": "Pending"})


def _secret(obj: dict[str, Any]) -> None:
    obj.setdefault("type", "Opaque")


def _set(target: dict[str, Any], **values: Any) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def _dicts(items: object) -> list[dict[str, Any]]:
    """Return the objects of a list; what is malformed is left for validation to name."""
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


_BY_PLURAL = {
    "pods": _pod,
    "statefulsets": _stateful_set,
    "deployments": _deployment,
    "replicasets": _replica_set,
    "services": _service,
    "namespaces": _namespace,
    "persistentvolumeclaims": _claim,
    "secrets": _secret,
    "innodbclusters": innodbcluster.fill,
}
