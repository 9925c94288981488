"""The part of kustomize that the pack's overlays use, so that they apply where no kustomize is.

What it does not know is an error, never ignored. A test holds it equal to `kubectl kustomize`.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KUSTOMIZATION = "kustomization.yaml"
CLUSTER_WIDE = frozenset({"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"})
"""Kinds of the pack that are in no namespace."""
_KNOWN = frozenset({"apiVersion", "kind", "namespace", "resources", "components", "patches"})


class KustomizeError(Exception):
    """A kustomization asks for what is not known here, or cannot be read."""


def build(folder: Path, onto: list[Object] | None = None) -> list[Object]:
    """Return the objects that a kustomization describes.

    Args:
        folder: of a Kustomization, or of a Component.
        onto: objects that a Component adds to and changes; they are not changed themselves.

    Raises:
        KustomizeError: a file is missing or cannot be read, or a field is not known here.
    """
    read = _read(folder / KUSTOMIZATION)
    if len(read) != 1:
        raise KustomizeError(f"{folder / KUSTOMIZATION} holds {len(read)} documents; expected one")
    wanted = read[0]
    if unknown := set(wanted) - _KNOWN:
        raise KustomizeError(f"{folder / KUSTOMIZATION}: {', '.join(sorted(unknown))} is not known to `tiphys install`")
    objects = copy.deepcopy(onto or [])
    for name in wanted.get("resources", []):
        path = folder / name
        objects += build(path) if path.is_dir() else _read(path)
    for name in wanted.get("components", []):
        objects = build(folder / name, objects)
    for patch in wanted.get("patches", []):
        _apply(objects, patch, folder)
    if "namespace" in wanted:
        objects = in_namespace(objects, wanted["namespace"])
    return objects


def in_namespace(objects: list[Object], namespace: str) -> list[Object]:
    """Return the objects in a namespace, bindings' accounts and the Namespace itself included."""
    moved = copy.deepcopy(objects)
    before = {one["metadata"]["name"] for one in moved if one["kind"] == "Namespace"}
    for one in moved:
        if one["kind"] == "Namespace":
            one["metadata"]["name"] = namespace
        elif one["kind"] not in CLUSTER_WIDE:
            one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", []):
            if subject["kind"] == "ServiceAccount" and subject.get("namespace") in {*before, namespace}:
                subject["namespace"] = namespace
    return moved


def merged(target: Any, patch: Any) -> Any:
    """Return a value with a JSON merge patch laid over it (RFC 7396): null removes, lists are replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def key_of(one: Object) -> tuple[str, str, str]:
    """Return group, kind and name, by which an object is one and the same in all of an installation."""
    version = str(one["apiVersion"])
    return version.rpartition("/")[0], str(one["kind"]), str(one["metadata"]["name"])


def _read(path: Path) -> list[Object]:
    try:
        return copy.deepcopy(_parsed(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise KustomizeError(f"{path} cannot be read: {error}") from error


@functools.cache
def _parsed(text: str) -> list[Object]:
    # The reader in C takes a tenth of the time of the other, and not every PyYAML has it.
    return list(filter(None, yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))))


def _apply(objects: list[Object], patch: Object, folder: Path) -> None:
    """Lay a patch over the object it names; or, where it has a target, over that one only if it is there."""
    target = patch.get("target")
    if set(patch) - {"target"} != {"path"} or (target is not None and set(target) != {"kind", "name"}):
        seen = f"a patch has {sorted(patch)}" + (f", its target {sorted(target)}" if target else "")
        raise KustomizeError(f"{folder / KUSTOMIZATION}: {seen}; known here are `path`, and `kind` with `name`")
    for document in _read(folder / patch["path"]):
        if target and (document["kind"], document["metadata"]["name"]) != (target["kind"], target["name"]):
            raise KustomizeError(f"{folder / patch['path']} is for another object than its target, {target['name']}")
        found = [index for index, one in enumerate(objects) if key_of(one) == key_of(document)]
        if not found and not target:
            about = f"{document['kind']} {document['metadata']['name']}"
            raise KustomizeError(f"{folder}: a patch is for {about}, which is not there")
        for index in found:
            objects[index] = merged(objects[index], document)
