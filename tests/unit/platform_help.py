"""Help for tests that run parts of the platform: free networks, homes, real processes that end with the test."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tiphys.local.platform.processes import end, of_platform
from tiphys.local.platform.supervisor import part_environment
from tiphys.local.settings import Settings

PATIENCE = 60.0
"""Seconds; long, because CI runs scenarios and builds beside these tests. Nothing that works waits so long."""

HELD = 12
"""Networks and ports that a process keeps for itself after it took them: the newest."""

_held: deque[int] = deque()


def program_on_path(folder: Path, name: str, says: str) -> None:
    """Put a program into `folder` that prints `says`."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(0o755)


def is_ours(what: str) -> bool:
    """Keep a network or a port for this process, unless another that runs tests has it: both halves take from one lot.

    Seconds pass before whoever is to have it listens there, and after it was killed to be started again.
    """
    with socket.socket(socket.AF_UNIX) as mark:
        try:
            mark.bind(f"\0tiphys-tests-{what}")  # in no folder: it goes when this process does
        except OSError:
            return False
        _held.append(mark.detach())
    if len(_held) > HELD:
        os.close(_held.popleft())
    return True


def free_network() -> int:
    """Return a network number whose fixed addresses nobody has; scenarios, run beside these tests, take 200 and up."""
    for number in random.sample(range(100, 200), 100):
        if not is_ours(f"network-{number}"):
            continue
        try:
            for host, port in ((f"127.{number}.0.1", 6443), (f"127.{number}.0.2", 7070)):
                with socket.socket() as trial:
                    trial.bind((host, port))
        except OSError:
            continue
        return number
    raise AssertionError("no network number is free")


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return TCP ports on 127.0.0.1 that nobody has.

    Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that none of
    those takes one before its server is started.
    """
    found = []
    for port in random.sample(range(10_000, 13_000), 100):
        if not is_ours(f"port-{port}"):
            continue
        try:
            with socket.create_server(("127.0.0.1", port)):
                found.append(port)
        except OSError:
            continue
        if len(found) == count:
            return found
    raise AssertionError(f"fewer than {count} ports are free")


def new_home(folder: Path) -> Settings:
    settings = Settings(folder, network=free_network(), webhook_port=free_port())
    settings.save()
    return settings


def eventually(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:.0f} s"
        time.sleep(0.05)


@contextmanager
def running(module: str, settings: Settings, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a part of the platform; at the end nothing that carries the platform's mark is left."""
    log = settings.home / f"{module}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--home", str(settings.home)],
            stdout=output,
            stderr=output,
            env={**part_environment(settings.home), **environment},
            cwd=settings.home,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        clean(settings.home)


def clean(home: Path) -> None:
    left = end(lambda: of_platform(home), 10.0)
    assert not left, f"not ended: {left}"


def tool(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tool in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tiphys.cli", "--home", str(home), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=180,
    )
