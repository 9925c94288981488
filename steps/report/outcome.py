"""The verdicts that a report can have, and the error by which a step tells each."""

from __future__ import annotations

from enum import StrEnum

from steps.errors import StepError, VerdictAborted, VerdictFail, VerdictInvalid


class Outcome(StrEnum):
    """The four verdicts."""

    PASS = "PASS"
    FAIL = "FAIL"
    INVALID = "INVALID"
    ABORTED = "ABORTED"


ERRORS: dict[Outcome, type[StepError]] = {
    Outcome.FAIL: VerdictFail,
    Outcome.INVALID: VerdictInvalid,
    Outcome.ABORTED: VerdictAborted,
}
"""What a step raises for each verdict but PASS."""

MARKS = {Outcome.PASS: "✓", Outcome.FAIL: "✕", Outcome.INVALID: "?", Outcome.ABORTED: "■"}
"""The sign of each, for people."""


def seconds(value: float) -> str:
    """Return a length of time as people read it: ``0.35 s``, ``12.4 s``."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def count(number: int, thing: str) -> str:
    """Return a number with its noun: ``no write``, ``1 write``, ``2 writes``."""
    return f"{number or 'no'} {thing}{'' if number in (0, 1) else 's'}"
