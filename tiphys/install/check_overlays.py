"""Whether the cluster has what the chosen overlays build on: nodes for the bus, ingress controller, certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.install.findings import ERROR, OK, WARNING, Finding
from tiphys.install.kube import Kube, UnknownKind
from tiphys.install.pack import certificates
from tiphys.runs.errors import Forbidden

Object = dict[str, Any]


def look(kube: Kube, objects: list[Object]) -> Iterator[Finding]:
    """Yield what was found for each object that needs more than Argo."""
    for one in objects:
        if one["kind"] == "EventBus" and (replicas := one["spec"]["jetstream"].get("replicas", 1)) > 1:
            yield _nodes(kube, int(replicas))
        for name in sorted(certificates(one)):
            yield from _certificate(kube, name, f"the webhook's pods, {one['metadata']['name']}", ERROR)
        if one["kind"] == "Ingress":
            yield from _ingress(kube, one)


def _nodes(kube: Kube, replicas: int) -> Finding:
    try:
        nodes = kube.all(kube.resource("v1", "Node"))
    except Forbidden:
        return Finding("nodes", WARNING, f"the event bus wants {replicas} nodes; you may not count them")
    if len(nodes) < replicas:
        text = f"the event bus wants {replicas} nodes for its replicas, there are {len(nodes)}"
        return Finding("nodes", WARNING, text, ("for a small cluster: tiphys install --overlay single-node",))
    return Finding("nodes", OK, f"{len(nodes)}, for {replicas} replicas of the event bus")


def _ingress(kube: Kube, ingress: Object) -> Iterator[Finding]:
    wanted = ingress["spec"]["ingressClassName"]
    try:
        listed = kube.all(kube.resource("networking.k8s.io/v1", "IngressClass"))
    except (Forbidden, UnknownKind):
        yield Finding("ingress-class", WARNING, f"you may not look whether there is an ingress class {wanted}")
        return
    names = sorted(one["metadata"]["name"] for one in listed)
    if wanted in names:
        yield Finding("ingress-class", OK, wanted)
    else:
        text = f"no ingress class {wanted}, so nobody serves the Ingress (there is: {', '.join(names) or 'none'})"
        yield Finding("ingress-class", ERROR, text, ("install the ingress controller of that overlay",))
    for tls in ingress["spec"].get("tls", []):
        if name := tls.get("secretName"):
            yield from _certificate(kube, name, ", ".join(tls["hosts"]), WARNING)


def _certificate(kube: Kube, name: str, of: str, level: str) -> Iterator[Finding]:
    if kube.find(_secret(name)) is None:
        text = f"no Secret {name} in {kube.namespace} with the certificate of {of}"
        fix = f"kubectl -n {kube.namespace} create secret tls {name} --cert FILE --key FILE"
        yield Finding("certificate", level, text, (fix, "or let cert-manager make it (docs/install.md)"))


def _secret(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
