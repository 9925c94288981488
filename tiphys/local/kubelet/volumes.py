"""Volumes of a pod as folders: claims, empty folders, and files made from ConfigMaps and Secrets.

Files made from ConfigMaps and Secrets are written anew at each start of a container that mounts them; a change
in between is not carried into a running pod (Kubernetes does that after a minute or so).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tiphys.local.kubelet.environment import Object, Reference, contents, field_value
from tiphys.local.kubelet.launch import LaunchError
from tiphys.local.settings import POD_VOLUMES, Settings


def mounted(pod: Object, container: Object) -> list[tuple[str, Object]]:
    """Return the mount paths of a container with their volumes.

    Raises:
        LaunchError: a mount names no volume of the pod, or wants what is not honoured here.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    found = []
    for number, mount in enumerate(container.get("volumeMounts") or []):
        path = f"containers[{container['name']}].volumeMounts[{number}]"
        if mount["name"] not in volumes:
            raise LaunchError(f"{path}.name: the pod has no volume {mount['name']!r}; it has {sorted(volumes)}")
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                raise LaunchError(f"{path}.{field} is not honoured here: mount the whole volume")
        found.append((mount["mountPath"], volumes[mount["name"]]))
    return found


def volume_references(volumes: Iterable[Object]) -> set[Reference]:
    """Return the ConfigMaps and Secrets that volumes are made from."""
    found: set[Reference] = set()
    for volume in volumes:
        for source in (volume.get("projected") or {}).get("sources") or [volume]:
            if "configMap" in source:
                found.add(("configmaps", source["configMap"]["name"]))
            if "secret" in source:
                found.add(("secrets", _secret_name(source["secret"])))
    return found


def prepare(pod: Object, container: Object, settings: Settings, found: Mapping[Reference, Object]) -> dict[str, Path]:
    """Make the folders of a container's volumes and show them in the pod's file root; return path to folder.

    Raises:
        LaunchError: a source is missing or not honoured, or two volumes want the same path.
    """
    folder = settings.pod_folder(pod["metadata"]["uid"])
    mounts = {}
    for path, volume in mounted(pod, container):
        target = _folder(pod, volume, settings, folder)
        _fill(pod, volume, target, found)
        mounts[path] = target
        _show(folder / "root", path, target)
    return mounts


def _folder(pod: Object, volume: Object, settings: Settings, folder: Path) -> Path:
    if claim := volume.get("persistentVolumeClaim"):
        target = settings.claim_folder(pod["metadata"]["namespace"], claim["claimName"])
    else:
        target = folder / POD_VOLUMES / volume["name"]
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    return target


def _fill(pod: Object, volume: Object, target: Path, found: Mapping[Reference, Object]) -> None:
    kinds = [key for key in volume if key != "name"]
    if not kinds or kinds[0] in ("emptyDir", "persistentVolumeClaim"):
        return
    files: dict[str, tuple[bytes, int]] = {}
    sources = volume["projected"].get("sources") or [] if kinds[0] == "projected" else [volume]
    mode = volume[kinds[0]].get("defaultMode")
    for source in sources:
        files.update(_source_files(pod, source, f"volumes[{volume['name']}]", mode, found))
    for name, (data, permissions) in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data, permissions)
    for path in target.rglob("*"):
        if path.is_file() and str(path.relative_to(target)) not in files:
            path.unlink()


def _source_files(
    pod: Object, source: Object, path: str, mode: int | None, found: Mapping[Reference, Object]
) -> dict[str, tuple[bytes, int]]:
    if "downwardAPI" in source:
        items = source["downwardAPI"].get("items") or []
        return {item["path"]: (field_value(item["fieldRef"]["fieldPath"], pod).encode(), 0o644) for item in items}
    for field, resource, default in (("configMap", "configmaps", 0o644), ("secret", "secrets", 0o600)):
        if field not in source:
            continue
        spec = source[field]
        name = _secret_name(spec) if field == "secret" else spec["name"]
        obj = found.get((resource, name))
        if obj is None:
            if spec.get("optional"):
                return {}
            raise LaunchError(f"MountVolume.SetUp failed for {path}: {field.lower()} {name!r} not found")
        values = contents(obj)
        items = spec.get("items")
        if items is None:
            return {key: (value, mode or default) for key, value in values.items()}
        missing = [item["key"] for item in items if item["key"] not in values]
        if missing and not spec.get("optional"):
            raise LaunchError(f"{path}: {field.lower()} {name!r} has no key {missing[0]!r}; it has {sorted(values)}")
        return {
            item["path"]: (values[item["key"]], item.get("mode") or mode or default)
            for item in items
            if item["key"] in values
        }
    raise LaunchError(f"{path}: {', '.join(key for key in source if key != 'name')} is not honoured here")


def _write(path: Path, data: bytes, permissions: int) -> None:
    """Write a file whole, so that a running program never reads half of it."""
    temporary = path.with_name(f".{path.name}.tiphys-new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.chmod(permissions)
    temporary.replace(path)


def _show(root: Path, mount_path: str, target: Path) -> None:
    """Make the volume visible at its mount path under the pod's file root."""
    link = root / mount_path.strip("/")
    if link == root or ".." in link.parts:
        raise LaunchError(f"mountPath {mount_path!r} must be a folder below /, without '..'")
    if link.is_symlink():
        if link.readlink() == target:
            return
        raise LaunchError(
            f"mountPath {mount_path!r} is another volume in another container of this pod "
            f"({link.readlink().name} and {target.name}): containers share one file root here; use another path"
        )
    if link.exists():
        if any(link.iterdir()):
            raise LaunchError(f"mountPath {mount_path!r} already holds files in the pod's file root")
        link.rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _secret_name(source: Mapping[str, Any]) -> str:
    return str(source.get("secretName") or source.get("name"))
