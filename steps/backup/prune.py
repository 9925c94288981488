"""Step `prune-backups`: remove the backups of a cluster that no rule keeps, and what killed ones left behind.

A backup goes in an order that leaves none half there, wherever it breaks off: what its ``tiphys.json`` holds is noted
under ``removing/NAME``, the ``tiphys.json`` itself goes, readers are looked for once more, and then goes the rest. The
next run ends what this one began.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from steps.backup.catalogue import ASKED, NAME, VERIFICATIONS, Backup, Catalogue, Unfinished, read_catalogue
from steps.backup.inventory import LostUpload, abort, clock, delete_all, stored, uploads
from steps.backup.json_head import head_of
from steps.backup.layout import DONE, FOLDER, INSTANCE, BadLayout, prefix
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import Manifest
from steps.backup.objects import Bucket, NoObject
from steps.backup.readers import readers
from steps.backup.retention import Candidate, Decision, Rules, decide
from steps.declare import artifact, option, outputs_folder, parameter, step, target_options
from steps.errors import BadParameters
from steps.log import log

ANNOTATION = "tiphys.dev/prune-backups"
"""Of an InnoDBCluster: its own rules, such as ``keep-daily=14 keep-monthly=12``."""

REMOVING = "removing"
"""Folder of the bucket: one object for each backup whose removal has begun."""

LEFTOVER_AFTER = timedelta(days=1)
"""A backup that was not finished and has not grown for so long was killed."""

RECORDS_KEPT = timedelta(days=90)
"""How long what a verification found outlives its backup: proof that there was one."""

REPORT = "report.json"
_COUNT = click.IntRange(0, 10_000)


@dataclass(frozen=True)
class Pruned:
    """What prune-backups tells."""

    removed: int = parameter("Backups that were removed, or would be in a dry run.", is_global=True)
    kept: int = parameter("Backups that stay.", is_global=True)
    leftovers: int = parameter("Unfinished backups and lost uploads that were removed, or would be.", is_global=True)
    bytes: int = parameter("Bytes that this frees.", is_global=True)
    plan: str = parameter("What is done, in a line.", is_global=True)
    report: Path | None = artifact("Every decision with its reason, as JSON.", REPORT)


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        rules: that were applied.
        decisions: about each finished backup, the newest first.
        sizes: bytes of each finished backup.
        leftovers: unfinished backups that were killed.
        uploads: lost ones that belong to no leftover.
        objects: keys that are of no more use: records of verifications, readers that died.
        notes: what is left alone and why.
    """

    rules: Rules
    decisions: list[Decision]
    sizes: dict[str, int]
    leftovers: list[Unfinished] = field(default_factory=list)
    uploads: list[LostUpload] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def removed(self) -> list[str]:
        """Names of the backups that go, the oldest first: if it breaks off, the newer ones are still there."""
        return [one.name for one in reversed(self.decisions) if not one.keep]


@step("prune-backups")
@target_options
@option(
    "--keep-last",
    type=_COUNT,
    default=None,
    help="How many of the newest backups stay. Empty: as the cluster says, else 3.",
)
@option(
    "--keep-daily",
    type=_COUNT,
    default=None,
    help="Of how many days the newest backup stays. Empty: as the cluster says, else 7.",
)
@option(
    "--keep-weekly",
    type=_COUNT,
    default=None,
    help="Of how many weeks the newest backup stays. Empty: as the cluster says, else 4.",
)
@option(
    "--keep-monthly",
    type=_COUNT,
    default=None,
    help="Of how many months the newest backup stays. Empty: as the cluster says, else 6.",
)
@option(
    "--max-age-days",
    type=_COUNT,
    default=None,
    help="Older backups go, whatever the rules above keep; 0 is no limit. Empty: as the cluster says, else 0.",
)
@option(
    "--max-count",
    type=_COUNT,
    default=None,
    help="How many stay at most, whatever the rules above keep; 0 is no limit. Empty: as the cluster says, else 0.",
)
@option("--dry-run", type=click.BOOL, default=True, help="Only say what would be removed, and which rule keeps what.")
def prune_backups(namespace: str, cluster: str, dry_run: bool, **asked: int | None) -> Pruned:
    """Remove the backups of a cluster that no rule keeps, and what killed backups left behind.

    The newest backup always stays, the newest that was verified with PASS, the newest that no verification failed, and
    one that is being read. Rules that are not given come from the cluster's annotation tiphys.dev/prune-backups.
    """
    from steps.kube import client

    found = client.connect(namespace).find("innodbclusters", cluster)
    rules = rules_of(found, asked)
    bucket = Bucket.from_environment(connections=32)
    try:
        half_gone = any(_cluster_of(note.split("/")[1]) == cluster for note in bucket.keys(f"{REMOVING}/"))
        finish_removals(bucket, cluster, namespace, dry_run)
        catalogue = read_catalogue(bucket)
        plan = make_plan(bucket, catalogue, cluster, namespace, rules)
        if found is None and not half_gone:
            check_known(plan, catalogue, cluster, namespace)
        tell(plan, dry_run)
        kept_after_all = [] if dry_run else carry_out(bucket, plan)
    finally:
        bucket.close()
    return _told(plan, kept_after_all, dry_run)


