"""A backup that the operator makes: asked for, waited for, read back, and sealed with a ``tiphys.json``.

The operator's own object is the state: a step that is started again finds the one of its run and goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from steps.backup import operator_object, operator_seal
from steps.backup.catalogue import ASKED
from steps.backup.inventory import abort, delete_all, uploads
from steps.backup.layout import BadLayout, prefix
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket, NoObject, told
from steps.backup.operator_object import PLURAL, Seen, secret_name
from steps.backup.operator_seal import Origin
from steps.backup.s3_settings import Settings
from steps.errors import BadParameters, StepError, Temporary, TimedOut
from steps.kube.client import CLUSTER_LABEL, Kube, Object
from steps.kube.errors import Conflict, NotFound
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.topology import Topology


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        start: until the operator's job says that it runs: it has an image to pull and a pod to place.
        stall: with no new byte in the bucket.
        look: between two looks at the object.
        progress: between two looks into the bucket, and lines in the log.
        end: until the job's pods are gone after its object is.
    """

    start: float = 300.0
    stall: float = 900.0
    look: float = 1.0
    progress: float = 5.0
    end: float = 90.0


@dataclass(frozen=True)
class Wanted:
    """What the operator is asked for.

    Attributes:
        name: of the backup.
        cluster: its name.
        options: of the dump (`operator_object.dump_options`).
        administrator: the cluster's own account, left out of the dump.
        workflow: that asks; may be empty.
        include: what `options` were made of.
        exclude: likewise.
    """

    name: str
    cluster: str
    options: dict[str, Any]
    administrator: str
    workflow: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def ask(
    kube: Kube,
    topology: Topology,
    credentials: Credentials,
    bucket: Bucket,
    environment: Mapping[str, str],
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    parallel: int,
) -> tuple[Manifest, float]:
    """Do ``backup -p method=operator``: `back_up` of a cluster whose topology is known.

    Raises:
        BadParameters: the operator cannot do what is asked for; nothing was changed.
        Temporary: the group has no primary now.
    """
    if environment.get("TIPHYS_BACKUP_KEY"):
        raise BadParameters(
            "The Secret tiphys-backup-key asks for encrypted backups, and the operator writes plain ones: use "
            "method=tiphys, or take the Secret away if S3's own encryption is enough."
        )
    settings = operator_object.access(environment)
    if settings.write:
        log("settings that the operator does not know", settings=sorted(settings.write), meaning="the bucket's apply")
    options = operator_object.dump_options(include, exclude, parallel)
    if topology.primary is None or not topology.primary.address:
        raise Temporary(f"{topology.cluster} has no primary: {topology.summary()}. Run check-cluster.")
    with session(topology.primary.address, SERVER_PORT, credentials, what="the primary") as connection:
        rows = query(connection, "SELECT event_schema, event_name, status FROM information_schema.events")
    events = {(str(schema), str(name)): str(status) for schema, name, status in rows}

    def uuid_of(pod: str) -> str:
        member = topology.of_pod(pod)
        return member.id if member else ""

    name = f"{topology.cluster}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    workflow = environment.get("TIPHYS_WORKFLOW", "")
    wanted = Wanted(name, topology.cluster, options, credentials.user, workflow, tuple(include), tuple(exclude))
    made, seconds = back_up(kube, bucket, settings, wanted, uuid_of=uuid_of, events=events, parallel=parallel)
    if made.keyless:
        log("tables without a key", tables=made.keyless, meaning="a group refuses their rows when they are restored")
    return made, seconds


def back_up(
    kube: Kube,
    bucket: Bucket,
    settings: Settings,
    wanted: Wanted,
    *,
    uuid_of: Callable[[str], str],
    events: Mapping[tuple[str, str], str] | None = None,
    parallel: int,
    patience: Patience | None = None,
) -> tuple[Manifest, float]:
    """Have the operator back a cluster up; return the backup's manifest, and the seconds it took.

    Args:
        kube: the cluster's namespace.
        bucket: where the backup goes.
        settings: of the same bucket, with the key that the operator is given.
        wanted: what.
        uuid_of: server UUID of a pod by its name, empty where nobody knows.
        events: status on the primary of each event (schema, name).
        parallel: objects that are read back at the same time.
        patience: how long to wait.

    Raises:
        StepError: the operator says that it failed, or what it wrote is damaged. What it wrote is removed.
        TimedOut: it did not begin, or came to a halt.
    """
    started = time.monotonic()
    obj = _mine(kube, wanted) or _ask(kube, bucket, settings, wanted)
    name = str(obj["metadata"]["name"])
    _give_key(kube, obj, settings)
    # If this is killed for good, prune-backups knows by this that what the operator wrote is ours to remove.
    bucket.put(f"{ASKED}/{name}", b"")
    try:
        seen = _wait(kube, bucket, obj, patience or Patience())
        made = _sealed(bucket, name)
        if made is None:
            pod = seen.pod
            server = uuid_of(pod) if pod else ""
            origin = Origin(wanted.cluster, kube.namespace, pod, server, events or {}, wanted.include, wanted.exclude)
            made = operator_seal.seal(bucket, name, origin, parallel=parallel)
    except TimedOut:
        _stop(kube, name, patience or Patience())
        _remove(bucket, name)
        raise
    except (_Failed, BadLayout):
        _remove(bucket, name)
        raise
    finally:
        _delete(kube, "secrets", secret_name(name))
    bucket.delete(f"{ASKED}/{name}")
    # The backup speaks for itself now, and a finished job for each night would pile up.
    _delete(kube, PLURAL, name)
    return made, time.monotonic() - started


class _Failed(StepError):
    """The operator says so."""


