"""What looking at a cluster found, and how bad it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

OK, WARNING, ERROR = "ok", "warning", "error"
EXIT_CODES = {OK: 0, WARNING: 30, ERROR: 31}
"""As of `check-cluster`."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: its name, one word or with hyphens, always the same.
        level: `OK`, `WARNING` (it will do, with what the text says) or `ERROR` (something will not work).
        text: what was seen.
        fix: what to do, as commands or sentences; empty where nothing is to be done.
        blocks: whether an install cannot even be tried.
    """

    check: str
    level: str
    text: str
    fix: tuple[str, ...] = ()
    blocks: bool = False

    def lines(self) -> list[str]:
        """Return it for people."""
        return [f"{self.level:<8} {self.check:<20} {self.text}", *(f"{'':<9}{line}" for line in self.fix)]

    def values(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "fix": list(self.fix)}


def worst(findings: Sequence[Finding]) -> str:
    """Return the worst level."""
    return max((one.level for one in findings), key=lambda level: EXIT_CODES[level], default=OK)
