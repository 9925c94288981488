"""The application's users: a GET every `INTERVAL_SECONDS` beside the ledger, on the drill's clock.

A request is sent when its time has come, whether or not the ones before have been answered, as users do who know
nothing of each other: an application that hangs does not keep them away. So at most `ANSWER_SECONDS` divided by
`INTERVAL_SECONDS` are under way at one time. Each has a connection of its own, so that a Service leads every one to a
pod that is ready. Redirects are not followed: an answer of 300 to 399 is a good one.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import math
import socket
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

from steps.drill.site import Site
from steps.errors import Refused

INTERVAL_SECONDS = 0.1
"""Time from one request to the next."""
ANSWER_SECONDS = 5.0
"""A whole answer, from looking up the name to the last byte, has to be there by then."""
MOST_BYTES = 1 << 20
"""An answer that is longer is not read to its end."""
LAST_CALL_SECONDS = 0.5
"""How long the end of the measuring waits for answers that are on their way; those still out then stay unanswered."""
FIRST_LOOK = 3
"""Requests of :func:`require_answers`."""


class Request(NamedTuple):
    """One request of a user. Times are seconds on the drill's clock.

    Attributes:
        start: when it was sent, before looking up the name and connecting.
        end: when the whole answer, or the error, was there; None where neither was when the measuring ended.
        status: of the answer; 0 where there was none.
        error: kind of error, for people; empty where there was a whole answer, or nothing yet.
    """

    start: float
    end: float | None
    status: int = 0
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether a user got what he wanted: a whole answer with a status of 200 to 399."""
        return self.end is not None and not self.error and 200 <= self.status < 400

    @property
    def kind(self) -> str:
        """What came of it, for people."""
        if self.end is None:
            return "not answered yet"
        return self.error or f"HTTP {self.status}"