def _mine(kube: Kube, wanted: Wanted) -> Object | None:
    """Return the MySQLBackup that this run asked for before it was killed, unless that failed."""
    for obj in kube.all(PLURAL, f"{CLUSTER_LABEL}={wanted.cluster},app.kubernetes.io/managed-by=tiphys"):
        meta = obj["metadata"]
        own = wanted.workflow and (meta.get("annotations") or {}).get(operator_object.WORKFLOW) == wanted.workflow
        status = Seen.of(obj).status
        if own and status != "Error" and not meta.get("deletionTimestamp"):
            log("going on with a MySQLBackup", name=meta["name"], status=status)
            return obj
        if status in ("Completed", "Error"):
            # Of a run that failed or was stopped: nobody needs its key any more.
            log(
                "MySQLBackup of another run",
                name=meta["name"],
                status=status,
                next=f"kubectl delete mbk {meta['name']}",
            )
            _delete(kube, "secrets", secret_name(str(meta["name"])))
    return None


def _ask(kube: Kube, bucket: Bucket, settings: Settings, wanted: Wanted) -> Object:
    if bucket.keys(prefix(wanted.name)):
        raise StepError(f"There is a backup {wanted.name} already, begun in this very second: try again.")
    obj = operator_object.mysql_backup(
        wanted.name, wanted.cluster, settings, wanted.options, wanted.workflow, wanted.administrator
    )
    made = kube.create(PLURAL, obj)
    log("MySQLBackup created", name=wanted.name, options=wanted.options)
    return made


def _give_key(kube: Kube, obj: Object, settings: Settings) -> None:
    """Make the Secret that the job mounts; it is the object's own, so that it never outlives it."""
    if Seen.of(obj).status not in ("Completed", "Error"):
        with suppress(Conflict):
            kube.create("secrets", operator_object.secret(obj, settings))


def _wait(kube: Kube, bucket: Bucket, obj: Object, patience: Patience) -> Seen:
    """Wait for the job's end; progress is what lies in the bucket.

    Raises:
        _Failed: the object's status is Error, or it is gone.
        TimedOut: nothing happens.
    """
    name = str(obj["metadata"]["name"])
    begun = moved = looked = time.monotonic()
    written, status = 0, None
    while True:
        try:
            seen = Seen.of(kube.get(PLURAL, name))
        except NotFound:
            raise _Failed(f"MySQLBackup {name} was deleted while it ran; what it had written is removed.") from None
        now = time.monotonic()
        if seen.status != status:
            log("MySQLBackup", name=name, status=seen.status or "not begun", source=seen.source)
            status, moved = seen.status, now
        if seen.status == "Completed":
            if seen.output != name:
                raise _Failed(f"MySQLBackup {name} wrote to {seen.output!r}, {name!r} was expected: a newer operator?")
            return seen
        if seen.status == "Error":
            raise _Failed(
                f"The operator's backup failed: {seen.message.rstrip('.') or 'its object does not say why'}. See "
                f"`kubectl -n {kube.namespace} describe mbk {name}` and the log of its job; or use method=tiphys."
            )
        if now - looked >= patience.progress:
            looked = now
            if (there := _bytes(bucket, name)) != written:
                written, moved = there, now
            rate = written / max(now - begun, 1e-6)
            log("progress", what=f"operator writes {name}", done=written, unit="bytes", rate=round(rate, 1))
        if not seen.status and now - begun > patience.start:
            raise TimedOut(
                f"The operator has not begun MySQLBackup {name} after {patience.start:.0f} s; it is removed again. "
                "Is the operator up, may its job's pod start (`kubectl get events`), and does it watch this namespace?"
            )
        if seen.status and now - moved > patience.stall:
            raise TimedOut(
                f"MySQLBackup {name} has written nothing for {patience.stall:.0f} s ({written} bytes so far); it is "
                "removed again. See the log of its job, and whether the source server answers."
            )
        time.sleep(patience.look)


def _bytes(bucket: Bucket, name: str) -> int:
    """Return the bytes that a dump has in the bucket, parts of objects on their way included."""
    parts = 0
    for upload in uploads(bucket, prefix(name)):
        # One that is completed meanwhile is an object by now, and counted the next time.
        with suppress(StepError), told(f"list parts of {upload.key}", bucket.name):
            pages = bucket.client.get_paginator("list_parts").paginate(
                Bucket=bucket.name, Key=upload.key, UploadId=upload.id
            )
            parts += sum(int(part["Size"]) for page in pages for part in page.get("Parts", []))
    return sum(bucket.keys(prefix(name)).values()) + parts


def _sealed(bucket: Bucket, name: str) -> Manifest | None:
    """Return the manifest where a run that was killed had come that far."""
    try:
        return Manifest.parse(bucket.get(prefix(name) + FILE))
    except NoObject:
        return None


def _remove(bucket: Bucket, name: str) -> None:
    """Remove what was written: without `tiphys.json` it is no backup."""
    keys = list(bucket.keys(prefix(name)))
    with suppress(StepError):
        delete_all(bucket, keys)
        for upload in uploads(bucket, prefix(name)):
            abort(bucket, upload)
        bucket.delete(f"{ASKED}/{name}")
    log("backup given up", backup=name, files_removed=len(keys))


def _stop(kube: Kube, name: str, patience: Patience) -> None:
    """Delete a MySQLBackup, and with it its job; until that is gone, it may still write."""
    _delete(kube, PLURAL, name)
    until = time.monotonic() + patience.end
    while pods := kube.all("pods", f"job-name={name}"):
        if time.monotonic() > until:
            names = [each["metadata"]["name"] for each in pods]
            log("the job still runs", pods=names, after_seconds=patience.end, meaning="it may write more: prune later")
            return
        time.sleep(patience.look)


def _delete(kube: Kube, resource: str, name: str) -> None:
    with suppress(NotFound):
        kube.delete(resource, name)
