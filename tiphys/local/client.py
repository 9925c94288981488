"""Async client of the local platform's API server, for the platform's own processes.

The steps and kubectl use the official clients; the controllers, the kubelet, the operator, the engine and the
gateway use this one, because they share an event loop and hold watches for ever. Objects are plain dicts as
the API shows them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from tiphys.local.access import Access, access
from tiphys.local.informer import Informer, WorkQueue, reconcile_loop
from tiphys.local.kube_errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unreachable,
    from_status,
)
from tiphys.local.registry import by_plural

__all__ = [
    "AlreadyExists",
    "ApiError",
    "Conflict",
    "Gone",
    "Informer",
    "Invalid",
    "Kube",
    "NotFound",
    "TooManyRequests",
    "Unreachable",
    "WorkQueue",
    "reconcile_loop",
]

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""How long a call keeps trying to connect while the API server is being started again."""


class Kube:
    """Client of one API server; use it as an async context manager.

    A call whose connection is refused is tried again for `CONNECT_SECONDS`, since nothing was sent yet, and so
    is a reading call that breaks. A writing call that breaks raises `Unreachable`: it may have been done or not.
    """

    def __init__(self, url: str, token: str | Path, authority: Path | None = None):
        """Prepare a client.

        Args:
            url: base URL of the API server.
            token: bearer token, or the file that holds it (read at each call: the API server makes it, or renews it).
            authority: certificates that the server's own is checked by; None for plain HTTP.
        """
        self.url = url.rstrip("/")
        self._access = Access(self.url, token, authority)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_home(cls, home: Path | None) -> Kube:
        """Return a client of the platform in `home`; None: of the cluster that this process is a pod of.

        Raises:
            NoAccess: there is no home, and this is no pod.
        """
        found = access(home)
        return cls(found.url, found.token, found.authority)

    async def __aenter__(self) -> Kube:
        # Watches live for ever and slow answers are bounded per call, so the session has no limit of its own.
        connector = aiohttp.TCPConnector(limit=0, ssl=self._access.tls() or True)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5), connector=connector
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    async def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until the API server answers.

        Raises:
            Unreachable: if it does not within `seconds`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        waiting = False
        while True:
            try:
                await self._call("GET", "/readyz", connect_seconds=0.0)
                return
            except ApiError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise Unreachable(
                        503, "Unreachable", f"{self.url} did not answer within {seconds:.0f} s: {error.message}"
                    ) from error
                if not waiting:
                    log.info("waiting for the API server", extra={"url": self.url})
                    waiting = True
            await asyncio.sleep(0.05)

    async def get(self, resource: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """Return one object.

        Raises:
            NotFound: if there is none of that name.
        """
        return await self._call("GET", by_plural(resource).path(namespace, name))

    async def list(
        self, resource: str, namespace: str | None = None, labels: str | None = None, fields: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the objects of a namespace (None: of all) that match the label and field selectors."""
        answer = await self.list_page(resource, namespace, labels, fields)
        items: list[dict[str, Any]] = answer["items"]
        return items

    async def list_page(
        self, resource: str, namespace: str | None = None, labels: str | None = None, fields: str | None = None
    ) -> dict[str, Any]:
        """Return the whole list object, whose metadata.resourceVersion a watch can start from."""
        kind = by_plural(resource)
        query = _query(labelSelector=labels, fieldSelector=fields)
        answer = await self._call("GET", kind.path(namespace), query=query)
        for item in answer["items"]:
            # As in Kubernetes, the items of a list do not say what they are; our callers want to know.
            item.setdefault("apiVersion", kind.api_version)
            item.setdefault("kind", kind.kind)
        return answer

    async def create(self, resource: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Create an object in the namespace that its metadata names, and return it as stored.

        Raises:
            AlreadyExists: if there is one of that name.
            Invalid: if the API server refuses it.
        """
        namespace = obj.get("metadata", {}).get("namespace")
        return await self._call("POST", by_plural(resource).path(namespace), body=obj)

    async def replace(self, resource: str, obj: dict[str, Any], subresource: str | None = None) -> dict[str, Any]:
        """Replace an object (or its status, with subresource "status") and return it as stored.

        Raises:
            Conflict: if metadata.resourceVersion is given and no longer the newest: read it again.
        """
        meta = obj["metadata"]
        path = by_plural(resource).path(meta.get("namespace"), meta["name"], subresource)
        return await self._call("PUT", path, body=obj)

    async def patch(
        self,
        resource: str,
        name: str,
        patch: dict[str, Any],
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Apply a JSON merge patch (RFC 7386: null removes a key, a list replaces a list); return the result.

        Put the resourceVersion you read into the patch's metadata to make it fail (`Conflict`) when the
        object has changed since.
        """
        path = by_plural(resource).path(namespace, name, subresource)
        return await self._call("PATCH", path, body=patch, content_type="application/merge-patch+json")

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        grace: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
    ) -> None:
        """Ask for an object's deletion; finalizers and a pod's grace period may keep it for a while.

        Args:
            resource: plural name of its kind.
            name: its name.
            namespace: its namespace.
            grace: seconds that a pod may take to stop; 0 removes it at once.
            propagation: Background (default), Foreground or Orphan.
            uid: delete only the object with this uid.

        Raises:
            NotFound: if it is gone already.
            Conflict: if the object of that name has another uid.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation:
            options["propagationPolicy"] = propagation
        if uid:
            options["preconditions"] = {"uid": uid}
        await self._call("DELETE", by_plural(resource).path(namespace, name), body=options)

    async def evict(self, name: str, namespace: str) -> None:
        """Evict a pod through the eviction API.

        Raises:
            TooManyRequests: if a PodDisruptionBudget forbids it now.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        await self._call("POST", by_plural("pods").path(namespace, name, "eviction"), body=body)

    async def event(
        self,
        about: dict[str, Any],
        reason: str,
        message: str,
        kind: str = "Normal",
        component: str = "tiphys",
    ) -> None:
        """Record an Event about an object; the same one again only counts up. Failures are logged, not raised.

        Args:
            about: the object, with apiVersion, kind and metadata.
            reason: one word in CamelCase.
            message: a sentence for people.
            kind: Normal or Warning.
            component: who says so.
        """
        meta = about["metadata"]
        namespace = meta.get("namespace") or "default"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        seed = "\0".join([meta.get("uid", ""), about["kind"], reason, message, kind, component])
        name = f"{meta['name'][:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"
        new = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": meta["name"],
                "namespace": meta.get("namespace", ""),
                "uid": meta.get("uid", ""),
                "resourceVersion": meta.get("resourceVersion", ""),
            },
            "reason": reason,
            "message": message[:1024],
            "type": kind,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": component,
        }
        try:
            try:
                await self.create("events", new)
            except AlreadyExists:
                seen = await self.get("events", name, namespace)
                again = {"count": int(seen.get("count") or 1) + 1, "lastTimestamp": now}
                await self.patch("events", name, again, namespace)
        except ApiError as error:
            log.warning("event not recorded", extra={"reason": reason, "error": str(error)})

    async def watch(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        resource_version: str | None = None,
        timeout_seconds: int = 300,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield watch events ({"type", "object"}) after a resource version until the server ends the stream.

        Raises:
            Gone: if the resource version is too old: list again.
        """
        query = _query(
            labelSelector=labels,
            fieldSelector=fields,
            resourceVersion=resource_version,
            watch="1",
            allowWatchBookmarks="true",
            timeoutSeconds=str(timeout_seconds),
        )
        url = self.url + by_plural(resource).path(namespace)
        try:
            async with self._opened().get(
                url,
                params=query,
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(total=None, sock_read=timeout_seconds + 30),
            ) as answer:
                if answer.status >= 400:
                    raise await _error(answer)
                # Not readline(): it refuses lines above its buffer, and a workflow can be megabytes.
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event: dict[str, Any] = json.loads(line)
                        if event["type"] == "ERROR":
                            raise from_status(event["object"])
                        yield event
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(503, "Unreachable", f"watch of {resource} at {self.url} broke: {error!r}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("Kube is used outside of 'async with'")
        return self._session

    def _headers(self) -> dict[str, str]:
        try:
            return self._access.headers()
        except FileNotFoundError as error:
            raise Unreachable(
                503, "Unreachable", f"no token at {self._access.token}: the API server has not started yet"
            ) from error

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        connect_seconds: float = CONNECT_SECONDS,
    ) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + connect_seconds
        data = None if body is None else json.dumps(body).encode()
        while True:
            try:
                async with self._opened().request(
                    method,
                    self.url + path,
                    params=query,
                    data=data,
                    headers=self._headers() | {"Content-Type": content_type},
                    timeout=aiohttp.ClientTimeout(total=60),
                ) as answer:
                    if answer.status >= 400:
                        raise await _error(answer)
                    if answer.content_type != "application/json":
                        return {"text": await answer.text()}
                    found: dict[str, Any] = await answer.json()
                    return found
            except aiohttp.ClientConnectorError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise Unreachable(503, "Unreachable", f"no API server at {self.url}: {error}") from error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if method != "GET" or asyncio.get_running_loop().time() > deadline:
                    told = f"{method} {path} broke before its answer: {error!r}"
                    raise Unreachable(503, "Unreachable", told) from error
            await asyncio.sleep(0.1)


async def _error(answer: aiohttp.ClientResponse) -> ApiError:
    text = await answer.text()
    try:
        status = json.loads(text)
    except ValueError:
        status = {"code": answer.status, "reason": "", "message": text[:200]}
    return from_status({"code": answer.status, **status})


def _query(**values: str | None) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}
