"""The application's users, against real HTTP servers that answer well, badly, late, half or not at all."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import click
import pytest
from platform_help import eventually

from steps.drill import users as application
from steps.drill.clock import Clock
from steps.drill.site import ANNOTATION, APP_URL, Site, site_of
from steps.drill.users import ANSWER_SECONDS, Request, Users, refusal, require_answers, unsteady
from steps.errors import BadParameters, Refused
from steps.kube.client import Kube

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(data: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return answer


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never silent for long, never done: no limit on a single read ends this."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    # Without lingering, closing sends a reset.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on a port of its own; returns host and port."""
    loop = asyncio.new_event_loop()
    started, stop, at = threading.Event(), asyncio.Event(), list[str]()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls)
        at.append("{}:{}".format(*server.sockets[0].getsockname()[:2]))
        started.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {cast(Any, asyncio.current_task())}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield at[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def ask(url: str, number: int = 3, answer_seconds: float = 30, **options: Any) -> list[Request]:
    """What `number` requests came to."""
    users = Users(Site(url, **options), Clock(), interval=0.02, answer_seconds=answer_seconds)
    users.start()
    eventually(lambda: len(users.requests) >= number or not users.is_alive())
    told = users.stop()
    assert not users.died
    assert len({each.start for each in told}) == len(told), "a request is told once"
    return told


@pytest.mark.parametrize(
    ("answer", "good", "kind"),
    [
        (says(GOOD), True, "HTTP 200"),
        (says(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"), True, "HTTP 302"),
        (says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), False, "HTTP 500"),
        (says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), False, "HTTP 404"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), False, "the answer broke off"),
        (says(b"SSH-2.0-OpenSSH_9\r\n"), False, "no HTTP answer"),
        (says(b""), False, "closed without an answer"),
        (resets, False, "connection reset"),
        (hangs, False, "no whole answer within 2 s"),
        (drips, False, "no whole answer within 2 s"),
    ],
    ids=["200", "302", "500", "404", "half", "ssh", "empty", "reset", "hang", "drip"],
)
def test_every_answer_is_told_for_what_it_is(answer: Answer, good: bool, kind: str) -> None:
    patience = 2 if answer in (hangs, drips) else 30
    with serving(answer) as at:
        told = [r for r in ask(f"http://{at}/", answer_seconds=patience) if r.end is not None]
    assert {(request.good, request.kind) for request in told} == {(good, kind)}


async def test_the_limit_of_an_answer_is_not_rounded_up() -> None:
    """As aiohttp does by itself from 5 s on: seen were requests that were given up after 5.96 s."""
    async with application._session(Site("http://shop/"), ANSWER_SECONDS) as session:
        assert session.timeout.total == ANSWER_SECONDS < session.timeout.ceil_threshold


def test_nobody_listens_and_nobody_knows_the_name() -> None:
    with serving(says(GOOD)) as at:
        pass
    assert {r.kind for r in ask(f"http://{at}/")} == {"connection refused"}
    users = Users(Site("http://no-such-host.invalid/"), Clock(), interval=0.05)
    users.start()
    eventually(lambda: bool(users.requests))
    assert {r.kind for r in users.stop() if r.end is not None} == {"the name was not resolved"}


def test_users_keep_coming_while_the_application_hangs() -> None:
    with serving(hangs) as at:
        users = Users(Site(f"http://{at}/"), Clock(), interval=0.01, answer_seconds=30)
        users.start()
        clock = users._clock
        eventually(lambda: clock() > 0.5)
        told = users.stop()
    assert len(told) > 3 and all(request.end is None for request in told), "each waits, and none waits for another"
    assert [r.kind for r in told[:1]] == ["not answered yet"] and not any(r.good for r in told)


def test_what_was_sent_after_the_end_of_the_measuring_is_no_part_of_it() -> None:
    with serving(says(GOOD)) as at:
        users = Users(Site(f"http://{at}/"), Clock(), interval=0.01)
        users.start()
        eventually(lambda: len(users.requests) >= 3)
        until = users._clock()
        seen = len(users.requests)
        eventually(lambda: len(users.requests) >= seen + 3 and users.requests[-1].start > until)
        told = users.stop(until)
    assert len(told) >= 3 and told[-1].start <= until < max(each.start for each in users.requests)


