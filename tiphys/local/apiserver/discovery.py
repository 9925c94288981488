"""Discovery: what a client can ask before it knows anything, /version, /api, /apis and the lists below them."""

from __future__ import annotations

from functools import cache
from typing import Any

from tiphys import __name__ as product
from tiphys.local.registry import KINDS, Kind

GIT_VERSION = "v1.36.0"
"""Kubernetes version whose behaviour is followed."""

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUBRESOURCES: dict[str, tuple[tuple[str, str, str, str, tuple[str, ...]], ...]] = {
    # parent: (subresource, group, version, kind, verbs)
    "pods": (
        ("binding", "", "v1", "Binding", ("create",)),
        ("eviction", "policy", "v1", "Eviction", ("create",)),
        ("exec", "", "v1", "PodExecOptions", ("create", "get")),
        ("log", "", "v1", "Pod", ("get",)),
    ),
    "namespaces": (("finalize", "", "v1", "Namespace", ("update",)),),
}


def _subresources(kind: Kind) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
    found = list(_SUBRESOURCES.get(kind.plural, ()))
    if kind.status:
        found.append(("status", kind.group, kind.version, kind.kind, ("get", "patch", "update")))
    if kind.scale:
        found.append(("scale", "autoscaling", "v1", "Scale", ("get", "patch", "update")))
    return found


def _verbs(kind: Kind) -> tuple[str, ...]:
    return ("create",) if kind.plural == "selfsubjectaccessreviews" else _VERBS


def version() -> dict[str, str]:
    """Return what /version says."""
    major, minor, _ = GIT_VERSION.lstrip("v").split(".")
    return {"major": major, "minor": minor, "gitVersion": f"{GIT_VERSION}+{product}", "platform": "linux/local"}


def core_versions(host: str) -> dict[str, Any]:
    """Return what /api says."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups() -> dict[str, Any]:
    """Return what /apis says."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*pair) for pair in _group_versions()]}


def group(name: str) -> dict[str, Any] | None:
    """Return what /apis/GROUP says, or None if there is no such group."""
    for found, served in _group_versions():
        if found == name:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(found, served)}
    return None


@cache
def resources(group_name: str, served: str) -> dict[str, Any] | None:
    """Return what /api/v1 or /apis/GROUP/VERSION says, or None if it is not served."""
    kinds = [kind for kind in KINDS if (kind.group, kind.version) == (group_name, served)]
    if not kinds:
        return None
    found: list[dict[str, Any]] = []
    for kind in kinds:
        entry: dict[str, Any] = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(_verbs(kind)),
        }
        if kind.short:
            entry["shortNames"] = list(kind.short)
        if kind.plural in ("pods", "services", "statefulsets", "deployments", "replicasets", "daemonsets", "jobs"):
            entry["categories"] = ["all"]
        found.append(entry)
        for name, sub_group, sub_version, sub_kind, verbs in _subresources(kind):
            entry = {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": sub_kind,
                "verbs": list(verbs),
            }
            if (sub_group, sub_version) != (kind.group, kind.version):
                entry |= {"group": sub_group, "version": sub_version}
            found.append(entry)
    served_as = kinds[0].api_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": served_as, "resources": found}


@cache
def aggregated(core: bool) -> dict[str, Any]:
    """Return everything below /api (core) or /apis in one document, as newer clients ask for it."""
    items = []
    for name, served in [("", "v1")] if core else _group_versions():
        kinds = [kind for kind in KINDS if kind.group == name]
        versions = [{"version": served, "freshness": "Current", "resources": [_aggregated(kind) for kind in kinds]}]
        items.append({"metadata": {"name": name} if name else {}, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated(kind: Kind) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(_verbs(kind)),
    }
    if kind.short:
        entry["shortNames"] = list(kind.short)
    below = _subresources(kind)
    if below:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": {"group": sub_group, "version": sub_version, "kind": sub_kind},
                "verbs": list(verbs),
            }
            for name, sub_group, sub_version, sub_kind, verbs in below
        ]
    return entry


def _group_versions() -> list[tuple[str, str]]:
    return list(dict.fromkeys((kind.group, kind.version) for kind in KINDS if kind.group))


def _group(name: str, served: str) -> dict[str, Any]:
    entry = {"groupVersion": f"{name}/{served}", "version": served}
    return {"name": name, "versions": [entry], "preferredVersion": entry}