class Users(threading.Thread):
    """Sends requests until stopped.

    Args:
        site: the application.
        clock: the drill's clock.
        interval: seconds from request to request.
        answer_seconds: limit for one answer.

    Attributes:
        requests: that are over, in the order of their end; grows while the thread runs.
        died: the error that ended the thread, empty for none. Such a measurement has a hole.
    """

    def __init__(
        self,
        site: Site,
        clock: Callable[[], float],
        *,
        interval: float = INTERVAL_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        super().__init__(name="users", daemon=True)
        self._site, self._clock, self._interval, self._answer_seconds = site, clock, interval, answer_seconds
        self._stopped = threading.Event()
        self.requests: list[Request] = []
        self.died = ""
        self._unanswered: list[Request] = []

    def run(self) -> None:
        """Send requests until stopped."""
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._send())
        except Exception as error:  # the measurement must say that it ends too early
            self.died = f"{type(error).__name__}: {error}"
        finally:
            loop.close()

    def stop(self, until: float = math.inf) -> list[Request]:
        """Stop, and return the requests in the order of their start, with those that have no answer yet.

        Args:
            until: when the measuring ended; what was sent later, while others were stopped, is no part of it.
        """
        self._stopped.set()
        if self.ident is not None:
            self.join(LAST_CALL_SECONDS + 2.0)
        told = (each for each in [*self.requests, *self._unanswered] if each.start <= until)
        return sorted(told, key=lambda each: each.start)

    async def _send(self) -> None:
        under_way: dict[asyncio.Task[None], float] = {}
        async with _session(self._site, self._answer_seconds) as session:
            due = self._clock()
            while not self._stopped.is_set():
                start = self._clock()
                task = asyncio.create_task(self._one(session, start))
                under_way[task] = start
                task.add_done_callback(functools.partial(self._over, under_way))
                due = max(due + self._interval, self._clock())
                await asyncio.sleep(due - self._clock())
            if under_way:
                await asyncio.wait(list(under_way), timeout=LAST_CALL_SECONDS)
            left = dict(under_way)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            # One that ended at the last moment is among the requests already.
            self._unanswered = [Request(start, None) for task, start in left.items() if task.cancelled()]

    def _over(self, under_way: dict[asyncio.Task[None], float], task: asyncio.Task[None]) -> None:
        del under_way[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.died = f"{type(error).__name__}: {error}"

    async def _one(self, session: Any, start: float) -> None:
        status, error = await _ask(session, self._site.url, self._answer_seconds)
        self.requests.append(Request(start, self._clock(), status, error))


def require_answers(site: Site, *, answer_seconds: float = ANSWER_SECONDS) -> str:
    """Ask an application a few times, and say how well it answered.

    Raises:
        Refused: it does not answer well now, so what a fault costs its users could not be told.
    """
    import time

    async def ask() -> list[tuple[int, str]]:
        async with _session(site, answer_seconds) as session:
            return await asyncio.gather(*(_ask(session, site.url, answer_seconds) for _ in range(FIRST_LOOK)))

    begun = time.monotonic()
    answers = [Request(0.0, 1.0, *answer) for answer in asyncio.run(ask())]
    took = time.monotonic() - begun
    if all(answer.good for answer in answers):
        return f"the application at {site.url} answers (HTTP {answers[0].status} in {took * 1000:.0f} ms)"
    bad = [answer.kind for answer in answers if not answer.good]
    raise Refused(refusal(site, f"{len(bad)} of {FIRST_LOOK} requests failed ({', '.join(sorted(set(bad)))})"))


def refusal(site: Site, seen: str) -> str:
    """Return why a drill does not begin while its application does not answer well."""
    at = f" (Service address {site.address})" if site.address else ""
    return (
        f"The application at {site.url}{at} does not answer well, so nothing was injected: {seen}. Expected a whole "
        f"answer with a status of 200 to 399 within {ANSWER_SECONDS:g} s. Mend it or the address, or go without: "
        "app-url=none."
    )


def unsteady(requests: list[Request], needed: float, now: float) -> str:
    """Say what kept an application from being steady for `needed` seconds up to `now`, for people."""
    recent = [each for each in requests if each.end is not None and each.end > now - needed]
    failed = [each.kind for each in recent if not each.good]
    if not failed:
        return "no answer came back"
    kinds = ", ".join(f"{kind} {failed.count(kind)} times" for kind in sorted(set(failed)))
    return f"{len(failed)} of the last {len(recent)} requests failed ({kinds})"


def _session(site: Site, answer_seconds: float) -> Any:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Known(AbstractResolver):
        """Answers with the Service's address, whatever is asked."""

        async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host, host=site.address, port=port, family=family or socket.AF_INET, proto=0, flags=0
                )
            ]

        async def close(self) -> None:
            """Nothing to close."""

    connector = aiohttp.TCPConnector(
        limit=0,
        force_close=True,
        use_dns_cache=False,
        resolver=Known() if site.address else None,
        ssl=site.verify_tls,
    )
    return aiohttp.ClientSession(
        connector=connector,
        # Not to be rounded up to a whole second, as limits of 5 s and more are: answers after 5.9 s would be good.
        timeout=aiohttp.ClientTimeout(total=answer_seconds, ceil_threshold=math.inf),
        # Bytes as they come, no cookies kept, no proxy of the environment: a user's first visit, every time.
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"tiphys-drill/{version('tiphys')}"},
    )


async def _ask(session: Any, url: str, answer_seconds: float) -> tuple[int, str]:
    """Send one request; return its status and the kind of its error."""
    import aiohttp

    status = 0
    try:
        async with session.get(url, allow_redirects=False) as response:
            status, read = response.status, 0
            async for chunk in response.content.iter_chunked(1 << 16):
                read += len(chunk)
                if read > MOST_BYTES:
                    break
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return status, error_kind(error, answer_seconds)
    return status, ""


def error_kind(error: Exception, answer_seconds: float = ANSWER_SECONDS) -> str:
    """Return what kind of error a request ended with, in people's words."""
    import aiohttp

    match error:
        case TimeoutError():
            return f"no whole answer within {answer_seconds:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "the name was not resolved"
        case aiohttp.ClientConnectorCertificateError():
            return "the TLS certificate was refused"
        case aiohttp.ClientSSLError():
            return "no TLS connection"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case aiohttp.ServerDisconnectedError():
            return "closed without an answer"
        case aiohttp.ClientResponseError() | ValueError():
            return "no HTTP answer"
        case OSError(errno=errno.ECONNRESET):
            return "connection reset"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "connection refused"
        case OSError(strerror=str() as words) if words:
            return words[:60].lower()
        case _:
            return type(error).__name__
