"""What the API server refuses, in Kubernetes' own words: constructors of `ApiError` and the Status object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.local.kube_errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
)
from tiphys.local.registry import Kind


@dataclass(frozen=True)
class Cause:
    """One fault of an object: where (``spec.instances``), what kind of fault, and the sentence about it."""

    field: str
    reason: str
    message: str


def required(field: str, more: str = "") -> Cause:
    """A field that must be there is not."""
    return Cause(field, "FieldValueRequired", f"Required value{': ' + more if more else ''}")


def bad(field: str, value: object, why: str) -> Cause:
    """A field's value is not acceptable."""
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Cause(field, "FieldValueInvalid", f"Invalid value: {shown}: {why}")


def forbidden_field(field: str, why: str) -> Cause:
    """A field must not be set or changed."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {why}")


def _details(kind: Kind, name: str = "", causes: Sequence[Cause] = ()) -> dict[str, Any]:
    details: dict[str, Any] = {"kind": kind.plural}
    if name:
        details["name"] = name
    if kind.group:
        details["group"] = kind.group
    if causes:
        details["causes"] = [
            {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
        ]
    return details


def not_found(kind: Kind, name: str) -> ApiError:
    """404 for an object."""
    return NotFound(404, "NotFound", f'{kind.qualified} "{name}" not found', _details(kind, name))


def no_such_path() -> ApiError:
    """404 for a path or resource that is not served."""
    return NotFound(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> ApiError:
    """409 for a create of a name that is taken."""
    return AlreadyExists(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """409 for a write based upon an old version, or a precondition that does not hold."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    return Conflict(
        409, "Conflict", f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}', _details(kind, name)
    )


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 for an object with faults."""
    told = [f"{cause.field}: {cause.message}" for cause in causes]
    what = f'{kind.kind}.{kind.group} "{name}"' if kind.group else f'{kind.kind} "{name}"'
    message = f"{what} is invalid: {told[0] if len(told) == 1 else '[' + ', '.join(told) + ']'}"
    details = _details(kind, name, causes)
    details["kind"] = kind.kind
    return Invalid(422, "Invalid", message, details)


def bad_request(message: str) -> ApiError:
    """400 for a request that cannot be understood."""
    return ApiError(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str) -> ApiError:
    """403 for what is understood and not allowed."""
    return ApiError(403, "Forbidden", f'{kind.qualified} "{name}" is forbidden: {why}', _details(kind, name))


def not_allowed() -> ApiError:
    """405 for a verb that the resource does not have."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unsupported_media(seen: str, known: Sequence[str]) -> ApiError:
    """415 for a body of a type that the verb does not take."""
    message = (
        f"the body of the request was in an unknown format ({seen or 'none given'}) - accepted media types include: "
    )
    return ApiError(415, "UnsupportedMediaType", message + ", ".join(known))


def expired(asked: int, oldest: int) -> ApiError:
    """410 for a resource version that the server no longer remembers."""
    return Gone(410, "Expired", f"too old resource version: {asked} ({oldest})")


def too_many_requests(message: str, causes: Sequence[Cause] = (), retry_seconds: int = 0) -> ApiError:
    """429 for an eviction that a PodDisruptionBudget forbids for now."""
    details: dict[str, Any] = {"causes": [{"reason": cause.reason, "message": cause.message} for cause in causes]}
    if retry_seconds:
        details["retryAfterSeconds"] = retry_seconds
    return TooManyRequests(429, "TooManyRequests", message, details)


def status_of(error: ApiError) -> dict[str, Any]:
    """Return the Status object that tells a client about the error."""
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.status,
    }
    if error.details:
        status["details"] = error.details
    return status


def success(kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    """Return the Status object of a deletion that is done."""
    meta = obj["metadata"]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": _details(kind, meta["name"]) | {"uid": meta["uid"]},
    }