def test_a_service_s_address_stands_for_its_name() -> None:
    seen = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(GOOD)

    with serving(answer) as at:
        host, _, port = at.partition(":")
        assert all(r.good for r in ask(f"http://shop:{port}/a?b=1", address=host))
    assert seen[0].startswith("GET /a?b=1 HTTP/1.1") and f"Host: shop:{port}" in seen[0]
    assert "Cookie" not in seen[-1]


def test_a_certificate_has_to_be_valid_unless_told_otherwise(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(self_signed(tmp_path))
    with serving(says(GOOD), tls) as at:
        assert {r.kind for r in ask(f"https://{at}/")} == {"the TLS certificate was refused"}
        assert {r.kind for r in ask(f"https://{at}/", verify_tls=False)} == {"HTTP 200"}


def test_a_drill_does_not_begin_while_its_application_is_ill() -> None:
    with serving(says(GOOD)) as at:
        assert "answers (HTTP 200 in" in require_answers(Site(f"http://{at}/"))
    bad, silent = says(b"HTTP/1.1 500 No\r\n\r\n"), "no whole answer within 0.3 s"
    for answer, patience, seen in ((bad, ANSWER_SECONDS, "HTTP 500"), (hangs, 0.3, silent)):
        with serving(answer) as at, pytest.raises(Refused) as refused:
            require_answers(Site(f"http://{at}/"), answer_seconds=patience)
        assert f"3 of 3 requests failed ({seen})" in str(refused.value) and "app-url=none" in str(refused.value)


def test_what_was_not_steady_is_told_with_its_kinds() -> None:
    told = [Request(0.0, 0.1, 200), Request(5.0, 5.1, 200), Request(5.1, 5.2, 500), Request(5.2, 5.3, 0, "x")]
    assert unsteady(told, 1.0, 5.5) == "2 of the last 3 requests failed (HTTP 500 1 times, x 1 times)"
    assert unsteady([], 1.0, 5.5) == "no answer came back"
    assert "127.0.0.9" in refusal(Site("http://shop/", "127.0.0.9"), "x")


@pytest.mark.parametrize(
    "text",
    ["shop", "http://", "ftp://shop/", "http://a b/", "http://shop:0/", "http://shop:99999/", "http://[::1", "nothing"],
)
def test_only_addresses_of_http_are_taken(text: str) -> None:
    with pytest.raises(click.BadParameter):
        APP_URL.convert(text, None, None)


def test_credentials_are_refused_and_not_repeated() -> None:
    with pytest.raises(click.BadParameter, match="credentials") as refused:
        APP_URL.convert("https://me:hunter2@shop/", None, None)
    assert "hunter2" not in str(refused.value)
    for good in ("none", "http://shop", "https://shop.tiphys.svc:8443/health?x=1&y=%20"):
        assert APP_URL.convert(good, None, None) == good


class Api:
    """A namespace with one Service and one cluster."""

    namespace = "tiphys"

    def __init__(self, noted: str = "") -> None:
        self.noted = noted

    def find(self, resource: str, name: str) -> dict[str, Any] | None:
        assert resource == "services"
        found = {"shop": "10.0.0.5", "headless": "None"}.get(name)
        return None if found is None else {"spec": {"clusterIP": found}}

    def cluster(self, name: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {ANNOTATION: self.noted} if self.noted else None}}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("shop", "10.0.0.5"),
        ("shop.tiphys.svc", "10.0.0.5"),
        ("shop.tiphys.svc.cluster.local", "10.0.0.5"),
        ("shop.other.svc", ""),
        ("shop.example.com", ""),
        ("headless", ""),
        ("gone", ""),
    ],
)
def test_a_service_of_the_namespace_is_looked_up_in_kubernetes(host: str, address: str) -> None:
    site = site_of(cast(Kube, Api()), "demo", f"http://{host}:8080/x")
    assert site is not None and site.address == address and site.host == host


def test_the_cluster_s_owner_may_note_the_application() -> None:
    kube = cast(Kube, Api("https://shop/"))
    assert site_of(kube, "demo", None) == Site("https://shop/", "10.0.0.5")
    assert site_of(kube, "demo", "none") is None
    assert site_of(cast(Kube, Api()), "demo", None) is None
    with pytest.raises(BadParameters, match=ANNOTATION):
        site_of(cast(Kube, Api("gopher://x")), "demo", None)


def self_signed(folder: Path) -> Path:
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, "shop")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    file = folder / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file
