"""A real S3 server, and a proxy before it that fails on demand: what a network and a busy server do to a client."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from steps.backup.objects import Bucket
from steps.backup.s3_settings import Settings
from tiphys.local.s3 import programs

ALWAYS = 10**9
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass
class Fault:
    """What happens to some requests; the first fault that fits a request is the one that it meets.

    Attributes:
        method: of the requests, any if empty.
        path: pattern that is searched in path and query.
        skip: requests that pass before the first one that fails.
        times: requests that fail.
        answer: status and S3 error code that are answered, the server not asked.
        hang: the request is taken and never answered.
        cut_request: bytes of the content after which the connection is cut.
        cut_answer: the same of the answer's content.
        lose_answer: the server does it, and the client never hears of it.
        flip_request: index of a byte of the content that is changed on its way.
        flip_answer: the same of the answer's content.
        drip: bytes of the content that pass at a time, both ways, with a pause after each.
    """

    method: str = ""
    path: str = ""
    skip: int = 0
    times: int = 1
    answer: tuple[int, str] | None = None
    hang: bool = False
    cut_request: int | None = None
    cut_answer: int | None = None
    lose_answer: bool = False
    flip_request: int | None = None
    flip_answer: int | None = None
    drip: int | None = None
    hits: int = 0


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]


class Proxy:
    """Passes requests on to an S3 server, but for those that a fault is for."""

    def __init__(self, host: str, server: tuple[str, int]) -> None:
        self._server, self._host = server, host
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="s3-faults")
        self._thread.start()
        assert self._ready.wait(60)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    def meet(self, *faults: Fault) -> None:
        """Forget what was, and let these faults come."""
        self.faults, self.requests = list(faults), []

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._end, self._tasks = asyncio.Event(), set[asyncio.Task[None]]()
        server = await asyncio.start_server(self._accept, self._host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    def _fault(self, method: str, target: str) -> Fault:
        for fault in self.faults:
            if fault.method in ("", method) and re.search(fault.path, unquote(target)):
                fault.hits += 1
                if fault.skip < fault.hits <= fault.skip + fault.times:
                    return fault
        return Fault()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Do one request; return whether the connection can take another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        self.requests.append(Request(method, target, headers))
        fault = self._fault(method, target)
        if fault.hang:
            while await reader.read(1 << 16):
                pass
            return False
        length = int(headers.get("content-length", 0))
        if "expect" in headers and (fault.answer or fault.cut_request is not None):
            writer.write(CONTINUE)
        if fault.cut_request is not None:
            await reader.readexactly(min(fault.cut_request, length))
            return False
        if fault.answer:
            status, code = fault.answer
            await reader.readexactly(length)
            said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the test</Message></Error>".encode()
            if status == 200:
                said = b""
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said)
            await writer.drain()
            return True
        sent = [line for line in head[1:-2] if not line.lower().startswith("connection:")]
        request = "\r\n".join([head[0], *sent, "Connection: close", "", ""]).encode("latin1")
        server, to_server = await asyncio.open_connection(*self._server)
        try:
            to_server.write(request)
            refused = b""
            if "expect" in headers and not (refused := await server.readuntil(b"\r\n\r\n")).startswith(CONTINUE[:12]):
                # The content stays where it is: the connection is of no more use.
                length = 0
            elif "expect" in headers:
                refused = b""
                writer.write(CONTINUE)
            content = b""
            while len(content) < length:
                content += await reader.readexactly(min(fault.drip or length, length - len(content)))
                await asyncio.sleep(0.005 if fault.drip else 0)
            with suppress(OSError):
                to_server.write(_flipped(content, fault.flip_request))
                await to_server.drain()
            answer = refused
            # A server that refuses early says so, and then breaks the connection on which we still send.
            with suppress(OSError):
                while part := await server.read(1 << 16):
                    answer += part
            if not answer:
                return False
        finally:
            to_server.transport.abort()
        if fault.lose_answer:
            return False
        start, _, rest = answer.partition(b"\r\n\r\n")
        kept = [line for line in start.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        writer.write(b"\r\n".join([*kept, b"", b""]))
        rest = _flipped(rest, fault.flip_answer)
        if fault.cut_answer is not None:
            writer.write(rest[: fault.cut_answer])
            await writer.drain()
            return False
        for at in range(0, len(rest), step := fault.drip or len(rest) or 1):
            writer.write(rest[at : at + step])
            await writer.drain()
            if fault.drip:
                await asyncio.sleep(0.005)
        return not refused


def _flipped(content: bytes, index: int | None) -> bytes:
    if index is None:
        return content
    changed = bytearray(content)
    changed[index] ^= 1
    return bytes(changed)


class Server:
    """versitygw over a folder, with users of its own."""

    bucket = "tiphys"

    def __init__(self, folder: Path, host: str, *options: str, scheme: str = "http") -> None:
        found = programs.versitygw_there()
        assert found is not None, "the fixture `versitygw` comes first"
        self.program, self.folder, self.host, self.scheme = found.path, folder, host, scheme
        self.objects = folder / "objects"
        self.key, self.secret = "root", secrets.token_hex(16)
        for name in (self.objects, folder / "users", folder / "attributes"):
            name.mkdir(parents=True)
        with socket.socket() as trial:
            trial.bind((host, 0))
            self.port = trial.getsockname()[1]
        words = [str(self.program), "--port", f"{host}:{self.port}", "--quiet", "--keep-alive", *options]
        words += ["--iam-dir", str(folder / "users"), "posix"]
        if not programs.keeps_attributes(self.objects):
            words += ["--sidecar", str(folder / "attributes")]
        environment = {"ROOT_ACCESS_KEY": self.key, "ROOT_SECRET_KEY": self.secret}
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen([*words, str(self.objects)], env=environment, stdout=log, stderr=log)
        for _ in range(200):
            with suppress(OSError), socket.create_connection((host, self.port), 1):
                break
            time.sleep(0.05)
        else:
            raise AssertionError((folder / "log").read_text())

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def environment(self, **changed: str) -> dict[str, str]:
        """Return what a step's environment holds for this server."""
        return {
            "S3_ENDPOINT": self.url,
            "S3_REGION": "us-east-1",
            "S3_BUCKET": self.bucket,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "S3_TIMEOUT_SECONDS": "20",
            **changed,
        }

    def user(self, name: str) -> str:
        """Make a user who may do nothing yet; return the secret key."""
        secret = secrets.token_hex(16)
        subprocess.run(
            [self.program, "admin", "create-user", "--access", name, "--secret", secret, "--role", "user"],
            env={
                "ADMIN_ACCESS_KEY_ID": self.key,
                "ADMIN_SECRET_ACCESS_KEY": self.secret,
                "ADMIN_ENDPOINT_URL": self.url,
            },
            check=True,
            capture_output=True,
        )
        return secret

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def bucket_of(environment: dict[str, str], connections: int = 16) -> Bucket:
    """Return the bucket that an environment names, as `Bucket.from_environment` does."""
    settings = Settings.read(environment)
    return Bucket(settings.client(connections), settings.bucket, write=settings.write, checksum=settings.checksum)


@contextmanager
def faulty_s3(folder: Path, host: str) -> Iterator[tuple[Server, Proxy]]:
    """Run a server with a bucket, and the proxy before it."""
    server = Server(folder, host)
    try:
        direct = bucket_of(server.environment())
        direct.client.create_bucket(Bucket=server.bucket)
        direct.close()
        proxy = Proxy(host, (host, server.port))
        try:
            yield server, proxy
        finally:
            proxy.stop()
    finally:
        server.stop()


def retries(capsys: Any) -> list[dict[str, Any]]:
    """Return the log's lines of tries that failed."""
    import json

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "trying S3 again"]
