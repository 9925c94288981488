"""Which backups there are: finished, unfinished and unreadable ones, and how each was last verified.

Reads the head of each ``tiphys.json`` only, several at a time: a whole one of a large backup has megabytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from steps.backup.inventory import AT_ONCE, LostUpload, clock, stored, uploads
from steps.backup.json_head import head_of
from steps.backup.layout import DONE, FOLDER, INSTANCE, BadLayout, loads, prefix
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import FORMAT
from steps.backup.objects import Bucket, NoObject
from steps.backup.s3_errors import patiently
from steps.backup.source import S3Source
from steps.errors import BadParameters, StepError, Temporary
from steps.log import log

VERIFICATIONS = "verifications"
"""Folder of the bucket: what each verification of a backup found, ``verifications/NAME/RUN.json``."""

ASKED = "asked"
"""Folder of the bucket: an object for each dump that we asked the operator for and that is not finished."""

PASS, FAIL = "PASS", "FAIL"
HEAD = 16 * 1024
"""Bytes of a tiphys.json that are read first; what a list shows stands in front of tables and files."""

NAME = re.compile(r"(?P<cluster>[a-z]([a-z0-9-]*[a-z0-9])?)-\d{8}-\d{6}")
"""Name of a backup that this program made."""


@dataclass(frozen=True)
class Verification:
    """What the last verification of a backup found.

    Attributes:
        verdict: PASS, FAIL or what else the verification says.
        at: when it ended.
        rto_seconds: how long the restore took, None where it did not come to its end.
        rpo_seconds: age of the backup when it was verified.
        run: name of the workflow.
        report: key of its report in the bucket.
        full: whether it was restored; otherwise its files were read and no more.
        sound: whether nothing was wrong with the backup; a FAIL may also be a budget that was broken.
    """

    verdict: str
    at: datetime
    rto_seconds: float | None
    rpo_seconds: float | None
    run: str
    report: str
    full: bool = True
    sound: bool = False


@dataclass(frozen=True)
class Backup:
    """One finished backup.

    Attributes:
        name: its folder's name.
        cluster: where it was made.
        namespace: of that cluster.
        begin: the moment that it holds.
        end: when it was finished.
        rows: None where its maker did not count them.
        size: of all objects, in bytes.
        method: who made it: tiphys or operator.
        encryption: how it is encrypted, None where it is not.
        server_version: of the source.
        gtid_executed: the transactions that it holds.
        verification: the last one, None where there was none.
        include: patterns of what was wanted only; empty for everything.
        exclude: patterns of what was left out.
    """

    name: str
    cluster: str
    namespace: str
    begin: datetime
    end: datetime
    rows: int | None
    size: int
    method: str
    encryption: Mapping[str, Any] | None
    server_version: str
    gtid_executed: str
    verification: Verification | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def selection(self) -> str:
        """What of the cluster it holds, in the words that it was asked for with; empty for all."""
        parts = {"include": self.include, "exclude": self.exclude}
        return " ".join(f"{name}={','.join(sorted(found))}" for name, found in parts.items() if found)

    @property
    def verdict(self) -> str:
        """What the last verification says of the backup itself: PASS, FAIL, or empty where it proves neither."""
        found = self.verification
        if found is None or (found.verdict == PASS and not found.full) or (found.verdict == FAIL and found.sound):
            return ""
        return found.verdict


@dataclass(frozen=True)
class Unfinished:
    """A folder without a tiphys.json: a backup that is being made, one that was killed, or somebody else's dump.

    Attributes:
        name: of the folder.
        newest: when its newest object or upload was begun.
        size: bytes of its objects.
        keys: its objects.
        uploads: its open multipart uploads.
        ours: whether this program began it; a dump of MySQL Shell or the operator is not ours to remove.
    """

    name: str
    newest: datetime
    size: int
    keys: tuple[str, ...] = ()
    uploads: tuple[LostUpload, ...] = ()
    ours: bool = True


@dataclass(frozen=True)
class Catalogue:
    """What the bucket holds.

    Attributes:
        at: when it was looked at, by the server's clock.
        backups: the finished ones, the newest moment first.
        unfinished: the others, the newest first.
        unreadable: name, and why its tiphys.json cannot be read: damaged, or of a newer version.
    """

    at: datetime
    backups: list[Backup]
    unfinished: list[Unfinished] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def of(self, cluster: str, namespace: str) -> list[Backup]:
        """Return the finished backups of one cluster, the newest moment first."""
        return [one for one in self.backups if (one.cluster, one.namespace) == (cluster, namespace)]

    def latest(self, cluster: str, namespace: str) -> list[Backup]:
        """Return those of one cluster that `latest` may mean: no copy of a table or two, where there are others."""
        made = self.of(cluster, namespace)
        return [one for one in made if not one.include] or made


def read_catalogue(bucket: Bucket, *, leftovers: bool = True) -> Catalogue:
    """Read what the bucket holds.

    Args:
        bucket: the bucket.
        leftovers: look at the unfinished ones as well, which costs a request for each and one for all uploads.

    Raises:
        Temporary: S3 is away.
        StepError: it refuses.
    """
    at = clock(bucket)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verified = pool.submit(verifications, bucket)
        folders = bucket.folders(f"{FOLDER}/")
        heads = list(pool.map(lambda name: _head_or_why(bucket, name), folders))
        documents = {name: head for name, head in zip(folders, heads, strict=True) if isinstance(head, dict)}
        unreadable = {name: head for name, head in zip(folders, heads, strict=True) if isinstance(head, str)}
        made = []
        for name, document in documents.items():
            try:
                made.append(backup_of(name, document, verified.result().get(name)))
            except BadLayout as error:
                unreadable[name] = str(error)
        unfinished: list[Unfinished] = []
        if leftovers:
            without = [name for name, head in zip(folders, heads, strict=True) if head is None]
            unfinished = _unfinished(bucket, pool, without, set(folders))
    made.sort(key=lambda one: (one.begin, one.name), reverse=True)
    return Catalogue(at, made, unfinished, unreadable)


def finished(bucket: Bucket) -> list[Backup]:
    """Return the finished backups, the newest moment first."""
    return read_catalogue(bucket, leftovers=False).backups


_NEEDED = ("format", "name", "cluster", "namespace", "serverVersion", "gtidExecuted", "begin", "end", "rows", "bytes")


def read_head(bucket: Bucket, name: str) -> dict[str, Any]:
    """Return the leading fields of a backup's tiphys.json.

    Raises:
        NoObject: it has none.
        BadLayout: it is damaged.
    """
    key = prefix(name) + MANIFEST

    def act() -> dict[str, Any]:
        answer = bucket.client.get_object(Bucket=bucket.name, Key=key, Range=f"bytes=0-{HEAD - 1}")
        return head_of(answer["Body"].read())

    found = patiently(f"read {key}", bucket.name, act)
    return found if all(field in found for field in _NEEDED) else loads(MANIFEST, bucket.get(key))


def _head_or_why(bucket: Bucket, name: str) -> dict[str, Any] | str | None:
    try:
        return read_head(bucket, name)
    except NoObject:
        return None
    except BadLayout as error:
        return str(error)
    except Temporary:
        raise
    except StepError as error:
        if "InvalidRange" in str(error):  # an object without a byte
            return f"{MANIFEST} is empty"
        raise


def backup_of(name: str, document: Mapping[str, Any], verification: Verification | None = None) -> Backup:
    """Return what the head of a tiphys.json tells.

    Args:
        name: of the folder.
        document: the head.
        verification: the backup's last one.

    Raises:
        BadLayout: it is damaged, of a newer version, or of another backup.
    """
    if document.get("format") != FORMAT:
        raise BadLayout(f"{MANIFEST} has format {document.get('format')!r}, this program reads {FORMAT}")
    if document.get("name") != name:
        raise BadLayout(f"{MANIFEST} is of the backup {document.get('name')!r:.80}: was the folder renamed?")
    try:
        rows = document["rows"]
        return Backup(
            name=name,
            cluster=str(document["cluster"]),
            namespace=str(document["namespace"]),
            begin=moment(str(document["begin"])),
            end=moment(str(document["end"])),
            rows=None if rows is None else int(rows),
            size=int(document["bytes"]),
            method=str(document.get("method") or "tiphys"),
            encryption=document.get("encryption") or None,
            server_version=str(document["serverVersion"]),
            gtid_executed=str(document["gtidExecuted"]),
            verification=verification,
            include=tuple(str(each) for each in document.get("include") or ()),
            exclude=tuple(str(each) for each in document.get("exclude") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadLayout(f"{MANIFEST} is damaged: {type(error).__name__} {error}") from error


def moment(text: str) -> datetime:
    """Return an ISO time; UTC where it names no zone."""
    made = datetime.fromisoformat(text)
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def verifications(bucket: Bucket) -> dict[str, Verification]:
    """Return the last verification of each backup that has one, by its name.

    One that only read the files, and found nothing wrong with them, does not hide one that restored it.
    """
    keys = [one.key for one in stored(bucket, f"{VERIFICATIONS}/") if one.key.endswith(".json")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = list(pool.map(lambda key: _verification(bucket, key), keys))
    found: dict[str, Verification] = {}
    for key, one in zip(keys, made, strict=True):
        name = key.split("/")[1]
        if one and (name not in found or _weight(one) > _weight(found[name])):
            found[name] = one
    return found


def _weight(one: Verification) -> tuple[bool, datetime]:
    return one.full or (one.verdict != PASS and not one.sound), one.at


def _verification(bucket: Bucket, key: str) -> Verification | None:
    try:
        document = loads(key, bucket.get(key))
        rto, rpo = (document.get(key) for key in ("rtoSeconds", "rpoSeconds"))
        return Verification(
            verdict=str(document["verdict"]),
            at=moment(str(document["at"])),
            rto_seconds=None if rto is None else float(rto),
            rpo_seconds=None if rpo is None else float(rpo),
            run=str(document.get("run") or ""),
            report=str(document.get("report") or ""),
            full=document.get("mode", "full") == "full",
            sound=bool(document.get("sound", False)),
        )
    except (NoObject, BadLayout, KeyError, TypeError, ValueError) as error:
        log("verification-not-read", key=key, why=str(error))
        return None


def _unfinished(
    bucket: Bucket, pool: ThreadPoolExecutor, without: Sequence[str], folders: set[str]
) -> list[Unfinished]:
    """Return the folders without a tiphys.json; an upload may be all that there is of one, and then it is no folder."""
    open_uploads: dict[str, list[LostUpload]] = {}
    for upload in uploads(bucket, f"{FOLDER}/"):
        open_uploads.setdefault(upload.key.split("/")[1], []).append(upload)
    names = sorted({*without, *(set(open_uploads) - folders)})
    found = pool.map(lambda name: _unfinished_one(bucket, name, tuple(open_uploads.get(name, ()))), names)
    return sorted((one for one in found if one), key=lambda one: one.newest, reverse=True)


def _unfinished_one(bucket: Bucket, name: str, lost: tuple[LostUpload, ...]) -> Unfinished | None:
    objects = stored(bucket, prefix(name))
    keys = tuple(one.key for one in objects)
    if prefix(name) + MANIFEST in keys or not (objects or lost):
        return None  # finished, or removed, while we looked
    newest = max([*(one.modified for one in objects), *(one.begun for one in lost)])
    return Unfinished(name, newest, sum(one.size for one in objects), keys, lost, _is_ours(bucket, name, keys))


def _is_ours(bucket: Bucket, name: str, keys: Sequence[str]) -> bool:
    """Tell whether this program began a folder, or had the operator begin it.

    Its ``@.json`` says so, or has not been written and the name fits; of the operator's dumps, an object of ours does.
    """
    if f"{ASKED}/{name}" in bucket.keys(f"{ASKED}/{name}"):
        return True
    try:
        if prefix(name) + INSTANCE in keys:
            return str(loads(INSTANCE, bucket.get(prefix(name) + INSTANCE)).get("dumper", "")).startswith("tiphys ")
    except (NoObject, BadLayout):
        return False
    return NAME.fullmatch(name) is not None and prefix(name) + DONE not in keys


def find(bucket: Bucket, backup: str, cluster: str, namespace: str) -> S3Source:
    """Return the source of a backup by its name, or of a cluster's newest one for ``latest``.

    The newest is that of the newest moment, of the same cluster in the same namespace; one that was told to `include`
    a part only, where all were.

    Raises:
        BadParameters: there is none of this name.
        StepError: it is not finished, or the cluster has none.
    """
    if backup == "latest":
        catalogue = read_catalogue(bucket, leftovers=False)
        for name, why in catalogue.unreadable.items():
            log("backup-not-read", backup=name, why=why)
        if made := catalogue.latest(cluster, namespace):
            return S3Source(bucket, prefix(made[0].name))
        raise StepError(
            f"s3://{bucket.name}/{FOLDER}/ holds no finished backup of {namespace}/{cluster}. Name a backup of another "
            "cluster (backup=NAME), or make one."
        )
    keys = bucket.keys(prefix(backup))
    if not keys:
        raise BadParameters(f"s3://{bucket.name}/ has no backup {backup}. {_newest(bucket, cluster, namespace)}")
    if prefix(backup) + MANIFEST not in keys and _is_ours(bucket, backup, list(keys)):
        raise StepError(
            f"{backup} was never finished, or is being removed: it has no {MANIFEST}, and may lack anything. "
            f"{_newest(bucket, cluster, namespace)}"
        )
    return S3Source(bucket, prefix(backup))


def _newest(bucket: Bucket, cluster: str, namespace: str) -> str:
    made = read_catalogue(bucket, leftovers=False)
    names = [one.name for one in made.of(cluster, namespace)[:3]]
    if names:
        return f"The newest of {namespace}/{cluster}: {', '.join(names)}."
    names = [one.name for one in made.backups[:3]]
    others = f"; the newest of all: {', '.join(names)}" if names else ", and nobody has"
    return f"{namespace}/{cluster} has no finished one{others}."
