"""Passes TCP connections on, byte for byte, with back-pressure, half-close and resets."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
from collections.abc import Callable, Sequence
from typing import cast

from tiphys.local.proxy.routes import Address

log = logging.getLogger(__name__)

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends a reset instead of an orderly end."""
_BUFFER = 64 * 1024


class Side(asyncio.BufferedProtocol):
    """One end of a forwarded connection; what it receives is written to its peer.

    Buffered, so that a load of many megabytes is read into one buffer instead of a new object each time.

    What comes before there is a peer is kept for it, and no more than one buffer is read until then. That cannot
    be left to `pause_reading` in `connection_made`: Python 3.11.2, which Debian 12 has,
    begins to read nevertheless.
    """

    def __init__(self) -> None:
        self.peer: Side | None = None
        self.transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(_BUFFER))
        self._early = b""
        self._ended = False

    def join(self, peer: Side) -> None:
        """Make this side and `peer` each other's, and pass on what came to either before."""
        self.peer, peer.peer = peer, self
        sides = (self, peer)
        # All bytes before any end, since two ends close both transports.
        for side in sides:
            side._pass_on_early_bytes()
        for side in sides:
            if side._ended and side.transport and not side.eof_received():
                side.transport.close()

    def _pass_on_early_bytes(self) -> None:
        if self.transport is None or self.peer is None or self.peer.transport is None:
            return
        if not self._ended:
            self.transport.resume_reading()
        if self._early:
            self.peer.transport.write(self._early)  # after resume_reading, since it may call for a pause
            self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = cast(asyncio.Transport, transport)
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what came."""
        if self.peer and self.peer.transport:
            # The transport keeps what it cannot send at once, so it must have its own copy of the buffer.
            self.peer.transport.write(bytes(self._buffer[:nbytes]))
        elif self.transport:
            self._early += bytes(self._buffer[:nbytes])
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Pass on that no more will come; the other direction stays open."""
        self._ended = True
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.write_eof()
            if self.peer._ended:
                return False  # both directions are over: asyncio closes this side, connection_lost the other
        return True

    def pause_writing(self) -> None:
        """Read no more from the peer while this end is slow."""
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the peer again."""
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side as this one ended: in order, or by a reset."""
        if self.peer and self.peer.transport:
            if exc is None and self._ended:
                self.peer.transport.close()
            else:
                self.peer.reset()

    def reset(self) -> None:
        """End this side by a reset."""
        if self.transport is None or self.transport.is_closing():
            return
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


class Listener:
    """Listens on one Service address and spreads new connections randomly over its targets.

    While there is no target it does not listen, so that a connection is refused at once, as kube-proxy does it.
    Established connections stay as they are when their target leaves the Service.
    """

    def __init__(self, address: Address, choose: Callable[[Sequence[Address]], Address] = random.choice):
        self.address = address
        self._choose = choose
        self._targets: tuple[Address, ...] = ()
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    async def set_targets(self, targets: tuple[Address, ...]) -> None:
        """Take new targets; none at all closes the door.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._targets = targets
        if targets and self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                self._accept, *self.address, backlog=1024, reuse_address=True, start_serving=True
            )
        elif not targets and self._server is not None:
            self._server.close()
            self._server = None

    def close(self) -> None:
        """Stop listening; established connections go on."""
        self._targets = ()
        if self._server:
            self._server.close()
            self._server = None

    def _accept(self) -> Side:
        client = _Accepted(self)
        return client

    def connect(self, client: Side) -> None:
        """Begin to connect an accepted client to one of the targets."""
        task = asyncio.create_task(self._connect(client))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: Side) -> None:
        if not self._targets:
            client.reset()
            return
        target = self._choose(self._targets)
        try:
            _, side = await asyncio.get_running_loop().create_connection(Side, *target)
        except OSError:
            # No second try with another target: packet filters would not do it either, and a client that
            # measures an outage must see what it would see in a cluster.
            client.reset()
            return
        if client.transport is None or client.transport.is_closing():
            side.reset()
            return
        client.join(side)


class _Accepted(Side):
    """The client's side of a connection."""

    def __init__(self, listener: Listener):
        super().__init__()
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look for a target at once."""
        super().connection_made(transport)
        self._listener.connect(self)
