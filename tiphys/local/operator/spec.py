"""What an InnoDBCluster asks for, read and checked once."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.local.operator import names

MAX_NAME = 28
"""Oracle's operator refuses longer names, since names of other objects are made from it."""

TESTED = "9.7.4"
"""The version of a cluster that names none, where nothing else is known."""

_GROUP_NAMESPACE = uuid.UUID("5f2c8a51-7c0e-4a7e-9d63-6c8f7b1f6a10")


class InvalidSpec(Exception):
    """The InnoDBCluster asks for what cannot be; the message names the field."""


@dataclass(frozen=True)
class ClusterSpec:
    """The parts of an InnoDBCluster that are honoured.

    Attributes:
        name: the cluster's name.
        namespace: where it lives.
        uid: uid of the InnoDBCluster object.
        secret_name: Secret with the root account.
        instances: how many servers.
        routers: how many Routers.
        base_server_id: server_id of ordinal 0.
        version: MySQL's version, as image tag.
        router_version: the Routers' where that is another.
        mycnf: configuration for mysqld, honoured at creation only.
        claim: what is laid over the volume claim template's spec.
        pod: what is laid over the server pods' spec, and their labels and annotations.
        router_pod: the same for Router pods.
    """

    name: str
    namespace: str
    uid: str
    secret_name: str
    instances: int
    routers: int
    base_server_id: int
    version: str
    mycnf: str
    router_version: str = ""
    claim: Mapping[str, Any] = field(default_factory=dict)
    pod: Mapping[str, Any] = field(default_factory=dict)
    router_pod: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group_name(self) -> str:
        """The replication group's UUID: always the same for one InnoDBCluster, whoever asks."""
        return str(uuid.uuid5(_GROUP_NAMESPACE, self.uid))


def parse(obj: Mapping[str, Any]) -> ClusterSpec:
    """Read an InnoDBCluster.

    Raises:
        InvalidSpec: with the field's path, what was seen and what is expected.
    """
    meta, spec = obj["metadata"], obj.get("spec") or {}
    name = meta["name"]
    if len(name) > MAX_NAME:
        raise InvalidSpec(f"metadata.name: {name!r} has {len(name)} characters, at most {MAX_NAME} are allowed")
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        raise InvalidSpec(f"metadata.name: {name!r} must be lower-case letters, digits and hyphens")
    if not spec.get("secretName"):
        raise InvalidSpec("spec.secretName: missing; name a Secret with rootUser, rootHost and rootPassword")
    instances = _number(spec.get("instances", 1), "spec.instances", 1, 9)
    router = spec.get("router") or {}
    return ClusterSpec(
        name=name,
        namespace=meta["namespace"],
        uid=meta["uid"],
        secret_name=str(spec["secretName"]),
        instances=instances,
        routers=_number(router.get("instances", 1), "spec.router.instances", 0, 100),
        base_server_id=_number(spec.get("baseServerId", 1000), "spec.baseServerId", 0, 4294967195),
        version=str(spec.get("version") or recorded_version(obj) or TESTED),
        router_version=str(router.get("version") or ""),
        mycnf=str(spec.get("mycnf") or ""),
        claim=spec.get("datadirVolumeClaimTemplate") or {},
        pod=_overlay(spec, "podSpec", "podLabels", "podAnnotations"),
        router_pod=_overlay(router, "podSpec", "podLabels", "podAnnotations"),
    )


def recorded_version(obj: Mapping[str, Any]) -> str:
    """Return the version that an InnoDBCluster was last given by the operator; empty before its first look."""
    text = (obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_SPEC)
    return str(json.loads(text)["version"]) if text else ""


def _number(value: Any, path: str, lowest: int, highest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InvalidSpec(f"{path}: {value!r} is not a whole number from {lowest} to {highest}")
    return value


def _overlay(spec: Mapping[str, Any], pod: str, labels: str, annotations: str) -> Mapping[str, Any]:
    meta = {"labels": spec.get(labels) or {}, "annotations": spec.get(annotations) or {}}
    return {"metadata": meta, "spec": spec.get(pod) or {}}


def merged(base: Any, over: Any, path: str = "") -> Any:
    """Return `base` with `over` laid on it: dicts by key, containers and volumes by name, other lists whole."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        keys = [*base, *(key for key in over if key not in base)]
        return {
            key: merged(base[key], over[key], key) if key in base and key in over else {**base, **over}[key]
            for key in keys
        }
    if path in ("containers", "initContainers", "volumes", "env") and isinstance(base, list) and over:
        names = {item["name"]: item for item in over}
        kept = [merged(item, names.pop(item["name"])) if item["name"] in names else item for item in base]
        return [*kept, *names.values()]
    return over
