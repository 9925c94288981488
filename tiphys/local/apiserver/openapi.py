"""OpenAPI, as little as kubectl needs: which kinds exist, and that the server checks fields itself.

`kubectl apply` and `create` look up the PATCH of a kind and its `fieldValidation` parameter; finding it, they
leave validation to the server. Strategic merge is not offered in the documents, so kubectl takes the merge keys
from its own built-in types, which are the ones that this server knows as well.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tiphys.local.apiserver.discovery import GIT_VERSION
from tiphys.local.registry import KINDS, Kind

_INFO = {"title": "Tiphys local platform", "version": GIT_VERSION}
_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force")


@cache
def index() -> dict[str, Any]:
    """Return what /openapi/v3 says: where each group and version is described."""
    places = dict.fromkeys(kind.prefix.strip("/") for kind in KINDS)
    return {"paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}?hash={GIT_VERSION}"} for place in places}}


@cache
def version_three(place: str) -> dict[str, Any] | None:
    """Return the description of one group and version (``api/v1``, ``apis/apps/v1``), or None."""
    kinds = [kind for kind in KINDS if kind.prefix.strip("/") == place]
    if not kinds:
        return None
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY]
    content = {media: {"schema": {"type": "object"}} for media in ("application/merge-patch+json",)}
    paths = {
        _path(kind): {
            "patch": {
                "operationId": f"patch{kind.kind}",
                "parameters": parameters,
                "requestBody": {"content": content, "required": True},
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": _gvk(kind),
            }
        }
        for kind in kinds
    }
    schemas = {
        _schema_name(kind): {"type": "object", "x-kubernetes-group-version-kind": [_gvk(kind)]} for kind in kinds
    }
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}


def _path(kind: Kind) -> str:
    return kind.path("{namespace}", "{name}")


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema_name(kind: Kind) -> str:
    return f"io.k8s.{kind.group.split('.')[0] or 'core'}.{kind.version}.{kind.kind}"
