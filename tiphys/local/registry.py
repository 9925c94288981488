"""The kinds that the local platform's API server knows: names, scope, subresources, printer columns.

One table instead of installed CustomResourceDefinitions, because the pack's kinds are known and fixed. Names,
short names, scope and subresources are those of Kubernetes 1.36, Argo Workflows 4.1, Argo Events 1.9 and
MySQL Operator 9.1. Argo's Workflow has no status subresource: its controller writes the whole object.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiphys.local.printer_columns import AGE, COLUMNS


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`.

    Attributes:
        name: the heading.
        value: dotted path into the object (``.status.phase``), or the name of a function of
            `tiphys.local.apiserver.cells` where a path is not enough.
        type: string, integer or date (a date is shown as an age).
        wide: shown by ``-o wide`` only.
    """

    name: str
    value: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True)
class Kind:
    """One resource of the API.

    Attributes:
        group: API group, empty for the core group.
        version: the one version that is served.
        kind: name of the kind, such as ``Pod``.
        plural: name in the path, such as ``pods``.
        singular: name that kubectl accepts as well.
        namespaced: whether objects live in a namespace.
        short: short names that kubectl accepts.
        status: whether ``/status`` exists; if so the main resource ignores status.
        scale: whether ``/scale`` exists.
        generation: whether metadata.generation counts the changes of what is not status or metadata.
        columns: what `kubectl get` shows after NAME.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False
    generation: bool = False
    columns: tuple[Column, ...] = ()

    @property
    def api_version(self) -> str:
        """``apiVersion`` of the objects: ``group/version``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """Path of the group and version: ``/api/v1`` or ``/apis/GROUP/VERSION``."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def qualified(self) -> str:
        """``plural.group`` as error messages name a resource, or ``plural`` for the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def custom(self) -> bool:
        """Whether this is a custom resource: those know no strategic merge patch."""
        return "." in self.group and not self.group.endswith("k8s.io")

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection, of one object, or of its subresource."""
        parts = [self.prefix]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


def _columns(*columns: str) -> tuple[Column, ...]:
    """Read columns as `tiphys.local.printer_columns` writes them."""
    made = []
    for column in columns:
        name, value = column.split("=", 1)
        value, _, kind = value.partition(":")
        made.append(Column(name.lstrip("*"), value, kind or "string", name.startswith("*")))
    return tuple(made)


class _Table:
    """Collects the kinds of one group and version."""

    def __init__(self, group: str, version: str):
        self.group, self.version = group, version
        self.kinds: list[Kind] = []

    def add(
        self,
        kind: str,
        plural: str,
        *short: str,
        namespaced: bool = True,
        status: bool = False,
        scale: bool = False,
        generation: bool = False,
    ) -> _Table:
        self.kinds.append(
            Kind(
                self.group,
                self.version,
                kind,
                plural,
                singular=kind.lower(),
                namespaced=namespaced,
                short=short,
                status=status,
                scale=scale,
                generation=generation,
                columns=_columns(*COLUMNS.get(plural, (AGE,))),
            )
        )
        return self


_TABLES = (
    _Table("", "v1")
    .add("Namespace", "namespaces", "ns", namespaced=False, status=True)
    .add("Node", "nodes", "no", namespaced=False, status=True)
    .add("Pod", "pods", "po", status=True, generation=True)
    .add("Service", "services", "svc", status=True)
    .add("Endpoints", "endpoints", "ep")
    .add("Secret", "secrets")
    .add("ConfigMap", "configmaps", "cm")
    .add("Event", "events", "ev")
    .add("ServiceAccount", "serviceaccounts", "sa")
    .add("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", status=True)
    .add("PersistentVolume", "persistentvolumes", "pv", namespaced=False, status=True),
    _Table("apps", "v1")
    .add("StatefulSet", "statefulsets", "sts", status=True, scale=True, generation=True)
    .add("Deployment", "deployments", "deploy", status=True, scale=True, generation=True)
    .add("ReplicaSet", "replicasets", "rs", status=True, scale=True, generation=True)
    .add("DaemonSet", "daemonsets", "ds", status=True, generation=True)
    .add("ControllerRevision", "controllerrevisions"),
    _Table("policy", "v1").add("PodDisruptionBudget", "poddisruptionbudgets", "pdb", status=True, generation=True),
    _Table("batch", "v1")
    .add("Job", "jobs", status=True, generation=True)
    .add("CronJob", "cronjobs", "cj", status=True, generation=True),
    _Table("discovery.k8s.io", "v1").add("EndpointSlice", "endpointslices"),
    _Table("networking.k8s.io", "v1")
    .add("NetworkPolicy", "networkpolicies", "netpol")
    .add("Ingress", "ingresses", "ing", status=True),
    _Table("rbac.authorization.k8s.io", "v1")
    .add("Role", "roles")
    .add("RoleBinding", "rolebindings")
    .add("ClusterRole", "clusterroles", namespaced=False)
    .add("ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    _Table("coordination.k8s.io", "v1").add("Lease", "leases"),
    _Table("storage.k8s.io", "v1").add("StorageClass", "storageclasses", "sc", namespaced=False),
    _Table("authorization.k8s.io", "v1").add("SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False),
    _Table("argoproj.io", "v1alpha1")
    .add("Workflow", "workflows", "wf", generation=True)
    .add("WorkflowTemplate", "workflowtemplates", "wftmpl", generation=True)
    .add(
        "ClusterWorkflowTemplate",
        "clusterworkflowtemplates",
        "clusterwftmpl",
        "cwft",
        namespaced=False,
        generation=True,
    )
    .add("CronWorkflow", "cronworkflows", "cwf", "cronwf", generation=True)
    .add("WorkflowTaskResult", "workflowtaskresults", generation=True)
    .add("EventSource", "eventsources", "es", status=True, generation=True)
    .add("Sensor", "sensors", "sn", status=True, generation=True)
    .add("EventBus", "eventbus", "eb", status=True, generation=True),
    _Table("mysql.oracle.com", "v2")
    .add("InnoDBCluster", "innodbclusters", "ic", "ics", status=True, generation=True)
    .add("MySQLBackup", "mysqlbackups", "mbk", status=True, generation=True),
    _Table("apiextensions.k8s.io", "v1").add(
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd",
        "crds",
        namespaced=False,
        status=True,
        generation=True,
    ),
)

KINDS: tuple[Kind, ...] = tuple(kind for table in _TABLES for kind in table.kinds)
"""Every kind that the API server serves."""

_BY_PLURAL = {kind.plural: kind for kind in KINDS}
_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
_BY_KIND = {(kind.api_version, kind.kind): kind for kind in KINDS}


def by_plural(plural: str) -> Kind:
    """Return the kind with this plural name.

    Raises:
        KeyError: if the API server does not know it; the message lists what it knows.
    """
    try:
        return _BY_PLURAL[plural]
    except KeyError:
        known = ", ".join(sorted(_BY_PLURAL))
        raise KeyError(f"unknown resource {plural!r}; known plural names: {known}") from None


def by_path(group: str, version: str, plural: str) -> Kind | None:
    """Return the kind that is served at this group, version and plural name, or None."""
    return _BY_PATH.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Kind | None:
    """Return the kind that an object with this ``apiVersion`` and ``kind`` has, or None."""
    return _BY_KIND.get((api_version, kind))
