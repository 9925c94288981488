"""Create, get, update, patch and delete over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tiphys.local.apiserver import apply, innodbcluster, listing, patches
from tiphys.local.apiserver.errors import (
    bad_request,
    conflict,
    not_allowed,
    not_found,
    success,
    unsupported_media,
)
from tiphys.local.apiserver.lifecycle import Lifecycle, copy_of
from tiphys.local.apiserver.requests import (
    Target,
    as_object,
    delete_options,
    is_dry_run,
    is_true,
    read_body,
)
from tiphys.local.apiserver.store import dump
from tiphys.local.apiserver.watches import WatchHub

_RETURNED = frozenset(("pods", "services", "serviceaccounts", "persistentvolumeclaims", "persistentvolumes"))
"""Kinds whose DELETE answers with the object; the generated clients expect it of these."""


class Verbs:
    """Handlers of the ordinary verbs on objects, their status, and collections."""

    def __init__(self, lifecycle: Lifecycle, hub: WatchHub):
        self._life = lifecycle
        self._store = lifecycle.store
        self._hub = hub

    async def handle(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Answer a request on an object (or its status) or a collection."""
        method, one = request.method, target.name is not None
        if target.subresource is None and method == "POST" and not one:
            return await self._create(request, target)
        if method == "GET" and (not one or listing.is_watch(request)) and target.subresource is None:
            if listing.is_watch(request):
                return await listing.watch(request, target, self._store, self._hub)
            return listing.list_objects(request, target, self._store)
        if target.subresource is None and method == "DELETE":
            return await (self._delete(request, target) if one else self._delete_all(request, target))
        if one and method == "GET":
            return self._get(request, target)
        if one and method == "PUT":
            return await self._update(request, target)
        if one and method == "PATCH":
            return await self._patch(request, target)
        raise not_allowed()

    def _get(self, request: web.Request, target: Target) -> web.Response:
        record = self._store.get(target.kind, target.namespace, target.name or "")
        if record is None:
            raise not_found(target.kind, target.name or "")
        return listing.get_object(request, target.kind, record)

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        obj = as_object(await read_body(request))
        if target.kind.namespaced and target.namespace is None:
            raise bad_request("an object of this kind is created in a namespace: POST below /namespaces/NAME")
        _check_fields(request, target, obj)
        made = self._life.create(target.kind, target.namespace, obj, is_dry_run(request))
        return answer(made, 201)

    async def _update(self, request: web.Request, target: Target) -> web.Response:
        obj = as_object(await read_body(request))
        _check_fields(request, target, obj)
        return answer(
            self._life.update(
                target.kind,
                target.namespace,
                target.name or "",
                obj,
                target.subresource,
                dry=is_dry_run(request),
            )
        )

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        media = request.content_type
        known = (patches.JSON, patches.MERGE, patches.STRATEGIC, patches.APPLY)
        if media not in known:
            raise unsupported_media(media, known)
        patch = await read_body(request)
        kind, namespace, name = target.kind, target.namespace, target.name or ""
        record = self._store.get(kind, namespace, name)
        if media == patches.APPLY:
            manager, force = request.query.get("fieldManager", ""), is_true(request, "force")
            live = record.obj if record else None
            changed = apply.applied(kind, live, as_object(patch), manager, force)
            if record is None and target.subresource is None:
                changed["metadata"].setdefault("name", name)
                _check_fields(request, target, changed)
                return answer(self._life.create(kind, namespace, changed, is_dry_run(request)), 201)
        elif record is not None:
            changed = patches.patched(kind, copy_of(record), media, patch)
        if record is None:
            raise not_found(kind, name)
        meta = changed.get("metadata")
        if not isinstance(meta, dict):
            raise bad_request("the patch leaves no metadata")
        if meta.get("resourceVersion") not in (None, record.obj["metadata"]["resourceVersion"]):
            raise conflict(kind, name)
        _check_fields(request, target, changed)
        made = self._life.update(
            kind, namespace, name, changed, target.subresource, dry=is_dry_run(request), patched=True
        )
        return answer(made)

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        options, dry = await delete_options(request)
        done = self._life.delete(target.kind, target.namespace, target.name or "", options, dry)
        if done.gone and target.kind.plural not in _RETURNED:
            return answer(success(target.kind, done.obj))
        return answer(done.obj)

    async def _delete_all(self, request: web.Request, target: Target) -> web.Response:
        options, dry = await delete_options(request)
        selects = listing.selection(request, target)
        gone = []
        for record in self._store.every(target.kind, target.namespace):
            if selects is None or selects(record.obj):
                meta = record.obj["metadata"]
                done = self._life.delete(target.kind, meta.get("namespace"), meta["name"], options, dry)
                gone.append(done.obj)
        meta = {"resourceVersion": str(self._store.version)}
        kind = target.kind
        return answer({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": gone})


def answer(obj: dict[str, Any], status: int = 200) -> web.Response:
    """Return an object as a JSON answer."""
    return web.Response(body=dump(obj), status=status, content_type="application/json")


def _check_fields(request: web.Request, target: Target, obj: dict[str, Any]) -> None:
    """Refuse unknown fields where a schema is known and the client asks for strictness, as kubectl does."""
    if target.kind.plural == "innodbclusters" and request.query.get("fieldValidation") == "Strict":
        unknown = innodbcluster.unknown_fields(obj)
        if unknown:
            told = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise bad_request(f'InnoDBCluster in version "v2" cannot be handled: strict decoding error: {told}')