def rules_of(cluster: dict[str, Any] | None, asked: dict[str, int | None]) -> Rules:
    """Return the rules: what was asked for, else what the cluster's annotation says, else the defaults.

    Raises:
        BadParameters: the annotation is not of its form.
    """
    notes = ((cluster or {}).get("metadata") or {}).get("annotations") or {}
    rules = Rules().with_text(str(notes.get(ANNOTATION) or ""), f"The annotation {ANNOTATION}")
    given = " ".join(f"{name.replace('_', '-')}={value}" for name, value in asked.items() if value is not None)
    return rules.with_text(given, "The parameters")


def make_plan(bucket: Bucket, catalogue: Catalogue, cluster: str, namespace: str, rules: Rules) -> Plan:
    """Look at what there is and decide about each piece."""
    at = catalogue.at
    read, dead = readers(bucket, at)
    made = catalogue.of(cluster, namespace)
    decisions = decide([_candidate(one, read) for one in made], rules, at)
    plan = Plan(rules, decisions, {one.name: one.size for one in made})
    mine = [one for one in catalogue.unfinished if _cluster_of(one.name) == cluster]
    for one in mine:
        if not one.ours:
            plan.notes.append(f"{one.name}: a dump of another program, not removed")
        elif at - one.newest < LEFTOVER_AFTER:
            plan.notes.append(f"{one.name}: not finished, and grew less than a day ago: being made?")
        elif one.name in read:
            plan.notes.append(f"{one.name}: not finished, but being read")
        else:
            plan.leftovers.append(one)
    for name, why in catalogue.unreadable.items():
        if _cluster_of(name) == cluster:
            plan.notes.append(f"{name}: not removed, since nobody knows what it is: {why}")
    unfinished = {one.name for one in mine}
    plan.uploads.extend(
        one
        for one in uploads(bucket, f"{FOLDER}/{cluster}-")
        if _cluster_of(one.key.split("/")[1]) == cluster
        and one.key.split("/")[1] not in unfinished
        and at - one.begun >= LEFTOVER_AFTER
    )
    there = {*(one.name for one in catalogue.backups), *catalogue.unreadable}
    plan.objects.extend(_old_records(bucket, cluster, there, at))
    asked = [key.split("/")[1] for key in bucket.keys(f"{ASKED}/{cluster}-")]
    plan.objects.extend(f"{ASKED}/{name}" for name in asked if _cluster_of(name) == cluster and name in there)
    plan.objects.extend(key for key in dead if _cluster_of(key.split("/")[1]) == cluster)
    return plan


def check_known(plan: Plan, catalogue: Catalogue, cluster: str, namespace: str) -> None:
    """Refuse a cluster that is not there and has left nothing behind: its name is mistyped.

    Raises:
        BadParameters: it is so.
    """
    if plan.decisions or plan.leftovers or plan.uploads or plan.objects or plan.notes:
        return
    others = sorted({one.cluster for one in catalogue.backups if one.namespace == namespace})
    raise BadParameters(
        f"Namespace {namespace} has no InnoDBCluster {cluster!r}, and there is nothing of one to prune; there are "
        f"backups of: {', '.join(others) or 'none'}."
    )


def _candidate(one: Backup, read: dict[str, list[str]]) -> Candidate:
    return Candidate(one.name, one.begin, one.verdict, one.name in read, one.selection)


def _cluster_of(name: str) -> str:
    """Return the cluster whose backup has this name; empty where the name is not of our form."""
    found = NAME.fullmatch(name)
    return found["cluster"] if found else ""


def _old_records(bucket: Bucket, cluster: str, there: set[str], at: datetime) -> Iterable[str]:
    for one in stored(bucket, f"{VERIFICATIONS}/{cluster}-"):
        name = one.key.split("/")[1]
        if _cluster_of(name) == cluster and name not in there and at - one.modified > RECORDS_KEPT:
            yield one.key


def tell(plan: Plan, dry_run: bool) -> None:
    """Log each decision with its reason."""
    log("rules", rules=str(plan.rules), backups=len(plan.decisions))
    for one in plan.decisions:
        event = "kept" if one.keep else "would remove" if dry_run else "to be removed"
        log(event, backup=one.name, bytes=plan.sizes[one.name], because=list(one.reasons))
    for left in plan.leftovers:
        log("leftover", backup=left.name, bytes=left.size, newest=left.newest.isoformat(), uploads=len(left.uploads))
    for note in plan.notes:
        log("left alone", what=note)


