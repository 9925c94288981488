"""A finding: one thing that was checked, how bad it is, what it means, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OK, UNKNOWN, WARNING, CRITICAL = "ok", "unknown", "warning", "critical"
SEVERITIES = (OK, UNKNOWN, WARNING, CRITICAL)


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        check: short name of the check.
        severity: ok, warning or critical; unknown where it could not be looked at.
        seen: what was seen.
        means: what it means for the cluster's users; empty where all is well.
        run: what to do about it; empty where all is well.
    """

    check: str
    severity: str
    seen: str
    means: str = ""
    run: str = ""


def unknown(check: str, why: str, run: str = "") -> Finding:
    """Return the finding that something could not be looked at: neither good nor bad."""
    return Finding(check, UNKNOWN, f"cannot be told: {why}", "nobody has looked at it", run)


def health(findings: Sequence[Finding]) -> str:
    """Return the worst severity among the findings; what is unknown makes nothing worse."""
    known = [finding.severity for finding in findings if finding.severity != UNKNOWN]
    return max(known, key=SEVERITIES.index, default=OK)


def first(items: Sequence[str], most: int = 5) -> str:
    """Return some of a list for people: ``a, b and 3 more``."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
