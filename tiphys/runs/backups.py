"""Backups as a person reads them: a table of 80 columns, a page of one, and the same as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from textwrap import wrap
from typing import Any

from steps.backup.catalogue import Backup, Catalogue, Unfinished, Verification
from steps.backup.manifest import Manifest
from steps.backup.prune import rules_of
from steps.backup.retention import Candidate, Decision, decide
from tiphys.runs.api import Object

COLUMNS = ("name", "age", "size", "rows", "made by", "verified rto", "kept as")
MOST_TABLES = 20


def decisions(
    catalogue: Catalogue, clusters: Sequence[Object], namespace: str, read: Mapping[str, Sequence[str]]
) -> dict[str, Decision]:
    """Return what prune-backups would decide about each backup, by name, each cluster by its own rules.

    Args:
        catalogue: what the bucket holds.
        clusters: the InnoDBClusters of `namespace`; one that is not among them has the default rules.
        namespace: of the clusters.
        read: who reads what.
    """
    known = {str(one["metadata"]["name"]): one for one in clusters}
    found: dict[str, Decision] = {}
    for cluster, where in sorted({(one.cluster, one.namespace) for one in catalogue.backups}):
        rules = rules_of(known.get(cluster) if where == namespace else None, {})
        candidates = [
            Candidate(one.name, one.begin, one.verdict, one.name in read, one.selection)
            for one in catalogue.of(cluster, where)
        ]
        found |= {one.name: one for one in decide(candidates, rules, catalogue.at)}
    return found


def backup_rows(catalogue: Catalogue, made: Sequence[Backup], kept: Mapping[str, Decision]) -> list[dict[str, str]]:
    """Return the rows of the table."""
    return [
        {
            "name": one.name,
            "age": age(one.begin, catalogue.at),
            "size": size(one.size).replace(" ", ""),
            "rows": "?" if one.rows is None else number(one.rows),
            "made by": one.method + ("+key" if one.encryption else ""),
            "verified rto": _verified(one.verification, catalogue.at),
            "kept as": _briefly(kept[one.name]),
        }
        for one in made
    ]


def _briefly(decision: Decision) -> str:
    reason = decision.reasons[0].removeprefix("the ").removesuffix(" that no verification failed")
    for long, short in {"verified with ": "", "daily": "day", "weekly": "week", "monthly": "month"}.items():
        reason = reason.replace(long, short)
    return reason if decision.keep else "none: goes"


def _verified(found: Verification | None, at: datetime) -> str:
    if found is None:
        return "never"
    rto = "" if found.rto_seconds is None else f" {seconds(found.rto_seconds)}"
    if not found.full:
        rto = " files"
    return f"{found.verdict} {age(found.at, at)}{rto}"


def unreadable_lines(unreadable: Mapping[str, str]) -> list[str]:
    """Return lines about each backup whose tiphys.json cannot be read."""
    lines = [f"{name}: {why}" for name, why in unreadable.items()]
    return [part for line in lines for part in wrap(line, 78, initial_indent="  ", subsequent_indent="    ")]


def unfinished_lines(catalogue: Catalogue, found: Sequence[Unfinished]) -> list[str]:
    """Return a line for each folder that holds no finished backup."""
    lines = []
    for one in found:
        what = "being made, or killed: prune-backups removes it after a day" if one.ours else "another program's dump"
        lost = f", {len(one.uploads)} open uploads" if one.uploads else ""
        lines.append(f"  {one.name}: {size(one.size)}{lost}, newest object {age(one.newest, catalogue.at)} old")
        lines.append(f"    ({what})")
    return lines


def values_of(one: Backup, kept: Decision) -> dict[str, Any]:
    """Return a backup as plain values, for JSON and YAML."""
    proof = one.verification
    return {
        "name": one.name,
        "cluster": one.cluster,
        "namespace": one.namespace,
        "begin": one.begin.isoformat(),
        "end": one.end.isoformat(),
        "rows": one.rows,
        "bytes": one.size,
        "method": one.method,
        "selection": one.selection,
        "encryption": dict(one.encryption) if one.encryption else None,
        "serverVersion": one.server_version,
        "gtidExecuted": one.gtid_executed,
        "verification": proof
        and {
            "verdict": proof.verdict,
            "at": proof.at.isoformat(),
            "rtoSeconds": proof.rto_seconds,
            "rpoSeconds": proof.rpo_seconds,
            "run": proof.run,
            "report": proof.report,
        },
        "kept": kept.keep,
        "because": list(kept.reasons),
    }


def page(one: Backup, manifest: Manifest, kept: Decision, at: datetime, bucket: str) -> list[str]:
    """Return what `tiphys backups show` prints of one backup."""
    encryption = "none"
    if one.encryption:
        encryption = " ".join(f"{key}={value}" for key, value in one.encryption.items() if not isinstance(value, dict))
    facts = {
        "cluster": f"{one.namespace}/{one.cluster} (MySQL {one.server_version})",
        "moment": f"{one.begin:%Y-%m-%d %H:%M:%S %Z} ({age(one.begin, at)} ago)",
        "took": seconds((one.end - one.begin).total_seconds()),
        "size": f"{size(one.size)} in {len(manifest.files)} files",
        "rows": "not counted" if one.rows is None else f"{one.rows:,}",
        "made by": one.method,
        "holds only": one.selection,
        "encrypted": encryption,
        "verified": _proof(one, at),
        "kept" if kept.keep else "goes": "; ".join(kept.reasons),
        "place": f"s3://{bucket}/backups/{one.name}/",
        "gtids": one.gtid_executed[:200] or "none",
    }
    if manifest.keyless:
        facts["no key"] = f"{', '.join(manifest.keyless[:5])}: restore with invisible-key=true"
    width = max(map(len, facts))
    lines = [one.name, *(f"  {key.ljust(width)}  {value}" for key, value in facts.items() if value)]
    rows = [
        (count, f"{schema}.{table}") for schema, tables in manifest.tables.items() for table, count in tables.items()
    ]
    if rows:
        rows.sort(key=lambda pair: (-pair[0], pair[1]))
        lines += ["", f"  {len(rows)} tables:"]
        lines += [f"  {count:>14,}  {name}" for count, name in rows[:MOST_TABLES]]
        lines += [f"  and {len(rows) - MOST_TABLES} more (-o json)"] if len(rows) > MOST_TABLES else []
    return [*lines, "", f"Restore it: tiphys submit restore -p cluster=... -p backup={one.name} --wait"]


def _proof(one: Backup, at: datetime) -> str:
    found = one.verification
    if found is None:
        return f"never: tiphys submit verify-backup -p cluster={one.cluster} -p backup={one.name} --wait"
    times = [] if found.full else ["only its files were read"]
    times += [f"RTO {seconds(found.rto_seconds)}"] if found.rto_seconds is not None else []
    times += [f"RPO {seconds(found.rpo_seconds)}"] if found.rpo_seconds is not None else []
    run = f"; see `tiphys report {found.run}`" if found.run else ""
    return f"{found.verdict} {age(found.at, at)} ago ({', '.join(times) or 'no times'}){run}"


def age(then: datetime, now: datetime) -> str:
    """Return the time between two moments in a few characters: 40s, 12m, 14h, 3d."""
    passed = max((now - then).total_seconds(), 0)
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if passed < limit:
            return f"{passed // length:.0f}{unit}"
    return f"{passed // 86_400:.0f}d"


def seconds(value: float) -> str:
    """Return a length of time in a few characters: 41s, 12m, 3.5h."""
    if value < 120:
        return f"{value:.0f}s"
    return f"{value / 60:.0f}m" if value < 7200 else f"{value / 3600:.1f}h"


def size(count: int) -> str:
    """Return bytes in a few characters: 12 B, 3.4 MB."""
    return f"{number(count, space=True)}B"


def number(count: int, *, space: bool = False) -> str:
    """Return a number in a few characters: 950, 3.7M."""
    value, gap = float(count), " " * space
    for unit in ("", "k", "M", "G", "T", "P"):
        if value < 999.5 or unit == "P":
            shown = f"{value:.1f}" if unit and value < 9.95 else f"{value:.0f}"
            return f"{shown}{gap}{unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")
