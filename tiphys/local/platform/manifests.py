"""The pack's rendered manifests: where they are, and how they are brought into the API server.

What was applied is kept in the annotation that ``kubectl apply`` uses, so that a field that a later version
no longer has is removed, and kubectl can apply the same files over ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import tiphys
from tiphys.local.client import AlreadyExists, ApiError, Kube
from tiphys.local.registry import by_kind
from tiphys.local.settings import NAMESPACE

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap", "Role", "ClusterRole")
LAST = ("CronWorkflow", "EventSource", "Sensor")
"""What starts work comes after what it refers to."""
OWNED_BY_PEOPLE = ("ConfigMap", "Secret")
"""Kinds whose values people change at run time (the drills' kill switch): a change of ours is applied to them,
but a value that we did not change is left as it is."""


class ManifestError(Exception):
    """A manifest cannot be applied; the message names the file or the object."""


@dataclass
class Applied:
    """What applying did: names of objects as ``Kind/name``."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.created)} created, {len(self.changed)} changed, {len(self.unchanged)} unchanged"


def base_folder() -> Path | None:
    """Return the folder of the rendered manifests: beside the package, or installed with it; None if neither."""
    package = Path(tiphys.__file__).parent
    for folder in (package.parent / "manifests" / "base", package / "manifests" / "base"):
        if folder.is_dir() and any(folder.rglob("*.yaml")):
            return folder
    return None


def read_folder(folder: Path) -> list[dict[str, Any]]:
    """Return the objects in `folder`, those that its kustomization names if it has one, in applying order."""
    objects = []
    for file in _files(folder):
        try:
            documents = list(yaml.safe_load_all(file.read_text()))
        except (OSError, yaml.YAMLError) as error:
            raise ManifestError(f"{file} cannot be read: {error}") from error
        for document in documents:
            if document is None:
                continue
            for one in document.get("items", []) if document.get("kind") == "List" else [document]:
                if not (one.get("kind") and one.get("metadata", {}).get("name")):
                    raise ManifestError(f"{file} holds an object without kind or metadata.name")
                objects.append(one)
    return sorted(objects, key=_rank)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the manifest files of a folder, following its kustomization's resources."""
    kustomization = folder / "kustomization.yaml"
    if not kustomization.exists():
        yield from sorted(folder.rglob("*.yaml"))
        return
    for resource in (yaml.safe_load(kustomization.read_text()) or {}).get("resources", []):
        path = folder / resource
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _rank(one: dict[str, Any]) -> int:
    kind = one["kind"]
    if kind in FIRST:
        return FIRST.index(kind)
    return len(FIRST) + (1 + LAST.index(kind) if kind in LAST else 0)


async def apply(kube: Kube, objects: list[dict[str, Any]]) -> Applied:
    """Bring `objects` into the API server: create what is missing, change what differs.

    Raises:
        ManifestError: the API server does not know a kind, or refuses an object.
    """
    done = Applied()
    for one in objects:
        name = f"{one['kind']}/{one['metadata']['name']}"
        try:
            (await _apply(kube, one, done)).append(name)
        except ApiError as error:
            raise ManifestError(f"{name} was refused: {error.message}") from error
    return done


async def _apply(kube: Kube, one: dict[str, Any], done: Applied) -> list[str]:
    """Apply one object and return the list that its name belongs into."""
    kind = by_kind(one.get("apiVersion", ""), one["kind"])
    if kind is None:
        raise ManifestError(
            f"{one['kind']}/{one['metadata']['name']}: the local API server serves no {one['kind']} of "
            f"{one.get('apiVersion')}"
        )
    meta = one["metadata"]
    namespace = (meta.get("namespace") or NAMESPACE) if kind.namespaced else None
    wanted = {**one, "metadata": {**meta, **({"namespace": namespace} if namespace else {})}}
    applied = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    annotated = with_annotation(wanted, applied)
    try:
        await kube.create(kind.plural, annotated)
        return done.created
    except AlreadyExists:
        live = await kube.get(kind.plural, meta["name"], namespace)
    before = json.loads(live["metadata"].get("annotations", {}).get(APPLIED) or "{}")
    current = before if before and one["kind"] in OWNED_BY_PEOPLE else live
    patch = changes(before, wanted, current)
    patch.pop("apiVersion", None)
    patch.pop("kind", None)
    if not patch and before:
        return done.unchanged
    await kube.patch(kind.plural, meta["name"], with_annotation(patch, applied), namespace)
    return done.changed


def with_annotation(one: dict[str, Any], applied: str) -> dict[str, Any]:
    """Return `one` with the annotation that holds what was applied."""
    meta = one.get("metadata", {})
    return {**one, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), APPLIED: applied}}}


def changes(before: dict[str, Any], wanted: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch that brings `live` to `wanted`.

    A field is removed only if it was applied `before` and is wanted no more: what others have added stays.
    """
    patch: dict[str, Any] = {key: None for key in before if key not in wanted and key in live}
    for key, value in wanted.items():
        now = live.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            earlier = before.get(key)
            if inner := changes(earlier if isinstance(earlier, dict) else {}, value, now):
                patch[key] = inner
        elif value != now:
            patch[key] = value
    return patch
