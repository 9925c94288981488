"""The requests of an install: any kind of object that the cluster knows, server-side apply, with or without effect."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tiphys.runs.api import Cluster
from tiphys.runs.errors import Busy, Conflict, NotFound, ToolError

Object = dict[str, Any]

MANAGER = "tiphys"
"""Field manager of all that an install applies."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try."""
APPLY = "application/apply-patch+yaml"


class UnknownKind(ToolError):
    """The cluster has no such kind."""


@dataclass(frozen=True)
class Resource:
    """How a kind is asked for.

    Attributes:
        root: path of its group and version, such as ``/apis/apps/v1``.
        plural: its name in paths.
        namespaced: whether its objects are in namespaces.
        kind: its kind.
        verbs: what the API server offers for it.
    """

    root: str
    plural: str
    namespaced: bool
    kind: str
    verbs: frozenset[str]

    @property
    def group(self) -> str:
        """Return the API group; "" is the core one."""
        return self.root.split("/")[2] if self.root.startswith("/apis/") else ""

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of an object, or of all of a namespace (or of the cluster)."""
        where = f"{self.root}/namespaces/{namespace}" if self.namespaced else self.root
        return f"{where}/{self.plural}" + (f"/{quote(name)}" if name else "")


class Kube:
    """A cluster, seen by kind. Its methods raise :class:`ToolError` and its subclasses; threads may share it."""

    def __init__(self, cluster: Cluster, namespace: str):
        """Ask nothing yet.

        Args:
            cluster: whose connection is used.
            namespace: of the installation.
        """
        self.cluster = cluster
        self.namespace = namespace
        self._resources: dict[str, list[Resource]] = {}
        self._lock = threading.Lock()

    def call(self, method: str, path: str, body: Object | None = None, **more: Any) -> Object:
        """Send a request; one for which the API server is too busy, as after new CRDs, is sent again."""
        for pause in PAUSES:
            try:
                return self.cluster.call(method, path, body, **more)
            except Busy:
                time.sleep(pause)
        return self.cluster.call(method, path, body, **more)

    def of_version(self, api_version: str) -> list[Resource]:
        """Return the resources of a group and version; none where the cluster does not have it."""
        with self._lock:
            if api_version not in self._resources:
                root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
                try:
                    listed = self.call("GET", root).get("resources") or []
                except NotFound:
                    listed = []
                self._resources[api_version] = [
                    Resource(root, one["name"], bool(one["namespaced"]), one["kind"], frozenset(one["verbs"]))
                    for one in listed
                    if "/" not in one["name"]
                ]
            return self._resources[api_version]

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return how a kind is asked for.

        Raises:
            UnknownKind: the cluster does not have it.
        """
        for one in self.of_version(api_version):
            if one.kind == kind:
                return one
        raise UnknownKind(f"the cluster knows no {kind} of {api_version}; `tiphys doctor` says what is missing")

    def preferred(self) -> dict[str, str]:
        """Return the version that the cluster prefers of each group: ``{"": "v1", "apps": "apps/v1", ...}``."""
        groups = self.call("GET", "/apis").get("groups") or []
        return {"": "v1"} | {one["name"]: one["preferredVersion"]["groupVersion"] for one in groups}

    def path_of(self, one: Object) -> str:
        """Return the path of an object."""
        found = self.resource(one["apiVersion"], one["kind"])
        return found.path(one["metadata"].get("namespace") or self.namespace, one["metadata"]["name"])

    def find(self, one: Object) -> Object | None:
        """Return an object as it is now, or None."""
        try:
            return self.call("GET", self.path_of(one))
        except NotFound:
            return None

    def apply(self, one: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Apply an object and return what it is now, or would be.

        Raises:
            Conflict: somebody else has set one of its fields to something else, and `force` is not set.
        """
        query = {"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self.call("PATCH", self.path_of(one), one, query=query, content_type=APPLY)

    def create(self, one: Object) -> bool:
        """Create an object; tell whether it is new."""
        found = self.resource(one["apiVersion"], one["kind"])
        path = found.path(one["metadata"].get("namespace") or self.namespace)
        try:
            self.call("POST", path, one, query={"fieldManager": MANAGER})
        except Conflict:
            return False
        return True

    def delete(self, live: Object) -> None:
        """Delete an object, if it is still the very one that was seen; one that is gone is no error."""
        meta = live["metadata"]
        wanted = {"uid": meta["uid"]} if "uid" in meta else {}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        with contextlib.suppress(NotFound):
            self.call("DELETE", self.path_of(live), {**options, "preconditions": wanted})

    def all(self, found: Resource, labels: str = "", namespace: str | None = None) -> list[Object]:
        """Return the objects of a kind in the installation's namespace, or of the cluster, with their kind."""
        path = found.path(namespace or self.namespace)
        answer = self.call("GET", path, query={"labelSelector": labels} if labels else None)
        version = found.root.removeprefix("/apis/").removeprefix("/api/")
        return [{"apiVersion": version, "kind": found.kind, **one} for one in answer.get("items") or []]

    def may(self, verb: str, group: str, resource: str, namespace: str = "", name: str = "") -> bool:
        """Tell whether the person may do something."""
        main, _, sub = resource.partition("/")
        wanted = {"verb": verb, "group": group, "resource": main, "subresource": sub}
        wanted |= {"namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in wanted.items() if value}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self.call("POST", path, review)["status"].get("allowed"))


def shown(one: Object) -> str:
    """Return an object's kind and name as people write them."""
    return f"{one['kind']}/{one['metadata']['name']}"


def without_noise(one: Object) -> Object:
    """Return an object without what the API server keeps in it for itself, for comparing and for reading."""
    kept: Object = json.loads(json.dumps(one))
    kept.pop("status", None)
    for key in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"):
        kept["metadata"].pop(key, None)
    return kept
