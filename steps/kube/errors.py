"""What an answer of the Kubernetes API means for a step: its HTTP status as one of the steps' own errors."""

from __future__ import annotations

import json
from typing import Any

from steps.errors import BadParameters, StepError, Temporary


class NotFound(BadParameters):
    """The object does not exist."""


class Invalid(BadParameters):
    """The API server did not take the object: a field is missing or wrong."""


class Forbidden(StepError):
    """The step's service account may not do this; trying again does not help."""


class Conflict(Temporary):
    """Somebody else changed or made the object in between: look again."""


class TooManyRequests(Temporary):
    """The API server asks to wait; for an eviction, a disruption budget holds the pod."""


class Unreachable(Temporary):
    """The API server cannot be reached, or had an error of its own."""


def explain(body: bytes | str | None) -> str:
    """Return the message of a Kubernetes Status object, or the start of whatever else was answered."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        status: Any = json.loads(text)
    except ValueError:
        return text.strip()[:300]
    if not isinstance(status, dict):
        return text[:300]
    # Which disruption budget holds a pod stands in the causes only.
    causes = [str(cause.get("message") or "") for cause in (status.get("details") or {}).get("causes") or []]
    parts = [str(status.get("message", "")), *(cause for cause in causes if cause)]
    told = parts[:1] + [part for part in parts[1:] if part not in parts[0]]
    return " ".join(told)[:600]


def failed(status: int, body: bytes | str | None, action: str) -> StepError:
    """Return the error for an answer that is no success.

    Args:
        status: HTTP status.
        body: what was answered, usually a Status object.
        action: what was asked for, such as "get pod demo-0 in namespace tiphys".
    """
    said = explain(body) or "no reason given"
    match status:
        case 401:
            return Forbidden(
                f"Kubernetes did not accept the credentials (401) on: {action}. It said: {said}. "
                "Check KUBECONFIG, or the pod's service account."
            )
        case 403:
            return Forbidden(
                f"Not allowed (403): {action}. It said: {said}. "
                "The run's service account lacks this right: apply the pack's manifests (RBAC) again, or ask for it."
            )
        case 404:
            return NotFound(f"Not found: {action}. Kubernetes said: {said}")
        case 409:
            return Conflict(f"Conflict: {action}. Kubernetes said: {said}")
        case 429:
            return TooManyRequests(f"Asked to wait (429): {action}. Kubernetes said: {said}")
        case 400 | 422:
            return Invalid(f"Not accepted ({status}): {action}. Kubernetes said: {said}")
        case _:
            return Unreachable(f"The API server answered {status} to: {action}. It said: {said}")
