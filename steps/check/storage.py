"""Judging the disks: how full each server's file system is, and its volume claim by what the server stores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from steps.check.finding import CRITICAL, OK, WARNING, Finding, unknown

DISK_HIGH, DISK_FULL = 0.80, 0.92
"""Share of a disk in use that is worth a warning, and worth waking somebody."""

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")
_FACTORS = {"": 1, **{f"{unit}i": 1 << 10 * power for power, unit in enumerate("KMGTP", 1)}}
_FACTORS |= {unit: 1000**power for power, unit in enumerate("kMGTP", 1)}


@dataclass(frozen=True)
class Volume:
    """Where one server keeps its data.

    Attributes:
        pod: of the server.
        claim: name of its volume claim, empty where it has none.
        claimed_bytes: that the claim has, or asks for; 0 where that is not known.
        stored_bytes: what the server stores, by its own count; None where it does not tell.
        disk_bytes: size of the file system; None where it was not told.
        used_bytes: of it.
        error: why the file system could not be looked at.
    """

    pod: str
    claim: str = ""
    claimed_bytes: int = 0
    stored_bytes: int | None = None
    disk_bytes: int | None = None
    used_bytes: int = 0
    error: str = ""

    @property
    def disk_used(self) -> float | None:
        """Share of the file system in use, None where it is not known."""
        return self.used_bytes / self.disk_bytes if self.disk_bytes else None

    @property
    def claim_used(self) -> float | None:
        """Share of the claim that the server's files take, None where it is not known."""
        return None if self.stored_bytes is None or not self.claimed_bytes else self.stored_bytes / self.claimed_bytes


def quantity(text: str) -> int:
    """Return a Kubernetes quantity (``5Gi``) in bytes; 0 where it is none."""
    found = _QUANTITY.fullmatch(text.strip())
    return int(float(found[1]) * _FACTORS[found[2] or ""]) if found else 0


def parse_df(text: str) -> tuple[int, int] | None:
    """Return size and use in bytes from the output of ``df -Pk``; None where it has another form.

    What only root may use counts as used: a server that is not root finds the disk full before.
    """
    lines = [line.split() for line in text.strip().splitlines()]
    if len(lines) < 2 or len(lines[-1]) < 6 or not all(word.isdigit() for word in lines[-1][1:4]):
        return None
    used, free = int(lines[-1][2]), int(lines[-1][3])
    return (used + free) * 1024, used * 1024


def judge_storage(volumes: Sequence[Volume]) -> list[Finding]:
    """Return the disks and claims that fill up, and those of which nothing is known."""
    found, best = [], []
    for one in volumes:
        if one.disk_used is None:
            found.append(unknown("disk", f"{one.pod}: {one.error or 'nothing tells'}", "df in its container mysql"))
        elif (
            bad := _full("disk", one.pod, one.disk_used, f"{_size(one.used_bytes)} of {_size(one.disk_bytes)}")
        ) is None:
            best.append(one.disk_used)
        else:
            found.append(bad)
        if one.claim_used is not None:
            told = f"claim {one.claim}: the server stores {_size(one.stored_bytes)} of {_size(one.claimed_bytes)}"
            if (bad := _full("volume claims", one.pod, one.claim_used, told)) is not None:
                found.append(bad)
    if best:
        found.append(Finding("disk", OK, f"{max(best):.0%} in use at most"))
    return found


def _full(check: str, pod: str, used: float, told: str) -> Finding | None:
    if used < DISK_HIGH:
        return None
    return Finding(
        check,
        CRITICAL if used >= DISK_FULL else WARNING,
        f"{pod}: {used:.0%} in use ({told})",
        "a server whose disk is full stops taking writes, and leaves the group",
        "enlarge the volume claim, or make room: old binary logs (binlog_expire_logs_seconds), schemas nobody needs",
    )


def _size(count: int | None) -> str:
    size, units = float(count or 0), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}" if units[0] != "B" else f"{size:.0f} B"
