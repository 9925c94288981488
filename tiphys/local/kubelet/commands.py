"""Runs short commands inside a container: exec probes and preStop hooks."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from tiphys.local.kubelet.launch import Launch

OUTPUT_LIMIT = 10_000


async def run_command(launch: Launch, seconds: float) -> tuple[int | None, str]:
    """Run a command in a session of its own; return its exit code (None: it took too long) and its output.

    The output is cut at `OUTPUT_LIMIT` bytes; what a command leaves running in its session is killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=launch.cwd,
            env=dict(launch.env),
            start_new_session=True,
        )
    except OSError as error:
        return 126 if isinstance(error, PermissionError) else 127, str(error)
    reader = asyncio.create_task(_read(process.stdout))
    try:
        async with asyncio.timeout(seconds):
            code: int | None = await process.wait()
    except TimeoutError:
        code = None
    finally:
        # Not only after a timeout: a hook's forgotten children would hold the output open.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    output = await reader
    return code, output.decode(errors="replace")


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    kept = b""
    while stream is not None and (chunk := await stream.read(65536)):
        kept += chunk[: OUTPUT_LIMIT - len(kept)]
    return kept
