"""Errors of the Kubernetes API as exceptions, by HTTP status and reason."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """The API server refused or could not be reached.

    Attributes:
        status: HTTP status.
        reason: the machine-readable word of the Status object, such as NotFound.
        message: the sentence for people.
        details: the Status object's details, if any.
    """

    def __init__(self, status: int, reason: str, message: str, details: dict[str, Any] | None = None):
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}


class NotFound(ApiError):
    """404: no such object, or no such namespace."""


class Conflict(ApiError):
    """409: the object changed since it was read, or a precondition does not hold."""


class AlreadyExists(Conflict):
    """409: an object of that name exists."""


class TooManyRequests(ApiError):
    """429: a PodDisruptionBudget forbids the eviction for now."""


class Invalid(ApiError):
    """422: the object does not pass validation."""


class Gone(ApiError):
    """410: the resource version is too old to be continued from."""


class Unreachable(ApiError):
    """No answer came: the server is not there, or the connection broke before the answer."""


_CLASSES: dict[int, type[ApiError]] = {
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(status: dict[str, Any]) -> ApiError:
    """Return the exception for a Status object of the API."""
    code, reason = int(status.get("code") or 500), str(status.get("reason") or "")
    kind = AlreadyExists if reason == "AlreadyExists" else _CLASSES.get(code, ApiError)
    return kind(code, reason, str(status.get("message") or ""), status.get("details"))
