"""How well a cluster is protected: is there a young backup, and was one proven?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from steps.check.finding import CRITICAL, OK, WARNING, Finding
from steps.errors import StepError
from steps.mysql.definition import BACKUPS_LABEL, ENVIRONMENT_LABEL

if TYPE_CHECKING:
    from steps.backup.catalogue import Catalogue
    from steps.kube.client import Object

YOUNG = timedelta(hours=30)
"""A nightly backup that is older was missed once."""

MISSED = timedelta(hours=78)
"""… and one that is older than this three times."""

PROVEN = timedelta(days=15)
"""A weekly verification that is older was missed twice."""


@dataclass(frozen=True)
class Protection:
    """What is known of a cluster's backups.

    Attributes:
        backups: whether it has opted in to scheduled ones.
        production: whether it is labelled so.
        age: of the cluster itself.
        newest: age of its newest good backup, None where there is none.
        name: of that backup.
        proven: age of its newest verification with PASS, None where there is none.
        error: why S3 could not be looked at; empty where it could.
    """

    backups: bool
    production: bool
    age: timedelta
    newest: timedelta | None = None
    name: str = ""
    proven: timedelta | None = None
    error: str = ""


def read_backups(clusters: Sequence[Object]) -> Catalogue | str:
    """Return what the bucket holds, or why that cannot be told; it is not looked at where no cluster has opted in."""
    if not any((one["metadata"].get("labels") or {}).get(BACKUPS_LABEL) == "on" for one in clusters):
        return "no cluster has opted in"
    return catalogue_or_why()


def catalogue_or_why() -> Catalogue | str:
    """Return what the bucket of the environment holds, or why that cannot be told."""
    from steps.backup.catalogue import read_catalogue
    from steps.backup.objects import Bucket

    if not os.environ.get("S3_BUCKET"):
        return "no bucket is set (Secret tiphys-s3)"
    try:
        bucket = Bucket.from_environment(connections=32)
        try:
            return read_catalogue(bucket, leftovers=False)
        finally:
            bucket.close()
    except StepError as error:
        return str(error)


def protection_of(cluster: Object, found: Catalogue | str) -> Protection:
    """Return how well a cluster is protected.

    Args:
        cluster: the InnoDBCluster.
        found: from :func:`read_backups`.
    """
    meta = cluster["metadata"]
    labels = meta.get("labels") or {}
    now = datetime.now(UTC) if isinstance(found, str) else found.at
    made = str(meta.get("creationTimestamp") or "")
    age = now - datetime.fromisoformat(made) if made else timedelta(0)
    backups, production = labels.get(BACKUPS_LABEL) == "on", labels.get(ENVIRONMENT_LABEL) == "production"
    if isinstance(found, str):
        return Protection(backups, production, age, error=found)
    mine = found.latest(str(meta["name"]), str(meta["namespace"]))
    good = next((one for one in mine if one.verdict != "FAIL"), None)
    proofs = [one.verification.at for one in mine if one.verification and one.verdict == "PASS"]
    return Protection(
        backups,
        production,
        age,
        newest=now - good.begin if good else None,
        name=good.name if good else "",
        proven=now - max(proofs) if proofs else None,
    )


def judge_protection(known: Protection) -> list[Finding]:
    """Return the findings about backups; none where nobody asked for any."""
    if not known.backups:
        if not known.production:
            return []
        return [
            Finding(
                "backups",
                WARNING,
                "production, and no scheduled backups",
                "what is lost here is lost",
                f'label it {BACKUPS_LABEL}: "on" (deploy-cluster with backups=on)',
            )
        ]
    if known.error:
        return [Finding("backups", WARNING, f"cannot be looked at: {known.error}", "nobody knows their age", "see S3")]
    return [_age(known), *_proof(known)]


def _age(known: Protection) -> Finding:
    age = known.age if known.newest is None else known.newest
    seen = f"{known.name}, {_text(age)} old" if known.newest is not None else "no finished backup"
    if age <= YOUNG:
        return Finding("backups", OK, seen if known.newest is not None else "none yet: the cluster is new")
    return Finding(
        "backups",
        CRITICAL if age > MISSED else WARNING,
        f"no finished backup younger than {_text(YOUNG)}: {seen}",
        f"what was written in the last {_text(age)} can be lost",
        "tiphys submit backup; see why the nightly one failed: tiphys runs",
    )


def _proof(known: Protection) -> list[Finding]:
    if known.newest is None or (known.proven is None and known.age <= PROVEN):
        return []
    if known.proven is not None and known.proven <= PROVEN:
        return [Finding("verification", OK, f"a backup was proven {_text(known.proven)} ago")]
    seen = "never" if known.proven is None else f"{_text(known.proven)} ago"
    return [
        Finding(
            "verification",
            WARNING,
            f"last PASS: {seen}",
            "nobody knows that the backups restore",
            "tiphys submit verify-backup; see why the weekly one failed: tiphys runs",
        )
    ]


def _text(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
