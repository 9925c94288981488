"""The HTTP side: authentication, routing, and what becomes of errors."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any

from aiohttp import web

from tiphys.local.apiserver import discovery, openapi
from tiphys.local.apiserver.collector import Collector
from tiphys.local.apiserver.defaults import ServiceAddresses
from tiphys.local.apiserver.errors import no_such_path, not_allowed, status_of
from tiphys.local.apiserver.eviction import PODS, handle_binding, handle_eviction
from tiphys.local.apiserver.exec import handle_exec
from tiphys.local.apiserver.lifecycle import NAMESPACES, Lifecycle
from tiphys.local.apiserver.logs import handle_log
from tiphys.local.apiserver.requests import LARGEST_BODY, Target, as_object, read_body, target_of
from tiphys.local.apiserver.scale import handle_scale
from tiphys.local.apiserver.store import Store, StoreBroken, dump
from tiphys.local.apiserver.verbs import Verbs, answer
from tiphys.local.apiserver.watches import WatchHub
from tiphys.local.kube_errors import ApiError
from tiphys.local.settings import NAMESPACE, Settings

log = logging.getLogger(__name__)

_INTERNAL = ApiError(500, "InternalError", "Internal error occurred: see the API server's log")


class Server:
    """One API server over one store."""

    def __init__(self, settings: Settings, store: Store, token: str):
        self._settings = settings
        self._token = f"Bearer {token}".encode()
        self.store = store
        self.hub = WatchHub(store)
        self.lifecycle = Lifecycle(store, ServiceAddresses(settings.network))
        self._verbs = Verbs(self.lifecycle, self.hub)
        self._broken = asyncio.Event()

    async def run(self) -> None:
        """Collect garbage until cancelled; return if the store can no longer be trusted."""
        collecting = asyncio.create_task(Collector(self.lifecycle).run())
        broken = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait((collecting, broken), return_when=asyncio.FIRST_COMPLETED)
            if collecting.done():
                collecting.result()
        finally:
            collecting.cancel()
            broken.cancel()

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[self._guard])
        app.router.add_route("*", "/{path:.*}", self._route)
        return app

    def prepare(self) -> None:
        """Create the namespaces that a new platform starts with."""
        for name in ("default", "kube-system", NAMESPACE):
            if self.store.get(NAMESPACES, None, name) is None:
                self.lifecycle.create(NAMESPACES, None, {"metadata": {"name": name}})

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Check the token, and turn whatever goes wrong into a Status object."""
        try:
            given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if not hmac.compare_digest(given, self._token):
                raise ApiError(401, "Unauthorized", "Unauthorized")
            response: web.StreamResponse = await handler(request)
            return response
        except ApiError as error:
            headers = {}
            if "retryAfterSeconds" in error.details:
                headers["Retry-After"] = str(error.details["retryAfterSeconds"])
            return web.Response(
                body=dump(status_of(error)), status=error.status, content_type="application/json", headers=headers
            )
        except web.HTTPException as error:
            refused = ApiError(error.status, error.reason.replace(" ", ""), error.reason)
            return web.json_response(status_of(refused), status=error.status)
        except ConnectionError:
            raise
        except StoreBroken:
            log.critical("the store cannot be trusted any more: ending, the next start reads its file")
            self._broken.set()
            return web.json_response(status_of(_INTERNAL), status=500)
        except Exception:
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            return web.json_response(status_of(_INTERNAL), status=500)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if path.startswith(("/api/v1/", "/apis/")) and path.count("/") >= (3 if path.startswith("/api/") else 4):
            return await self._resource(request, target_of(path))
        if request.method != "GET":
            raise not_allowed()
        return self._discover(request, path)

    async def _resource(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.kind.plural == "selfsubjectaccessreviews":
            return await _review(request)
        kind, below = target.kind, target.subresource
        if below is None or (below == "status" and kind.status):
            return await self._verbs.handle(request, target)
        if below == "scale" and kind.scale:
            return await handle_scale(request, target, self.lifecycle)
        if kind is PODS and below == "log":
            return await handle_log(request, target, self.store, self._settings.home)
        if kind is PODS and below == "exec":
            return await handle_exec(request, target, self.store, self._settings.home)
        if kind is PODS and below == "eviction":
            return await handle_eviction(request, target, self.lifecycle)
        if kind is PODS and below == "binding":
            return await handle_binding(request, target, self.lifecycle)
        raise no_such_path()

    def _discover(self, request: web.Request, path: str) -> web.Response:
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if path == "/version":
            return web.json_response(discovery.version())
        found: dict[str, Any] | None = None
        parts = path.strip("/").split("/")
        if path in ("/api", "/apis"):
            accepted = request.headers.get("Accept", "")
            if "as=APIGroupDiscoveryList" in accepted and "v=v2;" in accepted.replace(",", ";"):
                body = dump(discovery.aggregated(path == "/api"))
                return web.Response(body=body, headers={"Content-Type": discovery.AGGREGATED})
            host = f"{self._settings.api_host}:{self._settings.api_port}"
            found = discovery.core_versions(host) if path == "/api" else discovery.groups()
        elif parts[0] == "api" and len(parts) == 2:
            found = discovery.resources("", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            found = discovery.group(parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            found = discovery.resources(parts[1], parts[2])
        elif path == "/openapi/v3":
            found = openapi.index()
        elif path.startswith("/openapi/v3/"):
            found = openapi.version_three(path.removeprefix("/openapi/v3/"))
        if found is None:
            raise no_such_path()
        return answer(found)


async def _review(request: web.Request) -> web.Response:
    """Answer `kubectl auth can-i`: whoever has the token may do everything here."""
    if request.method != "POST":
        raise not_allowed()
    review = as_object(await read_body(request))
    review |= {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    review.setdefault("metadata", {"creationTimestamp": None})
    review["status"] = {"allowed": True, "reason": "the bearer of the platform's token may do everything"}
    return answer(review, 201)
