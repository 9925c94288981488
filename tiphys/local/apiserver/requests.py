"""Reading requests: which object or collection a path means, and what body and query say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml
from aiohttp import web

from tiphys.local.apiserver import protobuf
from tiphys.local.apiserver.errors import bad_request, no_such_path
from tiphys.local.apiserver.lifecycle import DeleteOptions
from tiphys.local.apiserver.store import dump
from tiphys.local.kube_errors import ApiError
from tiphys.local.registry import Kind, by_path

LARGEST_BODY = 3 * 1024 * 1024
"""Bytes of one request, as in Kubernetes."""


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: what looks like a date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Target:
    """What a path means.

    Attributes:
        kind: the resource.
        namespace: None for cluster-scoped resources and for lists of all namespaces.
        name: None for a collection.
        subresource: status, scale, log, exec, eviction, binding, finalize, or None.
    """

    kind: Kind
    namespace: str | None
    name: str | None
    subresource: str | None


def target_of(path: str) -> Target:
    """Return what a path below /api or /apis means.

    Raises:
        ApiError: 404 if nothing is served there.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", parts[1] if len(parts) > 1 else "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 2:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_path()
    namespace = None
    if len(rest) >= 3 and rest[0] == "namespaces" and by_path(group, version, rest[2]):
        namespace, rest = rest[1], rest[2:]
    kind = by_path(group, version, rest[0]) if rest else None
    if kind is None or len(rest) > 3 or (namespace is not None and not kind.namespaced):
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else None
    if name is not None and kind.namespaced and namespace is None:
        raise no_such_path()
    return Target(kind, namespace, name, rest[2] if len(rest) > 2 else None)


async def read_body(request: web.Request) -> Any:
    """Return the request's body: JSON, YAML, or protobuf as far as it is known.

    Raises:
        ApiError: 400 if it is neither or empty, 413 if it is too large.
    """
    try:
        data = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {LARGEST_BODY}") from error
    if not data:
        raise bad_request("the request has no body; expected an object in JSON")
    if request.content_type == protobuf.MEDIA:
        return protobuf.decode(data)
    return parse(data, "yaml" in request.content_type)


def parse(data: bytes, is_yaml: bool) -> Any:
    """Return what JSON (or YAML) text says.

    Raises:
        ApiError: 400 with the place of the fault.
    """
    try:
        found = json.loads(data, parse_constant=_no_number)
        if b"\\ud" in data or b"\\uD" in data:
            dump({"": found})  # half a surrogate pair is no text, and could not be stored
        return found
    except ValueError as error:
        if not is_yaml:
            raise bad_request(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise bad_request("the body is nested too deeply") from error
    try:
        return yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise bad_request(f"the body is not valid YAML: {error}") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def as_object(body: Any) -> dict[str, Any]:
    """Return the body if it is an object.

    Raises:
        ApiError: 400 if it is not.
    """
    if not isinstance(body, dict):
        raise bad_request(f"the body must be an object, not {type(body).__name__}")
    return body


def is_true(request: web.Request, name: str) -> bool:
    """Tell whether a query parameter is set to something that means yes."""
    return request.query.get(name, "").lower() in ("1", "true")


def is_dry_run(request: web.Request, body: Any = None) -> bool:
    """Tell whether nothing must be kept: `dryRun=All` in the query, or in a body of options.

    Raises:
        ApiError: 400 for any other value.
    """
    said = request.query.getall("dryRun", [])
    if isinstance(body, dict) and isinstance(body.get("dryRun"), list):
        said = [*said, *body["dryRun"]]
    if any(value not in ("All", "") for value in said):
        raise bad_request(f"invalid dryRun {said}: the only value is All")
    return "All" in said


def whole_number(request: web.Request, name: str) -> int | None:
    """Return a query parameter that must be a number of at least 0, or None if it is not given.

    Raises:
        ApiError: 400 if it is something else.
    """
    text = request.query.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"\d{1,18}", text):
        raise bad_request(f"{name}={text!r}: expected a whole number")
    return int(text)


async def delete_options(request: web.Request) -> tuple[DeleteOptions, bool]:
    """Return what a DELETE asks for, and whether it is a dry run.

    Raises:
        ApiError: 400 for options that make no sense.
    """
    body: dict[str, Any] = as_object(await read_body(request)) if request.can_read_body else {}
    propagation = body.get("propagationPolicy") or request.query.get("propagationPolicy") or ""
    if propagation not in ("", "Background", "Foreground", "Orphan"):
        raise bad_request(f"invalid propagationPolicy {propagation!r}: expected Background, Foreground or Orphan")
    grace = body.get("gracePeriodSeconds")
    if grace is None:
        grace = whole_number(request, "gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or grace < 0):
        raise bad_request(f"invalid gracePeriodSeconds {grace!r}: expected a whole number of at least 0")
    if body.get("orphanDependents") and not propagation:
        propagation = "Orphan"
    conditions = body.get("preconditions") or {}
    options = DeleteOptions(grace, propagation, conditions.get("uid") or "", conditions.get("resourceVersion") or "")
    return options, is_dry_run(request, body)
