"""pods/NAME/exec: a command in a container, its streams over one WebSocket (v4 and v5.channel.k8s.io).

The first byte of a message is the channel: 0 stdin, 1 stdout, 2 stderr, 3 the outcome as a Status object,
4 the terminal's size; in v5, 255 followed by a channel closes that channel. The command runs as the kubelet
would run it: with the environment and folder of the container's own process.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import pty
import signal
import struct
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from tiphys.local.apiserver.containers import chosen, status_of
from tiphys.local.apiserver.errors import bad_request, not_allowed, not_found
from tiphys.local.apiserver.requests import Target, is_true
from tiphys.local.apiserver.store import Store
from tiphys.local.kube_errors import ApiError
from tiphys.local.service import die_with_parent
from tiphys.local.settings import PLATFORM_VARIABLE

log = logging.getLogger(__name__)

STDIN, STDOUT, STDERR, OUTCOME, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_BLOCK = 64 * 1024
_END_SECONDS = 2.0
"""How long a command whose client is gone may take to end at SIGTERM."""


async def handle_exec(request: web.Request, target: Target, store: Store, home: Path) -> web.StreamResponse:
    """Run a command in a container and connect its streams to the client."""
    if request.method not in ("GET", "POST"):
        raise not_allowed()
    record = store.get(target.kind, target.namespace, target.name or "")
    if record is None:
        raise not_found(target.kind, target.name or "")
    pod = record.obj
    container = chosen(pod, request.query.get("container", ""))
    argv = request.query.getall("command", [])
    if not argv:
        raise bad_request("you must specify at least one command for the container")
    if "running" not in (status_of(pod, container).get("state") or {}):
        raise bad_request(f'container "{container}" of pod "{pod["metadata"]["name"]}" is not running')
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise bad_request(f"exec is served over WebSockets only ({', '.join(_PROTOCOLS)}), not SPDY")
    launch = _launch(home, pod, container, argv)
    socket = web.WebSocketResponse(protocols=_PROTOCOLS, max_msg_size=0, heartbeat=30)
    await socket.prepare(request)
    try:
        outcome = await _run(socket, launch, is_true(request, "stdin"), is_true(request, "tty"))
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        outcome = _failure(f'error executing command in container: "{argv[0]}": {error.strerror}')
    with suppress(ConnectionError):
        await socket.send_bytes(bytes([OUTCOME]) + json.dumps(outcome).encode())
        await socket.close()
    return socket


def _launch(home: Path, pod: dict[str, Any], container: str, argv: list[str]) -> Any:
    # Imported here: the API server starts and serves without the kubelet's code.
    from tiphys.local.kubelet.launch import LaunchError, exec_launch

    try:
        return exec_launch(home, pod, container, argv)
    except LaunchError as error:
        raise ApiError(500, "InternalError", f"cannot exec: {error}") from error


class _Terminal:
    """The server's end of a pseudo terminal."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.master, False)

    def own(self) -> None:
        """Make the terminal the new process's own; runs in the child."""
        die_with_parent()
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, size: bytes) -> None:
        """Take the size that the client tells, JSON with Width and Height in characters."""
        with suppress(ValueError, KeyError, TypeError, struct.error, OSError):
            told = json.loads(size)
            packed = struct.pack("HHHH", told["Height"], told["Width"], 0, 0)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, packed)


def _new_session() -> None:
    die_with_parent()
    os.setsid()


async def _run(socket: web.WebSocketResponse, launch: Any, stdin: bool, tty: bool) -> dict[str, Any]:
    terminal = _Terminal() if tty else None
    pipe = asyncio.subprocess.PIPE
    environment = {PLATFORM_VARIABLE: os.environ.get(PLATFORM_VARIABLE, ""), **launch.env}
    try:
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            env=environment,
            cwd=launch.cwd,
            stdin=terminal.slave if terminal else pipe if stdin else asyncio.subprocess.DEVNULL,
            stdout=terminal.slave if terminal else pipe,
            stderr=terminal.slave if terminal else pipe,
            preexec_fn=terminal.own if terminal else _new_session,
        )
    except OSError:
        if terminal:
            os.close(terminal.master)
        raise
    finally:
        if terminal:
            os.close(terminal.slave)
    incoming = asyncio.create_task(_feed(socket, process, terminal))
    if terminal:
        outgoing = [asyncio.create_task(_from_terminal(socket, terminal.master))]
    else:
        assert process.stdout and process.stderr
        outgoing = [
            asyncio.create_task(_from_pipe(socket, process.stdout, STDOUT)),
            asyncio.create_task(_from_pipe(socket, process.stderr, STDERR)),
        ]
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait([ended, incoming], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await _end(process)
        # A background child may hold the pipes open for ever: what the command itself wrote is there by now.
        await asyncio.wait(outgoing, timeout=1.0)
        return _outcome(await ended)
    finally:
        for task in (incoming, *outgoing):
            task.cancel()
        await asyncio.gather(incoming, *outgoing, return_exceptions=True)
        if process.returncode is None:
            await _end(process)
        if terminal:
            os.close(terminal.master)


async def _feed(socket: web.WebSocketResponse, process: asyncio.subprocess.Process, terminal: _Terminal | None) -> None:
    """Hand what the client sends to the command; return when the client is gone."""
    async for message in socket:
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            continue
        data = message.data if isinstance(message.data, bytes) else message.data.encode()
        channel, body = (data[0], data[1:]) if data else (None, b"")
        with suppress(ConnectionError, BrokenPipeError):
            if channel == STDIN and terminal:
                await _write_all(terminal.master, body)
            elif channel == STDIN and process.stdin and body:
                process.stdin.write(body)
                await process.stdin.drain()
            elif channel == CLOSE and body[:1] == bytes([STDIN]) and process.stdin:
                process.stdin.close()
            elif channel == RESIZE and terminal:
                terminal.resize(body)


async def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            await asyncio.sleep(0.01)


async def _from_pipe(socket: web.WebSocketResponse, stream: asyncio.StreamReader, channel: int) -> None:
    while data := await stream.read(_BLOCK):
        await socket.send_bytes(bytes([channel]) + data)


async def _from_terminal(socket: web.WebSocketResponse, master: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(master, ready.set)
    try:
        while True:
            await ready.wait()
            ready.clear()
            with suppress(BlockingIOError):
                data = os.read(master, _BLOCK)
                if not data:
                    return
                await socket.send_bytes(bytes([STDOUT]) + data)
    except OSError:
        return  # EIO: the last process on the terminal is gone
    finally:
        loop.remove_reader(master)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a command whose client is gone, with the processes of its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _outcome(code: int) -> dict[str, Any]:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    shown = code if code > 0 else 128 - code  # as a shell shows the end by a signal
    failed = _failure(f"command terminated with non-zero exit code: exit status {shown}", "NonZeroExitCode")
    failed["details"] = {"causes": [{"reason": "ExitCode", "message": str(shown)}]}
    return failed


def _failure(message: str, reason: str = "InternalError") -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
