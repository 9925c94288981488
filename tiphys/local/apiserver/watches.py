"""Watches: every committed change goes at once to the streams that follow its resource."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from tiphys.local.apiserver.errors import bad_request
from tiphys.local.apiserver.selectors import Predicate
from tiphys.local.apiserver.store import Change, Record, Store, dump
from tiphys.local.registry import Kind

BACKLOG = 10_000
"""Changes that a stream may be behind; a slower reader is cut off and comes back with its resource version."""

Renderer = Callable[[Record], bytes]


class Subscription:
    """One watch's place in the flow of changes."""

    def __init__(self, kind: Kind, namespace: str | None):
        self.kind = kind
        self.namespace = namespace
        self.overrun = False
        self._changes: deque[Change] = deque()
        self._ready = asyncio.Event()

    def offer(self, change: Change) -> None:
        """Take a change if it is of this watch's namespace."""
        if self.namespace and change.new.obj["metadata"].get("namespace", "") != self.namespace:
            return
        if len(self._changes) >= BACKLOG:
            self.overrun = True
        else:
            self._changes.append(change)
        self._ready.set()

    async def take(self, seconds: float) -> list[Change]:
        """Return what came, waiting at most `seconds` for something."""
        if not self._changes and not self.overrun:
            self._ready.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._ready.wait()
            except TimeoutError:
                return []
        taken, self._changes = list(self._changes), deque()
        return taken


class WatchHub:
    """Hands each change to the subscriptions of its resource."""

    def __init__(self, store: Store):
        self._subscriptions: dict[str, set[Subscription]] = {}
        store.listen(self._on_change)

    def subscribe(self, kind: Kind, namespace: str | None) -> Subscription:
        """Begin to follow a resource, from the next change on."""
        made = Subscription(kind, namespace)
        self._subscriptions.setdefault(kind.qualified, set()).add(made)
        return made

    def end(self, subscription: Subscription) -> None:
        """Stop following."""
        self._subscriptions.get(subscription.kind.qualified, set()).discard(subscription)

    def _on_change(self, kind: Kind, change: Change) -> None:
        for subscription in self._subscriptions.get(kind.qualified, ()):
            subscription.offer(change)


def event_of(change: Change, selects: Predicate | None, render: Renderer) -> bytes | None:
    """Return the line that tells a watch of a change, or None if it is none of its business.

    An object that begins to match is ADDED, one that stops to match is DELETED (in its new state), as in
    Kubernetes.
    """
    before = change.old is not None and (selects is None or selects(change.old.obj))
    after = not change.removed and (selects is None or selects(change.new.obj))
    if change.removed and not before:
        return None
    if not before and not after:
        return None
    kind = "DELETED" if not after else "MODIFIED" if before else "ADDED"
    return line(kind, render(change.new))


def line(kind: str, body: bytes) -> bytes:
    """Return one line of a watch stream."""
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


def bookmark(kind: Kind, version: int, initial_end: bool = False) -> bytes:
    """Return a BOOKMARK: everything up to this resource version has been told."""
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return line("BOOKMARK", dump({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}))


def continue_token(version: int, last: tuple[str, str]) -> str:
    """Return the token with which a list goes on after the object `last`."""
    return base64.urlsafe_b64encode(json.dumps([version, *last]).encode()).decode()


def read_continue(token: str) -> tuple[int, tuple[str, str]]:
    """Return the resource version of a list's first page, and the object it stopped at.

    Raises:
        ApiError: 400 if the token is not one of ours.
    """
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except ValueError as error:
        raise bad_request(f"continue key is not valid: {error}") from error
