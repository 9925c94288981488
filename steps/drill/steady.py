"""Whether clients are in a steady state, in which a fault may be injected: functions of their attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from steps.drill.attempts import Attempt, Outcome

STEADY_LIMIT_SECONDS = 20.0
"""How much longer than `steady-seconds` a steady state is waited for."""
ANSWERING_SECONDS = 1.0
"""A client without any answer for longer than this is not steady, though nothing has failed."""


def steady_since(clients: Sequence[Sequence[Attempt]], now: float) -> float | None:
    """Return since when every attempt of every client has succeeded; None where one has not answered for long."""
    since = 0.0
    for attempts in clients:
        if not attempts or attempts[-1].end is None or now - attempts[-1].end > ANSWERING_SECONDS:
            return None
        failed = next((a.end for a in reversed(attempts) if a.outcome is not Outcome.ACKNOWLEDGED), None)
        since = max(since, attempts[0].end or 0.0, failed or 0.0)
    return since


def unsteady(clients: Sequence[Sequence[Attempt]], needed: float, now: float) -> str:
    """Say what kept a cluster from being steady for `needed` seconds up to `now`, for people."""
    recent = [a for attempts in clients for a in attempts if a.end is not None and a.end > now - needed]
    failed = Counter(a.code for a in recent if a.outcome is not Outcome.ACKNOWLEDGED)
    silent = sum(not attempts or now - (attempts[-1].end or 0.0) > ANSWERING_SECONDS for attempts in clients)
    codes = ", ".join(f"error {code} {count} times" for code, count in failed.most_common(3))
    parts = [f"{sum(failed.values())} of the last {len(recent)} attempts failed ({codes})"] if failed else []
    parts += [f"{silent} of {len(clients)} clients got no answer at all"] if silent else []
    return " and ".join(parts) or "the group was not whole all the time"
