"""The errors of the steps. Each class is one exit code, and the exit codes are a contract with the templates.

``retryStrategy.expression`` in the templates reads these codes: only :class:`Temporary` is worth another try.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self


class StepError(Exception):
    """A step cannot do what it was asked to do; the message says what was seen, expected, and what to do.

    Args:
        message: for the person who reads the log: what was seen, what was expected, what to do next.
        outputs: the step's outputs so far, written although the step fails; None writes none.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, outputs: Any = None) -> None:
        super().__init__(message)
        self.outputs = outputs


class BadParameters(StepError):
    """A parameter's value is not one that the step can work with."""

    exit_code = 2


class TimedOut(StepError):
    """What was waited for did not come in the time that the caller gave; the step does not try again by itself."""


class Refused(StepError):
    """A guard refused: doing this now would be unsafe (quorum, another drill, kill switch, no opt-in)."""

    exit_code = 10

    @classmethod
    def because(cls, reasons: Iterable[str], outputs: Any = None) -> Self:
        """Return the refusal of a runbook that has not changed anything yet.

        A dry run that would be refused raises the same one, so that programs can go by it; its plan is in `outputs`.
        """
        return cls(f"Refused, nothing was changed: {'; '.join(reasons)}.", outputs)


class VerdictFail(StepError):
    """A drill ran to its end and its verdict is FAIL: a budget was broken or a write was lost."""

    exit_code = 20


class VerdictInvalid(StepError):
    """A drill proves nothing: its fault did not land, or the measurement has holes."""

    exit_code = 21


class VerdictAborted(StepError):
    """A drill was stopped before its end because a limit broke or somebody threw the kill switch."""

    exit_code = 22


class FoundWarning(StepError):
    """A check found warnings, nothing critical, and was asked to fail on them."""

    exit_code = 30


class FoundCritical(StepError):
    """A check found something critical."""

    exit_code = 31


class Temporary(StepError):
    """Something outside is not there yet; the same step may succeed when it is tried again."""

    exit_code = 75
