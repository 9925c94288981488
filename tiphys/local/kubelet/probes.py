"""Startup, readiness and liveness probes of one container run."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tiphys.local.kubelet import cutting, tcp_keys
from tiphys.local.kubelet.commands import run_command
from tiphys.local.kubelet.launch import Launch, LaunchError

Object = Mapping[str, Any]
Exec = Callable[[list[str]], Launch]


@dataclass(frozen=True)
class Target:
    """Where a container is probed.

    Attributes:
        address: the pod's address.
        container: the container's spec (for its named ports).
        command: how to run a command inside the container.
    """

    address: str
    container: Object
    command: Exec


@dataclass
class Count:
    """Consecutive results of a probe, weighed against its thresholds."""

    success_threshold: int = 1
    failure_threshold: int = 3
    successes: int = 0
    failures: int = 0

    @classmethod
    def of(cls, probe: Object) -> Count:
        """Return the thresholds of `probe`, Kubernetes' defaults where it names none."""
        return cls(int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3))

    def add(self, good: bool) -> bool | None:
        """Count one result; return the verdict that is now certain, or None while it is not."""
        self.successes, self.failures = (self.successes + 1, 0) if good else (0, self.failures + 1)
        if self.successes >= self.success_threshold:
            return True
        return False if self.failures >= self.failure_threshold else None


def port_number(container: Object, port: int | str) -> int:
    """Return the number of a port given by number or by the container's name for it.

    Raises:
        LaunchError: the container has no port of that name.
    """
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for item in container.get("ports") or []:
        if item.get("name") == port:
            return int(item["containerPort"])
    raise LaunchError(f"container {container['name']!r} has no port named {port!r}")


async def check(probe: Object, target: Target) -> tuple[bool, str]:
    """Probe once; return whether it was good, and what was seen."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        if "exec" in probe:
            code, output = await run_command(target.command(list(probe["exec"]["command"])), seconds)
            if code is None:
                return False, f"command timed out after {seconds:g} s"
            return code == 0, output.strip()[:500] or f"exit code {code}"
        async with asyncio.timeout(seconds):
            if "tcpSocket" in probe:
                return await _tcp(probe["tcpSocket"], target)
            if "httpGet" in probe:
                return await _http(probe["httpGet"], target)
    except TimeoutError:
        return False, f"no answer within {seconds:g} s"
    except (OSError, aiohttp.ClientError, LaunchError) as error:
        return False, str(error) or repr(error)
    kinds = [key for key in probe if key not in _SETTINGS]
    return False, f"a probe of kind {', '.join(kinds) or '(none)'} is not honoured here; use exec, tcpSocket or httpGet"


_SETTINGS = frozenset(
    (
        "initialDelaySeconds",
        "periodSeconds",
        "timeoutSeconds",
        "successThreshold",
        "failureThreshold",
        "terminationGracePeriodSeconds",
    )
)


async def watch(
    probe: Object, target: Target, verdict: Callable[[bool, str], Awaitable[bool]], delay: bool = True
) -> None:
    """Probe for ever; tell each certain verdict with what was seen last, until told to end.

    Args:
        probe: the probe's spec.
        target: where to look.
        verdict: called with True or False; returns whether to go on.
        delay: whether ``initialDelaySeconds`` is still to be waited (not after the kubelet's own restart).
    """
    if delay:
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    period = float(probe.get("periodSeconds") or 10)
    count = Count.of(probe)
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        good, seen = await check(probe, target)
        certain = count.add(good)
        if certain is not None and not await verdict(certain, seen):
            return
        await asyncio.sleep(max(0.0, began + period - loop.time()))


def _socket(place: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an address (as getaddrinfo tells it), which reaches also a pod that is cut off."""
    family, kind, protocol, _, address = place
    made = socket.socket(family, kind, protocol)
    if (key := cutting.keys.get(address[0])) is not None:
        tcp_keys.sign(made, key)
    return made


async def _tcp(action: Object, target: Target) -> tuple[bool, str]:
    host = action.get("host") or target.address
    port = port_number(target.container, action["port"])
    with _socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))) as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
    return True, f"{host}:{port} is open"


async def _http(action: Object, target: Target) -> tuple[bool, str]:
    host = action.get("host") or target.address
    port = port_number(target.container, action["port"])
    scheme = (action.get("scheme") or "HTTP").lower()
    url = f"{scheme}://{host}:{port}/{(action.get('path') or '/').lstrip('/')}"
    headers = {item["name"]: item["value"] for item in action.get("httpHeaders") or []}
    checked = scheme != "https"  # as the real kubelet: a certificate is not checked
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=_socket)) as session,
        session.get(url, headers=headers, ssl=checked, allow_redirects=False) as answer,
    ):
        return 200 <= answer.status < 400, f"HTTP probe of {url}: status {answer.status}"
