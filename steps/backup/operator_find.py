"""Dumps that others made: a MySQLBackup of the operator by its object's name, or a folder of S3 by its place.

They have no ``tiphys.json``. What they say of themselves is checked (``@.done.json``, lengths, the format's own order
of files), but nobody knows their SHA-256: a changed value in a row would not show.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from steps.backup.layout import DONE, INSTANCE
from steps.backup.manifest import FILE
from steps.backup.objects import Bucket
from steps.backup.operator_object import PLURAL, Seen
from steps.backup.source import S3Source
from steps.errors import BadParameters, StepError
from steps.kube.client import Kube, Object
from steps.log import log
from steps.mysql.connection import query
from steps.parameters import OBJECT_NAME, Text

OBJECT, PLACE = "mysqlbackup/", "s3://"
BACKUP = Text(
    "a backup's name, mysqlbackup/NAME, or s3://BUCKET/FOLDER/",
    "A-Za-z0-9_.:/-",
    500,
    first="a-z0-9",
    last="A-Za-z0-9/",
)
"""What names a backup to `restore`."""


class ForeignSource(S3Source):
    """A dump without a manifest of ours.

    MySQL Shell describes a schema named `tiphys` in a file named as our manifest: such a one is not shown.
    """

    def files(self) -> Mapping[str, int]:
        """List the dump's files and their sizes."""
        return {name: size for name, size in super().files().items() if name != FILE}


def is_foreign(backup: str) -> bool:
    """Whether a reference names a dump by where it lies, and not a backup of ours by its name.

    Raises:
        BadParameters: it is neither.
    """
    if backup.startswith((OBJECT, PLACE)):
        return True
    if not re.fullmatch(OBJECT_NAME.regex[1:-1], backup):
        raise BadParameters(
            f"backup is {backup!r}; expected a backup's name, latest, mysqlbackup/NAME of the operator's object, or "
            "s3://BUCKET/FOLDER/ of any dump of MySQL Shell."
        )
    return False


def find_foreign(kube: Kube, bucket: Bucket, backup: str) -> S3Source:
    """Return the source of a dump that `is_foreign`.

    Args:
        kube: the namespace of the MySQLBackup.
        bucket: the pack's own; others are reached with the same endpoint and keys.
        backup: ``mysqlbackup/NAME`` or ``s3://BUCKET/FOLDER/``.

    Raises:
        StepError: there is none, it is not finished, or it lies where this step does not reach.
    """
    if backup.startswith(OBJECT):
        place, prefix = _of_object(kube, bucket, backup.removeprefix(OBJECT))
    else:
        url = urlsplit(backup)
        place, prefix = url.netloc, url.path.strip("/") + "/"
        if not place or prefix == "/":
            raise BadParameters(f"backup is {backup!r}; expected s3://BUCKET/FOLDER/ with the dump's whole folder.")
    reached = copy.copy(bucket)
    reached.name = place
    source = S3Source(reached, prefix)
    files = source.files()
    if INSTANCE not in files:
        raise BadParameters(f"{source.place} has no {INSTANCE}: there is no dump in this very folder.")
    if FILE in files and "format" in _object(reached.get(prefix + FILE)):
        return source
    if DONE not in files:
        raise StepError(f"{source.place} has no {DONE}: the dump is not finished, or was never. Wait, or take another.")
    log("dump without a manifest", place=source.place, meaning="only lengths are checked: its SHA-256 are not known")
    return ForeignSource(reached, prefix)


def tell_sleeping_events(connection: Any) -> list[str]:
    """Name the events that a dump of a secondary brought back switched off; the dump does not tell which were on.

    Args:
        connection: to the primary that was restored into.
    """
    rows = query(
        connection,
        "SELECT CONCAT(event_schema, '.', event_name) FROM information_schema.events"
        " WHERE status LIKE '%SIDE_DISABLED' ORDER BY 1",
    )
    events = [str(row[0]) for row in rows]
    if events:
        log("events switched off", events=events, why="the dump is of a secondary", next="ALTER EVENT ... ENABLE")
    return events


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        # Damaged, and so perhaps ours: the reader of manifests says what is wrong.
        return {"format": None}
    return found if isinstance(found, dict) else {"format": None}


def _of_object(kube: Kube, bucket: Bucket, name: str) -> tuple[str, str]:
    """Return bucket and key prefix of a MySQLBackup's dump."""
    obj = kube.find(PLURAL, name) if name else None
    if obj is None:
        known = ", ".join(str(each["metadata"]["name"]) for each in kube.all(PLURAL)) or "none"
        raise BadParameters(f"Namespace {kube.namespace} has no MySQLBackup {name!r}; it has: {known}.")
    seen = Seen.of(obj)
    if seen.status != "Completed":
        why = f": {seen.message}" if seen.message else ""
        raise StepError(f"MySQLBackup {name} is {seen.status or 'not begun'}{why}. Only a Completed one is restored.")
    storage = (_profile(kube, obj).get("dumpInstance") or {}).get("storage") or {}
    s3 = storage.get("s3")
    if not s3:
        raise StepError(f"MySQLBackup {name} lies in {', '.join(sorted(storage)) or 'no storage'}; only s3 is read.")
    mine, theirs = str(bucket.client.meta.endpoint_url), str(s3.get("endpoint") or "")
    if theirs and theirs.rstrip("/") != mine.rstrip("/"):
        raise StepError(f"MySQLBackup {name} lies at {theirs}, this step reaches {mine}: copy it, or change tiphys-s3.")
    parts = [str(s3.get("prefix") or "").strip("/"), seen.output]
    return str(s3["bucketName"]), "".join(f"{part}/" for part in parts if part)


def _profile(kube: Kube, obj: Object) -> Object:
    spec: Object = obj["spec"]
    if profile := spec.get("backupProfile"):
        return dict(profile)
    cluster = kube.find("innodbclusters", str(spec.get("clusterName"))) or {"spec": {}}
    profiles = {each.get("name"): each for each in cluster["spec"].get("backupProfiles") or []}
    if (name := spec.get("backupProfileName")) not in profiles:
        raise StepError(
            f"MySQLBackup {obj['metadata']['name']} names the profile {name!r} of InnoDBCluster "
            f"{spec.get('clusterName')}, which is gone: name the dump's place (backup=s3://BUCKET/FOLDER/)."
        )
    return dict(profiles[name])
