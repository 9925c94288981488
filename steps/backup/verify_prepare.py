"""Step `verify-prepare`: which backup is verified, with what questions, and where; changes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import click

from steps.backup import verify_queries
from steps.backup.catalogue import find, moment
from steps.backup.encryption import Cipher, Keyring, Undecipherable
from steps.backup.layout import BadLayout, loads
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import FORMAT, Manifest
from steps.backup.objects import Bucket, NoObject
from steps.backup.readers import reading
from steps.backup.verify_expect import DURATION, duration
from steps.backup.verify_queries import Question
from steps.backup.verify_record import ORDER, Order, dump, now, seconds_between
from steps.backup.verify_scratch import scratch_name
from steps.declare import artifact, option, outputs_folder, parameter, step, target_options
from steps.errors import BadParameters
from steps.kube import client
from steps.kube.client import Kube
from steps.log import log
from steps.parameters import OBJECT_NAME


@dataclass(frozen=True)
class Prepared:
    """What is going to be done."""

    backup: str = parameter("Name of the backup that is verified.", is_global=True)
    rpo_seconds: float | None = parameter("Age of what the backup holds, at the start.", is_global=True)
    full: bool = parameter("Whether it is going to be restored.")
    order: Path = artifact("Everything that the other steps need to know.", ORDER)


@step("verify-prepare")
@target_options
@option(
    "--backup", type=OBJECT_NAME, default="latest", help="Name of the backup; latest is the cluster's newest finished."
)
@option(
    "--mode",
    type=click.Choice(["full", "objects"]),
    default="full",
    help="Restore it into a scratch cluster and check everything (full), or only read its files, without a server.",
)
@option("--servers", type=click.IntRange(1, 9), default=1, help="Number of servers of the scratch cluster.")
@option(
    "--queries",
    type=OBJECT_NAME,
    default=None,
    help="ConfigMap with queries and what they must answer. Empty takes CLUSTER-verify-queries where it exists.",
)
@option("--query-seconds", type=click.IntRange(1, 3600), default=60, help="How long each query may take, in seconds.")
@option(
    "--max-rto",
    type=DURATION,
    default=None,
    help="Verdict FAIL where the data is usable later than this after a cluster was asked for, such as 15m. Empty only "
    "measures it.",
)
@option(
    "--max-age",
    type=DURATION,
    default=None,
    help="Verdict FAIL where what the backup holds is older than this, such as 26h. Empty only measures it.",
)
@option(
    "--parallel", type=click.IntRange(1, 32), default=4, help="Number of connections that load, and that read back."
)
@option(
    "--timeout-seconds",
    type=click.IntRange(30, 7200),
    default=900,
    help="How long the scratch cluster may take to come up, in seconds.",
)
def verify_prepare(
    namespace: str,
    cluster: str,
    backup: str,
    mode: str,
    servers: int,
    queries: str | None,
    query_seconds: int,
    max_rto: str | None,
    max_age: str | None,
    parallel: int,
    timeout_seconds: int,
) -> Prepared:
    """Find the backup and the user's queries, and check every parameter, before anything is made."""
    kube = client.connect(namespace)
    # A budget that is no length of time is told now, not after the restore.
    budgets = [None if text is None else duration(text) for text in (max_rto, max_age)]
    queries_from, questions = ("", []) if mode == "objects" else read_questions(kube, cluster, queries)
    run = os.environ.get("TIPHYS_WORKFLOW") or f"by-hand-{os.getpid()}"
    bucket = Bucket.from_environment(connections=4)
    try:
        source = find(bucket, backup, cluster, namespace)
        name = source.prefix.rstrip("/").rpartition("/")[2]
        order = Order(
            run=run,
            namespace=namespace,
            cluster=cluster,
            backup=name,
            place=source.place,
            mode=mode,
            started_at=now(),
            program=version("tiphys"),
            scratch=scratch_name(cluster, run),
            servers=servers,
            parallel=parallel,
            timeout_seconds=timeout_seconds,
            query_seconds=query_seconds,
            max_rto=budgets[0],
            max_age=budgets[1],
            queries_from=queries_from,
            questions=tuple(questions),
        )
        # The steps that follow read on: nobody may remove the backup between two of them.
        with reading(bucket, name, run, lingers=True):
            order = described(order, read_manifest(bucket, source.prefix + MANIFEST, name, locked=mode == "objects"))
    finally:
        bucket.close()
    log(
        "to be verified",
        backup=order.backup,
        moment=order.moment,
        age_seconds=order.age_seconds,
        rows=order.rows,
        bytes=order.bytes,
        queries=len(order.questions),
        problem=order.problem,
    )
    path = outputs_folder() / ORDER
    path.write_bytes(dump(order))
    age = order.age_seconds if order.moment else None
    return Prepared(order.backup, age, mode == "full" and not order.problem, path)


def read_manifest(bucket: Bucket, key: str, backup: str, *, locked: bool = False) -> Manifest | str:
    """Return a backup's manifest, or why it is damaged.

    Args:
        bucket: where it lies.
        key: of the object.
        backup: its name.
        locked: it need not be decipherable: only its files are looked at.

    Raises:
        BadParameters: there is none, or it is of a newer version: that proves nothing of the backup.
        StepError: it is encrypted, and the key is not the one: neither does that.
    """
    try:
        content = bucket.get(key)
    except NoObject:
        raise BadParameters(
            f"{backup} has no {MANIFEST}: it was never finished, or another program made it. backup with "
            "method=operator adds it to a MySQLBackup."
        ) from None
    try:
        document = loads(MANIFEST, content)
        form = document.get("format")
        if isinstance(form, int) and form > FORMAT:
            raise BadParameters(
                f"{MANIFEST} of {backup} has format {form}, this program reads {FORMAT}: verify it with the program's "
                "version that made it, or a newer one."
            )
        if document.get("encryption") and not locked:
            # With the key it is known whether anybody changed tiphys.json itself.
            content = Cipher.of(document, Keyring.read(os.environ)).open_manifest(content)
        return Manifest.parse(content)
    except (BadLayout, Undecipherable) as error:
        return str(error)


def described(order: Order, manifest: Manifest | str) -> Order:
    """Return the order with what the manifest tells."""
    if isinstance(manifest, str):
        return replace(order, problem=manifest)
    at = moment(manifest.begin)
    rows: int | None = manifest.rows
    tables = sum(len(each) for each in manifest.tables.values())
    return replace(
        order,
        moment=at.isoformat(),
        age_seconds=max(0.0, seconds_between(at.isoformat(), order.started_at)),
        rows=rows,
        tables=tables,
        bytes=manifest.size,
        files=len(manifest.files),
        server_version=manifest.server_version,
        method=manifest.method,
        encrypted=bool(manifest.encryption),
        keyless=tuple(manifest.keyless),
    )


def read_questions(kube: Kube, cluster: str, name: str | None) -> tuple[str, list[Question]]:
    """Return the name of the ConfigMap with the user's queries, empty where there is none, and the queries.

    Raises:
        BadParameters: the one that was named is not there, or something in it cannot be used.
    """
    place = name or cluster + verify_queries.SUFFIX
    found = kube.find("configmaps", place)
    if found is None:
        if name:
            raise BadParameters(
                f"There is no ConfigMap {name} in namespace {kube.namespace}: make it, or leave it out."
            )
        return "", []
    return place, verify_queries.parse(found.get("data") or {}, f"ConfigMap {place}")


def moment_of(order: Order) -> datetime:
    """Return the moment that the backup holds."""
    return moment(order.moment)
