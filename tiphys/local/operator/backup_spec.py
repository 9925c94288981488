"""What a MySQLBackup asks for, and an InnoDBCluster's ``initDB``: read and checked once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tiphys.local.operator.spec import InvalidSpec

LISTS = ("includeSchemas", "excludeSchemas", "includeTables", "excludeTables", "excludeUsers")
OPTIONS = (*LISTS, "threads", "bytesPerChunk")
"""Options of MySQL Shell's dumpInstance() that are honoured here; any other is an error."""

LOAD_OPTIONS = ("threads", "loadUsers", "progressFile")
"""Options of its loadDump(); the operator itself sets progressFile to nothing."""


@dataclass(frozen=True)
class Place:
    """A folder in S3, as the operator's objects name it.

    Attributes:
        bucket: its name.
        prefix: of a backup profile the folder of all its dumps, of initDB the one dump; without a slash at its end.
        secret: name of the Secret whose keys are files of ``~/.aws``: config and credentials.
        profile: of those files.
        endpoint: URL; empty for AWS itself.
    """

    bucket: str
    prefix: str
    secret: str
    profile: str
    endpoint: str

    def folder(self, name: str = "") -> str:
        """Return the key prefix of a dump, with its slash."""
        return "".join(f"{part}/" for part in (self.prefix, name) if part)


@dataclass(frozen=True)
class BackupSpec:
    """The parts of a MySQLBackup that are honoured.

    Attributes:
        cluster: name of the InnoDBCluster.
        output: name of the dump's folder, of the Job, and of the pod.
        place: where its profile puts dumps.
        options: of the dump.
    """

    cluster: str
    output: str
    place: Place
    options: Mapping[str, Any]


@dataclass(frozen=True)
class InitSpec:
    """A new cluster's data: a dump.

    Attributes:
        place: of the dump itself.
        options: of the load.
    """

    place: Place
    options: Mapping[str, Any]


def output_name(backup: Mapping[str, Any]) -> str:
    """Return the name of the dump's folder: the object's, and a time unless it asks for none.

    The time is the object's creation, so that an operator that was killed half-way gives the same name again.
    """
    meta = backup["metadata"]
    if (backup.get("spec") or {}).get("addTimestampToBackupDirectory", True) is False:
        return str(meta["name"])
    return f"{meta['name']}-{datetime.fromisoformat(meta['creationTimestamp']):%Y%m%d-%H%M%S}"


def parse_backup(backup: Mapping[str, Any], cluster: Mapping[str, Any]) -> BackupSpec:
    """Read a MySQLBackup.

    Args:
        backup: the object.
        cluster: the InnoDBCluster that it names.

    Raises:
        InvalidSpec: with the field's path, what was seen and what is expected.
    """
    spec = backup.get("spec") or {}
    profile: Mapping[str, Any] = spec.get("backupProfile") or {}
    name = spec.get("backupProfileName")
    if bool(profile) == bool(name):
        raise InvalidSpec("spec: one of backupProfileName and backupProfile must be set, and not both")
    path = "spec.backupProfile"
    if name:
        profiles = {each.get("name"): each for each in (cluster.get("spec") or {}).get("backupProfiles") or []}
        path = f"spec.backupProfiles[{name}] of InnoDBCluster {cluster['metadata']['name']}"
        if name not in profiles:
            known = ", ".join(sorted(str(each) for each in profiles)) or "none"
            raise InvalidSpec(f"spec.backupProfileName: there is no {name!r}; the cluster's backupProfiles: {known}")
        profile = profiles[name]
    elif not profile.get("name"):
        raise InvalidSpec(f"{path}.name: missing; Oracle's operator reads it, though its schema does not name it")
    if "snapshot" in profile:
        raise InvalidSpec(f"{path}.snapshot: not done, not by Oracle's operator either; use dumpInstance")
    dump = profile.get("dumpInstance")
    if not dump:
        raise InvalidSpec(f"{path}.dumpInstance: missing")
    options = dump.get("dumpOptions") or {}
    _known(options, OPTIONS, f"{path}.dumpInstance.dumpOptions")
    place = _place(dump.get("storage") or {}, f"{path}.dumpInstance.storage")
    return BackupSpec(str(spec.get("clusterName")), output_name(backup), place, options)


def parse_init(cluster: Mapping[str, Any]) -> InitSpec | None:
    """Read an InnoDBCluster's initDB; None where it begins empty.

    Raises:
        InvalidSpec: with the field's path, what was seen and what is expected.
    """
    init = (cluster.get("spec") or {}).get("initDB") or {}
    if not init:
        return None
    if list(init) != ["dump"]:
        raise InvalidSpec(f"spec.initDB: has {', '.join(sorted(init))}; only dump is served by the local platform")
    dump = init["dump"]
    options = dump.get("options") or {}
    _known(options, LOAD_OPTIONS, "spec.initDB.dump.options")
    place = _place(dump.get("storage") or {}, "spec.initDB.dump.storage")
    if not place.prefix:
        raise InvalidSpec("spec.initDB.dump.storage.s3.prefix: missing; it is the dump's whole folder")
    return InitSpec(place, options)


def _known(options: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    if other := sorted(set(options) - set(known)):
        raise InvalidSpec(f"{path}.{other[0]}: not served by the local platform; it knows {', '.join(known)}")


def _place(storage: Mapping[str, Any], path: str) -> Place:
    if list(storage) != ["s3"]:
        seen = ", ".join(sorted(storage)) or "nothing"
        raise InvalidSpec(f"{path}: has {seen}; only s3 is served by the local platform")
    s3 = storage["s3"]
    for key in ("bucketName", "config"):
        if not s3.get(key):
            raise InvalidSpec(f"{path}.s3.{key}: missing")
    return Place(
        bucket=str(s3["bucketName"]),
        prefix=str(s3.get("prefix") or "").strip("/"),
        secret=str(s3["config"]),
        profile=str(s3.get("profile") or "default"),
        endpoint=str(s3.get("endpoint") or ""),
    )
