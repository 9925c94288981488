"""Whether each part of the platform does its work, seen from outside.

The API server answers, the S3 server has answered a signed request, the kubelet's nodes are Ready, the gateway
takes connections; the others are ready once they hold a connection to the API server, since all that they do
begins with a watch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiphys.local.client import ApiError, Kube
from tiphys.local.platform.addresses import Socket, is_connected, listens, sockets
from tiphys.local.platform.record import PartState, Record
from tiphys.local.s3.state import State
from tiphys.local.settings import NAMESPACE, Settings

GIVE_UP = 4
"""A part that had to be started again so often is reported as failed (the supervisor goes on trying)."""


@dataclass(frozen=True)
class Readiness:
    """What is seen of one part.

    Attributes:
        state: ``ready``, ``starting``, ``building``, ``restarting``, ``absent``, ``failed``, ``stopped``.
        detail: a few words more.
    """

    state: str
    detail: str = ""

    @property
    def settled(self) -> bool:
        """Whether `tiphys up` need not wait for it any longer."""
        return self.state in ("ready", "absent", "building", "failed")


def node_is_ready(node: dict[str, Any]) -> bool:
    """Tell whether a Node object says that it takes pods."""
    conditions = node.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def look(settings: Settings, kube: Kube) -> dict[str, Readiness]:
    """Return the readiness of every part that the supervisor has written down."""
    record = Record.load(settings.home)
    table = sockets()
    answers = await _api_answers(settings, kube, table)
    seen = {}
    for name, state in record.parts.items():
        if state.state != "running":
            plain = {"waiting": "starting", "stopping": "stopped"}.get(state.state, state.state)
            if plain == "restarting" and state.restarts >= GIVE_UP:
                plain = "failed"
            seen[name] = Readiness(plain, state.message)
        elif name == "s3":
            seen[name] = s3_readiness(settings.home)
        elif name == "apiserver":
            seen[name] = Readiness("ready" if answers else "starting", settings.api_url if answers else "")
        elif not answers:
            seen[name] = Readiness("starting", "waits for the API server")
        else:
            seen[name] = _connected(state, settings, table)
            if seen[name].state == "ready" and name == "kubelet":
                # A kubelet that was killed left its nodes Ready: only one that is connected speaks for them.
                seen[name] = await _nodes(settings, kube)
            elif seen[name].state == "ready" and name == "gateway":
                seen[name] = await _webhooks(settings, kube, table)
    return seen


async def _api_answers(settings: Settings, kube: Kube, table: list[Socket]) -> bool:
    if not listens(settings.api_host, settings.api_port, table):
        return False
    try:
        await kube.wait_ready(0.0)
        return True
    except (ApiError, OSError):
        return False


def s3_readiness(home: Path) -> Readiness:
    """Return the S3 server's readiness from its own account."""
    state = State.load(home)
    name = " ".join(filter(None, (state.kind, state.version)))
    detail = "; ".join(filter(None, (name, state.message)))
    phase = "starting" if state.phase == "stopped" else state.phase
    return Readiness(phase, detail)


async def _nodes(settings: Settings, kube: Kube) -> Readiness:
    try:
        nodes = await kube.list("nodes")
    except ApiError:
        return Readiness("starting")
    ready = sum(map(node_is_ready, nodes))
    enough = ready >= settings.nodes
    return Readiness("ready" if enough else "starting", f"{ready} of {settings.nodes} nodes Ready")


def _connected(state: PartState, settings: Settings, table: list[Socket]) -> Readiness:
    if is_connected(state.pid, settings.api_host, settings.api_port, table):
        return Readiness("ready")
    return Readiness("starting", "not connected to the API server yet")


async def _webhooks(settings: Settings, kube: Kube, table: list[Socket]) -> Readiness:
    if listens("127.0.0.1", settings.webhook_port, table):
        return Readiness("ready", f"http://127.0.0.1:{settings.webhook_port}")
    try:
        if not await kube.list("eventsources", NAMESPACE):
            return Readiness("ready", "no EventSource, so no webhook is open")
    except ApiError:
        pass
    return Readiness("starting", f"not listening on port {settings.webhook_port} yet")
