"""Environment, command and arguments of a container, resolved from its spec as Kubernetes does.

Pure functions of the pod and of the ConfigMaps and Secrets that it names; `references` says which those are.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tiphys.local.kubelet.launch import LaunchError

Object = Mapping[str, Any]
Reference = tuple[str, str]
"""Resource (``configmaps`` or ``secrets``) and name."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$(\$|\([^()\s]+\))")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def references(container: Object) -> set[Reference]:
    """Return the ConfigMaps and Secrets that a container's environment is made from."""
    found: set[Reference] = set()
    for source in container.get("envFrom") or []:
        if "configMapRef" in source:
            found.add(("configmaps", source["configMapRef"]["name"]))
        if "secretRef" in source:
            found.add(("secrets", source["secretRef"]["name"]))
    for item in container.get("env") or []:
        origin = item.get("valueFrom") or {}
        if "configMapKeyRef" in origin:
            found.add(("configmaps", origin["configMapKeyRef"]["name"]))
        if "secretKeyRef" in origin:
            found.add(("secrets", origin["secretKeyRef"]["name"]))
    return found


def names_services(container: Object) -> bool:
    """Tell whether a container's environment asks for the address of a Service, as ``$(DEMO_SERVICE_HOST)``."""
    return any("_SERVICE_HOST)" in str(item.get("value")) for item in container.get("env") or [])


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """Return what Kubernetes tells containers of their namespace's Services: ``DEMO_SERVICE_HOST`` and the port.

    Here they are only put in where a container's own ``env`` names them. There is no DNS on the local platform, so this
    is how a manifest that also runs on a cluster names a Service.
    """
    found: dict[str, str] = {}
    for service in services:
        address, ports = service["spec"].get("clusterIP"), service["spec"].get("ports") or []
        if address and address != "None" and ports:
            name = service["metadata"]["name"].upper().replace("-", "_")
            found |= {f"{name}_SERVICE_HOST": str(address), f"{name}_SERVICE_PORT": str(ports[0]["port"])}
    return found


def contents(obj: Object) -> dict[str, bytes]:
    """Return the keys and values of a ConfigMap or Secret, decoded."""
    data = obj.get("data") or {}
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value or "") for key, value in data.items()}
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return {key: value.encode() for key, value in data.items()} | binary


def resolve(
    container: Object, pod: Object, found: Mapping[Reference, Object], services: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables that a container's spec asks for.

    Args:
        container: the container's spec.
        pod: the pod, with ``status.podIP`` set.
        found: the objects that `references` named, as far as they exist.
        services: from `service_variables`; values may name them.

    Raises:
        LaunchError: a ConfigMap, Secret or key is missing, or a source is not honoured here.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        env.update(_whole(source, found))
    for number, item in enumerate(container.get("env") or []):
        path = f"containers[{container['name']}].env[{number}] ({item['name']})"
        if not _NAME.fullmatch(item["name"]):
            raise LaunchError(f"{path}: the name must match {_NAME.pattern} to pass through a shell")
        if "valueFrom" in item:
            value = _origin(item["valueFrom"], pod, found, path)
            if value is not None:
                env[item["name"]] = value
        else:
            env[item["name"]] = expand(item.get("value") or "", {**(services or {}), **env})
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by its value; unknown names stay as they are and ``$$`` is one dollar sign."""

    def one(match: re.Match[str]) -> str:
        inside = match.group(1)
        if inside == "$":
            return "$"
        return env.get(inside[1:-1], match.group(0))

    return _VARIABLE.sub(one, text)


def field_value(path: str, pod: Object) -> str:
    """Return what a downward API ``fieldRef`` names.

    Raises:
        LaunchError: the field is not one that Kubernetes offers.
    """
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if keyed := _KEYED.fullmatch(path):
        return str((meta.get(keyed.group(1)) or {}).get(keyed.group(2), ""))
    known = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.hostIP": status.get("hostIP", ""),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": status.get("podIP", ""),
    }
    if path not in known:
        raise LaunchError(f"fieldRef {path!r} is not honoured here; known are {', '.join(sorted(known))}")
    return str(known[path])


def _whole(source: Object, found: Mapping[Reference, Object]) -> dict[str, str]:
    resource, field = ("secrets", "secretRef") if "secretRef" in source else ("configmaps", "configMapRef")
    reference = source[field]
    obj = found.get((resource, reference["name"]))
    if obj is None:
        if reference.get("optional"):
            return {}
        raise LaunchError(f"{_singular(resource)} {reference['name']!r} not found (envFrom)")
    prefix = source.get("prefix", "")
    return {
        prefix + key: value.decode()
        for key, value in contents(obj).items()
        if _NAME.fullmatch(prefix + key)  # as Kubernetes: keys that are no variable names are skipped
    }


def _origin(origin: Object, pod: Object, found: Mapping[Reference, Object], path: str) -> str | None:
    if "fieldRef" in origin:
        return field_value(origin["fieldRef"]["fieldPath"], pod)
    for field, resource in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
        if field not in origin:
            continue
        reference = origin[field]
        obj = found.get((resource, reference["name"]))
        values = contents(obj) if obj else {}
        if reference["key"] in values:
            return values[reference["key"]].decode()
        if reference.get("optional"):
            return None
        kind, name = _singular(resource), reference["name"]
        if obj is None:
            raise LaunchError(f"{kind} {name!r} not found")
        raise LaunchError(f"couldn't find key {reference['key']!r} in {kind} {name!r}; it has {sorted(values)}")
    raise LaunchError(f"{path}.valueFrom: {', '.join(origin) or 'nothing'} is not honoured here")


def _singular(resource: str) -> str:
    return {"secrets": "secret", "configmaps": "configmap"}[resource]
