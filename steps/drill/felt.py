"""What an application's users felt: downtime, failures and waiting, from their requests. Pure functions.

Downtime is defined as for writes (:mod:`steps.drill.outages`), with good answers in place of acknowledgements: the
longest time in which no user got one; an outage that has not ended counts up to the end of the measuring.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps.drill.attempts import Attempt, Outcome
from steps.drill.outages import Downtime, downtime
from steps.drill.users import Request
from steps.report.outcome import count, seconds


@dataclass(frozen=True)
class Span:
    """The requests that were sent in one span of a drill.

    Attributes:
        requests: number of them.
        failed: those without a good answer; one that is not answered yet is none of them.
        p50: half of the good answers took at most so long, in seconds; None where there is none.
        p95: likewise 95 of 100.
        p99: likewise 99 of 100.
    """

    requests: int
    failed: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Felt:
    """What the users felt.

    Attributes:
        url: the application's address.
        downtime: the longest time without a good answer, and every outage.
        requests: sent from the fault on.
        failed: of these, those without a good answer.
        unanswered: of these, those that had no answer yet when the measuring ended.
        kinds: of what came of those without a good answer, and how often.
        first_error: the first of them; None for none.
        slowest: the longest time that one of them took, or has waited for its answer so far, in seconds.
        spans: before the fault; during, up to the last moment of the timeline or the end of the last outage; after.
    """

    url: str
    downtime: Downtime
    requests: int
    failed: int
    unanswered: int
    kinds: dict[str, int]
    first_error: Request | None
    slowest: float
    spans: dict[str, Span]

    def sentence(self) -> str:
        """Tell it in one sentence."""
        open_ = ", and still had none when the measuring ended" if self.downtime.open else ""
        kinds = "; ".join(f"{kind}: {number}" for kind, number in self.kinds.items())
        told = f" ({kinds})" if kinds else ""
        return (
            f"The application's users had no good answer for {seconds(self.downtime.longest)}{open_}; "
            f"{count(self.failed, 'request')} of {self.requests} failed{told}."
        )


def felt(url: str, requests: Sequence[Request], fault_at: float, recovered_at: float, until: float) -> Felt:
    """Return what users felt.

    Args:
        url: the application's address.
        requests: of the whole measuring.
        fault_at: when the fault was injected.
        recovered_at: the last moment of the drill's timeline.
        until: when the measuring ended.
    """
    good = [each.end for each in requests if each.good and each.end is not None]
    down = downtime(good, 0.0, fault_at, until)
    # What was under way when the fault came belongs to it.
    since = [each for each in requests if each.end is None or each.end > fault_at]
    bad = [each for each in since if not each.good]
    over = max([recovered_at, *(outage.end for outage in down.outages)])
    kinds = Counter(each.kind for each in bad)
    before = [each for each in requests if each.end is not None and each.end <= fault_at]
    return Felt(
        url=url,
        downtime=down,
        requests=len(since),
        failed=sum(each.end is not None for each in bad),
        unanswered=sum(each.end is None for each in bad),
        kinds=dict(kinds.most_common()),
        first_error=min(bad, default=None, key=lambda each: until if each.end is None else each.end),
        slowest=max(((each.end if each.end is not None else until) - each.start for each in since), default=0.0),
        spans={
            "before": _span(before),
            "during": _span([each for each in since if each.start < over]),
            "after": _span([each for each in since if each.start >= over]),
        },
    )


def as_attempts(requests: Sequence[Request]) -> list[Attempt]:
    """Return requests as a client's attempts: drawn and held to be steady like those of the ledger."""
    return [Attempt(number, each.start, each.end, _outcome(each), each.status) for number, each in enumerate(requests)]


def to_json(found: Felt, fault_at: float) -> dict[str, Any]:
    """Return it for report.json; times are seconds after the fault, lengths seconds."""
    first = found.first_error
    return {
        "url": found.url,
        "downtime_seconds": round(found.downtime.longest, 3),
        "total_downtime_seconds": round(found.downtime.total, 3),
        "outages": [
            {"start": round(o.start - fault_at, 3), "end": round(o.end - fault_at, 3), "open": o.open}
            for o in found.downtime.outages
        ],
        "requests": found.requests,
        "failed": found.failed,
        "unanswered": found.unanswered,
        "kinds": found.kinds,
        "first_error": {"seconds": round(first.start - fault_at, 3), "kind": first.kind} if first else None,
        "slowest_seconds": round(found.slowest, 3),
        "spans": {
            name: {key: round(value, 4) if isinstance(value, float) else value for key, value in vars(span).items()}
            for name, span in found.spans.items()
        },
    }


def _outcome(request: Request) -> Outcome:
    if request.end is None:
        return Outcome.IN_DOUBT
    return Outcome.ACKNOWLEDGED if request.good else Outcome.REFUSED


def _span(requests: Sequence[Request]) -> Span:
    took = sorted(each.end - each.start for each in requests if each.good and each.end is not None)
    failed = sum(each.end is not None and not each.good for each in requests)
    return Span(len(requests), failed, *(_quantile(took, share) for share in (0.5, 0.95, 0.99)))


def _quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest of the ascending values that `share` of them do not exceed; None where there is none."""
    return values[math.ceil(share * len(values)) - 1] if values else None