def carry_out(bucket: Bucket, plan: Plan) -> list[str]:
    """Do what was planned; return the backups that stay after all, because somebody has begun to read them.

    Raises:
        Temporary: S3 was lost; calling this again goes on.
    """
    kept = [name for name in plan.removed if not remove(bucket, name)]
    for left in plan.leftovers:
        for upload in left.uploads:
            abort(bucket, upload)
        delete_all(bucket, left.keys)
        bucket.delete(f"{ASKED}/{left.name}")
        log("removed leftover", backup=left.name, objects=len(left.keys), uploads=len(left.uploads))
    for upload in plan.uploads:
        abort(bucket, upload)
        log("removed upload", key=upload.key, begun=upload.begun.isoformat())
    delete_all(bucket, plan.objects)
    return kept


def remove(bucket: Bucket, name: str) -> bool:
    """Remove one backup; return whether it is gone: not where somebody reads it."""
    manifest, note = prefix(name) + MANIFEST, f"{REMOVING}/{name}"
    if _read_now(bucket, name):
        return False
    try:
        content = bucket.get(manifest)
    except NoObject:
        return True  # somebody else removed it
    bucket.put(note, content)
    bucket.delete(manifest)
    if _read_now(bucket, name):
        bucket.put(manifest, content)
        bucket.delete(note)
        return False
    _remove_rest(bucket, name)
    return True


def _remove_rest(bucket: Bucket, name: str) -> None:
    # First what would let another program take it for a whole dump.
    for file in (DONE, INSTANCE):
        bucket.delete(prefix(name) + file)
    keys = list(bucket.keys(prefix(name)))
    delete_all(bucket, keys)
    bucket.delete(f"{REMOVING}/{name}")
    log("removed", backup=name, objects=len(keys) + 3)


def _read_now(bucket: Bucket, name: str) -> bool:
    alive, _ = readers(bucket, clock(bucket), name)
    if alive:
        log("kept", backup=name, because=[f"being read by {', '.join(alive[name])}"])
    return bool(alive)


def _is_whole(bucket: Bucket, name: str, content: bytes) -> bool:
    """Whether a backup lacks nothing but its tiphys.json: a reader who came late must not bring half of one back."""
    there = bucket.keys(prefix(name))
    try:
        files = Manifest.parse(content).files
    except BadLayout:
        return False
    return all(there.get(prefix(name) + file) == each.size for file, each in files.items())


def finish_removals(bucket: Bucket, cluster: str, namespace: str, dry_run: bool) -> None:
    """End the removals that an earlier run began and did not end."""
    for note in bucket.keys(f"{REMOVING}/"):
        name = note.split("/")[1]
        content = bucket.get(note)
        head = head_of(content)
        if (head.get("cluster"), head.get("namespace")) != (cluster, namespace):
            continue
        if dry_run:
            log("would end the removal", backup=name)
        elif prefix(name) + MANIFEST in bucket.keys(prefix(name) + MANIFEST):
            bucket.delete(note)  # it broke off before anything was removed
        elif _is_whole(bucket, name, content) and _read_now(bucket, name):
            bucket.put(prefix(name) + MANIFEST, content)
            bucket.delete(note)
        else:
            _remove_rest(bucket, name)


def _told(plan: Plan, kept_after_all: list[str], dry_run: bool) -> Pruned:
    gone = [name for name in plan.removed if name not in kept_after_all]
    size = sum(plan.sizes[name] for name in gone) + sum(one.size for one in plan.leftovers)
    kept = len(plan.decisions) - len(gone)
    leftovers = len(plan.leftovers) + len(plan.uploads)
    verb = "would remove" if dry_run else "removed"
    names = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
    line = f"{verb} {len(gone)} of {len(plan.decisions)} backups{': ' * bool(gone)}{names}; {leftovers} leftovers"
    report = outputs_folder() / REPORT
    document = {
        "dryRun": dry_run,
        "rules": str(plan.rules),
        "backups": [{**asdict(one), "bytes": plan.sizes[one.name]} for one in plan.decisions],
        "keptAfterAll": kept_after_all,
        "leftovers": [{"name": one.name, "bytes": one.size, "uploads": len(one.uploads)} for one in plan.leftovers],
        "uploads": [one.key for one in plan.uploads],
        "leftAlone": plan.notes,
    }
    report.write_text(json.dumps(document, indent=2) + "\n")
    return Pruned(len(gone), kept, leftovers, size, line, report)
