"""retryStrategy: whether a failed attempt is followed by another, and when (Argo's processNodeRetries)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tiphys.local.engine.expression import evaluate_bool
from tiphys.local.engine.model import Json, SpecError, any_int, failed, parse_duration, parse_time
from tiphys.local.engine.run import Run
from tiphys.local.engine.scope import retry_variables
from tiphys.local.engine.substitute import substitute

_TRANSIENT = re.compile(r"timed? ?out|connection (?:refused|reset)|too many requests|temporar|exit code 64", re.I)


def judge(run: Run, node: Json, attempts: list[Json], strategy: Json, variables: Mapping[str, Any]) -> None:
    """End the Retry node if its last attempt succeeded or must not be followed by another.

    Unlike Argo, the policy, the limit and the expression are asked before a back-off is waited for.

    Raises:
        SpecError, ExpressionError, UnresolvedError: the strategy cannot be read.
    """
    last = attempts[-1]
    if not failed(last):
        end(run, node, last, "Succeeded", "")
        return
    if run.shutdown:
        end(run, node, last, last["phase"], f"Stopped with strategy '{run.shutdown}'")
        return
    if not _policy_allows(strategy, last):
        end(run, node, last, last["phase"], last.get("message", ""))
        return
    limit = strategy.get("limit")
    if limit is not None and len(attempts) > any_int(limit, "retryStrategy.limit"):
        end(run, node, last, last["phase"], "No more retries left")
        return
    if expression := strategy["expression"]:
        known = {**variables, **retry_variables(attempts)}
        if not evaluate_bool(substitute(expression, known), known):
            end(run, node, last, last["phase"], "retryStrategy.expression evaluated to false")


def _policy_allows(strategy: Json, last: Json) -> bool:
    """Return whether the policy lets an attempt that ended like `last` be followed by another."""
    policy = strategy.get("retryPolicy") or ("Always" if strategy["expression"] else "OnFailure")
    allowed: dict[str, bool] = {
        "Always": True,
        "OnFailure": last["phase"] == "Failed",
        "OnError": last["phase"] == "Error",
        "OnTransientError": _TRANSIENT.search(last.get("message", "")) is not None,
    }
    if policy not in allowed:
        raise SpecError(f"retryStrategy.retryPolicy: {policy!r} is none of {', '.join(allowed)}")
    return allowed[policy]


def end(run: Run, node: Json, last: Json, phase: str, message: str) -> None:
    """End the Retry node; its outputs are those of the last attempt."""
    if "outputs" in last:
        node["outputs"] = last["outputs"]
    run.mark(node, phase, message)


def backoff_deadline(
    run: Run, node: Json, attempts: list[Json], strategy: Json
) -> tuple[datetime | None, datetime | None]:
    """Return when the next attempt may begin and when all attempts must have ended (None: no such time).

    Ends the node if there is no time for another attempt.

    Raises:
        SpecError: a duration cannot be read.
    """
    backoff = strategy.get("backoff")
    if not backoff:
        return None, None
    if not backoff.get("duration"):
        raise SpecError("retryStrategy.backoff.duration: missing")
    until: datetime | None = None
    last = attempts[-1]
    if backoff.get("maxDuration"):
        until = parse_time(attempts[0]["startedAt"]) + parse_duration(backoff["maxDuration"])
        if run.now > until:
            end(run, node, last, last["phase"], "Max duration limit exceeded")
            return None, None
    wait = parse_duration(backoff["duration"])
    if backoff.get("factor") is not None:
        factor = any_int(backoff["factor"], "retryStrategy.backoff.factor")
        if factor > 0:
            wait = wait * min(factor ** (len(attempts) - 1), 10**6)
    if backoff.get("cap"):
        wait = min(wait, parse_duration(backoff["cap"]))
    begin = parse_time(last["finishedAt"]) + wait
    if until is not None and begin > until:
        end(run, node, last, last["phase"], "Backoff would exceed max duration limit")
        return None, None
    if begin > run.now:
        seconds = int(wait.total_seconds())
        minutes = f"{seconds // 60} minutes " if seconds >= 60 else ""
        run.mark(node, "Running", f"Backoff for {minutes}{seconds % 60} seconds")
    return begin, until
