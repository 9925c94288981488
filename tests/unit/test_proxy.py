"""The service proxy with real sockets: balance, refusal, half-close, back-pressure, resets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tiphys.local.proxy.forward import Listener
from tiphys.local.proxy.routes import Address, routes

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_address(host: str = "127.82.199.1") -> Address:
    with socket.socket() as probe:
        probe.bind((host, 0))
        found: Address = probe.getsockname()
        return found


@asynccontextmanager
async def backend(handler: Handler) -> AsyncIterator[Address]:
    tasks = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.82.198.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)


@asynccontextmanager
async def listening(*targets: Address, **options) -> AsyncIterator[Listener]:
    listener = Listener(free_address(), **options)
    await listener.set_targets(targets)
    try:
        yield listener
    finally:
        listener.close()
        await asyncio.sleep(0.01)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_bytes_come_back_and_a_half_close_reaches_the_other_end() -> None:
    async def count_then_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        total = 0
        while data := await reader.read(1 << 20):
            total += len(data)
        writer.write(f"{total}".encode())
        await writer.drain()

    async with backend(count_then_answer) as target, listening(target) as listener:
        reader, writer = await asyncio.open_connection(*listener.address)
        for _ in range(50):
            writer.write(b"x" * 100_003)
            await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"5000150"
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("half_close", [False, True])
async def test_what_a_client_sends_before_there_is_a_target_is_not_lost(half_close: bool) -> None:
    async with backend(echo) as target, listening(target) as listener:
        loop = asyncio.get_running_loop()
        # The kernel takes connection and bytes while this thread holds the loop: all is there when the proxy looks.
        with socket.create_connection(listener.address) as client:
            client.sendall(b"x" * 200_000)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            client.setblocking(False)
            got = 0
            while got < 200_000:
                got += len(await loop.sock_recv(client, 1 << 20))
            if half_close:
                assert await loop.sock_recv(client, 1) == b""


async def test_much_data_both_ways_arrives_in_order() -> None:
    sent = bytes(range(256)) * 40_000
    async with backend(echo) as target, listening(target) as listener:
        reader, writer = await asyncio.open_connection(*listener.address)

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        task = asyncio.create_task(send())
        assert await reader.read() == sent
        await task
        writer.close()
        await writer.wait_closed()


async def test_a_slow_reader_holds_the_sender_back() -> None:
    written = 0

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while True:
            writer.write(b"y" * 65536)
            await writer.drain()
            written += 65536

    async with backend(pour) as target, listening(target) as listener:
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await asyncio.get_running_loop().sock_connect(client, listener.address)
        before = -1
        limit = 64 * 1024 * 1024
        while not written or before != written < limit:
            before = written
            await asyncio.sleep(0.2)
        # What the kernel's buffers and one buffer of the proxy hold, and not more.
        assert 0 < written < limit
        client.close()


async def test_no_target_refuses_and_a_new_one_serves() -> None:
    async with backend(echo) as target, listening() as listener:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*listener.address)
        await listener.set_targets((target,))
        reader, writer = await asyncio.open_connection(*listener.address)
        await listener.set_targets(())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*listener.address)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await writer.wait_closed()


async def test_a_dead_target_is_a_reset_not_another_target() -> None:
    dead = free_address("127.82.198.2")
    async with backend(echo) as target, listening(dead, target, choose=lambda targets: targets[0]) as listener:
        assert listener._targets == (dead, target)
        reader, writer = await asyncio.open_connection(*listener.address)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()


async def test_a_reset_of_the_target_reaches_the_client() -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        linger = b"\x01\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with backend(slam) as target, listening(target) as listener:
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(b"!")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()


async def test_an_orderly_end_of_the_target_is_an_orderly_end_for_the_client() -> None:
    async def say_and_go(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        await writer.drain()

    async with backend(say_and_go) as target, listening(target) as listener:
        reader, writer = await asyncio.open_connection(*listener.address)
        assert await reader.read() == b"bye"
        writer.close()
        await writer.wait_closed()


async def test_connections_are_spread_over_all_targets() -> None:
    def named(name: bytes) -> Handler:
        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name)
            await writer.drain()

        return answer

    async with (
        backend(named(b"a")) as first,
        backend(named(b"b")) as second,
        listening(first, second) as listener,
    ):
        seen = set()
        for _ in range(64):  # both are seen but for one time in 2**63
            reader, writer = await asyncio.open_connection(*listener.address)
            seen.add(await reader.read())
            writer.close()
            await writer.wait_closed()
        assert seen == {b"a", b"b"}


def test_routes_take_ready_addresses_by_the_ports_name() -> None:
    service = {
        "spec": {
            "clusterIP": "127.82.200.7",
            "ports": [
                {"name": "rw", "port": 3306, "targetPort": 6446},
                {"name": "ro", "port": 6447, "targetPort": "ro"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ],
        }
    }
    endpoints = {
        "subsets": [
            {
                "addresses": [{"ip": "127.82.1.4"}, {"ip": "127.82.2.4"}],
                "notReadyAddresses": [{"ip": "127.82.3.4"}],
                "ports": [{"name": "rw", "port": 6446}],
            }
        ]
    }
    assert routes(service, endpoints) == {
        ("127.82.200.7", 3306): (("127.82.1.4", 6446), ("127.82.2.4", 6446)),
        ("127.82.200.7", 6447): (),
    }
    assert routes(service, None)[("127.82.200.7", 3306)] == ()
    assert routes({"spec": {"clusterIP": "None", "ports": [{"port": 1}]}}, endpoints) == {}
