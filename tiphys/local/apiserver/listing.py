"""GET of collections: lists with selectors and pages, and watch streams."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import web

from tiphys.local.apiserver import tables
from tiphys.local.apiserver.errors import bad_request, status_of
from tiphys.local.apiserver.requests import Target, is_true, whole_number
from tiphys.local.apiserver.selectors import Predicate, fields_match, labels_match
from tiphys.local.apiserver.store import Record, Store, dump
from tiphys.local.apiserver.watches import (
    Renderer,
    WatchHub,
    bookmark,
    continue_token,
    event_of,
    line,
    read_continue,
)
from tiphys.local.kube_errors import ApiError
from tiphys.local.registry import Kind

BOOKMARK_SECONDS = 20.0
DEFAULT_WATCH_SECONDS = 1800
WRITE_SECONDS = 30.0
"""A reader that takes nothing for this long is cut off."""


def selection(request: web.Request, target: Target) -> Predicate | None:
    """Return what a request's selectors (and a name in its path) select, or None for everything."""
    checks = [
        labels_match(request.query.get("labelSelector", "")),
        fields_match(target.kind, request.query.get("fieldSelector", "")),
    ]
    if target.name is not None:
        checks.append(fields_match(target.kind, f"metadata.name={target.name}"))
    wanted = [check for check in checks if check]
    if not wanted:
        return None
    return lambda obj: all(check(obj) for check in wanted)


def list_objects(request: web.Request, target: Target, store: Store) -> web.Response:
    """Answer a list, as objects or as the table that kubectl prints."""
    kind, selects = target.kind, selection(request, target)
    found = store.every(kind, target.namespace)
    if selects:
        found = [record for record in found if selects(record.obj)]
    version = store.version
    token = request.query.get("continue", "")
    if token:
        version, last = read_continue(token)
        found = [record for record in found if _place(record) > last]
    limit = whole_number(request, "limit") or 0
    meta: dict[str, Any] = {"resourceVersion": str(version)}
    if limit and len(found) > limit:
        meta["continue"] = continue_token(version, _place(found[limit - 1]))
        if selects is None:
            meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    if tables.wanted(request):
        text = dump(tables.table(kind, found, meta, tables.include_object(request)))
    else:
        head = dump({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta})
        text = head[:-1] + b',"items":[' + b",".join(record.raw for record in found) + b"]}"
    return web.Response(body=text, content_type="application/json")


def _place(record: Record) -> tuple[str, str]:
    meta = record.obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


async def watch(request: web.Request, target: Target, store: Store, hub: WatchHub) -> web.StreamResponse:
    """Answer a watch: what changed since a resource version, then every change as it happens."""
    kind, selects = target.kind, selection(request, target)
    render: Renderer = tables.event_renderer(request, kind) if tables.wanted(request) else _raw
    asked = request.query.get("resourceVersion", "")
    if asked and not asked.isdigit():
        raise bad_request(f"invalid resource version {asked!r}: expected a number that this server gave")
    seconds = whole_number(request, "timeoutSeconds") or DEFAULT_WATCH_SECONDS
    initial = is_true(request, "sendInitialEvents")
    # From here to the subscription nothing awaits, so no change falls between the past and the future.
    first: list[bytes] = []
    if asked in ("", "0") or initial:
        records = store.every(kind, target.namespace)
        first = [line("ADDED", render(record)) for record in records if selects is None or selects(record.obj)]
        if initial:
            first.append(bookmark(kind, store.version, initial_end=True))
    else:
        for change in store.since(kind, int(asked)):
            if target.namespace and change.new.obj["metadata"].get("namespace") != target.namespace:
                continue
            told = event_of(change, selects, render)
            if told:
                first.append(told)
    subscription = hub.subscribe(kind, target.namespace)
    answer = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
    try:
        await answer.prepare(request)
        if first:
            await _write(answer, b"".join(first))
        loop = asyncio.get_running_loop()
        end, marks = loop.time() + seconds, is_true(request, "allowWatchBookmarks")
        while not subscription.overrun and (left := end - loop.time()) > 0:
            version = store.version
            changes = await subscription.take(min(left, BOOKMARK_SECONDS))
            if changes:
                lines = [event_of(change, selects, render) for change in changes]
                text = b"".join(told for told in lines if told)
                if text:
                    await _write(answer, text)
            elif marks:
                # Nothing came since `version` was read, so it has been told completely.
                await _write(answer, bookmark(kind, version))
        if subscription.overrun:
            too_slow = ApiError(410, "Expired", "the watch fell too far behind; list again")
            await _write(answer, line("ERROR", dump(status_of(too_slow))))
        with suppress(ConnectionError):
            await answer.write_eof()
    except (ConnectionError, TimeoutError):
        pass  # the reader is gone, or takes nothing: it will come back
    finally:
        hub.end(subscription)
    return answer


async def _write(answer: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await answer.write(data)


def _raw(record: Record) -> bytes:
    return record.raw


def is_watch(request: web.Request) -> bool:
    """Tell whether a GET asks for a stream of changes."""
    return is_true(request, "watch")


def get_object(request: web.Request, kind: Kind, record: Record) -> web.Response:
    """Answer a GET of one object."""
    if tables.wanted(request):
        meta = {"resourceVersion": str(record.version)}
        text = dump(tables.table(kind, [record], meta, tables.include_object(request)))
    else:
        text = record.raw
    return web.Response(body=text, content_type="application/json")
