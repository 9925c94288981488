"""The gateway's HTTP server: aiohttp's, but for what it tells of a request that is no HTTP.

aiohttp repeats the line that it could not read, in the answer and in the log; in a header that was typed wrongly this
line may hold the bearer token.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = logging.getLogger(__name__)


class _Protocol(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read, without repeating it."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        log.warning("a request is no valid HTTP", extra={"fault": type(exc).__name__, "status": status})
        answer = web.json_response(
            {"error": f"the request is no valid HTTP ({type(exc).__name__}): look at its first line and its headers"},
            status=status,
        )
        answer.force_close()
        return answer


class Server(web.Server):
    """Serves a handler of requests."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), **self._kwargs)


def runner(handler: Any, **options: Any) -> web.ServerRunner:
    """Return the runner of a server whose every request `handler` answers."""
    return web.ServerRunner(Server(handler, **options), shutdown_timeout=5)
