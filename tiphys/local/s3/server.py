"""The S3 part: choose a server, start it, prove that it answers, and tell the platform about it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from pathlib import Path

from tiphys.local.client import ApiError, Kube
from tiphys.local.s3 import build, programs
from tiphys.local.s3.credentials import Credentials, list_bucket, load_or_make
from tiphys.local.s3.programs import Program
from tiphys.local.s3.publish import publish
from tiphys.local.s3.state import State
from tiphys.local.service import die_with_parent
from tiphys.local.settings import Settings

STOP_SECONDS = 5.0
START_SECONDS = 30.0
LOST_ON_STOP = "moto's server keeps objects in memory: they are lost when the platform stops"

log = logging.getLogger(__name__)


async def run(home: Path) -> int:
    """Run the S3 server of the platform in `home` until cancelled; return non-zero when it failed."""
    settings = Settings.load(home)
    credentials = await asyncio.to_thread(load_or_make, settings)
    State("starting").save(home)
    publishing = asyncio.create_task(_publish(settings, credentials))
    try:
        program, message = await choose(home)
        return await _serve(program, message, settings, credentials)
    except build.BuildFailed as error:
        log.error("no S3 server", extra={"reason": str(error)})
        State("failed", message=str(error)).save(home)
        return 1
    except asyncio.CancelledError:
        State("stopped").save(home)
        raise
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing


async def choose(home: Path) -> tuple[Program, str]:
    """Return the server to start and what a person should know about that choice.

    Raises:
        build.BuildFailed: there is none, and none could be built.
    """
    if program := programs.versitygw_there():
        return program, ""
    message = "versitygw is being built from its Go module, once (about two minutes)"
    State("building", "versitygw", build.VERSION, message=message).save(home)
    try:
        path = await build.build()
        return Program("versitygw", build.VERSION, "built", path), ""
    except build.BuildFailed as error:
        if moto := programs.moto_there():
            log.warning("falling back to moto", extra={"reason": str(error)})
            return moto, f"{LOST_ON_STOP} ({error})"
        raise build.BuildFailed(
            f"{error}; and moto's server is not installed. Put versitygw or Go on PATH, or install this "
            "package's extra local-s3, then run `tiphys up` again"
        ) from error


async def _serve(program: Program, message: str, settings: Settings, credentials: Credentials) -> int:
    """Run the server as a child process; returns non-zero when it ended by itself."""
    state = State("starting", program.kind, program.version, program.origin, message)
    state.save(settings.home)
    process = await asyncio.create_subprocess_exec(
        *programs.command(program, settings),
        env=programs.environment(program, credentials, settings.home),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
        cwd=settings.home,
    )
    assert process.stderr
    said = asyncio.create_task(_pass_on(process.stderr))
    ended = asyncio.create_task(process.wait())
    proof = asyncio.create_task(_prove(credentials))
    try:
        await asyncio.wait({ended, proof}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done() and not proof.result():
            state = replace(state, phase="ready", pid=process.pid)
            state.save(settings.home)
            log.info("S3 server is ready", extra={"kind": state.kind, "version": state.version, "note": message})
            await ended
            reason = f"{program.kind} ended with code {process.returncode}: {await said}"
        elif ended.done():
            reason = f"{program.kind} did not start (code {process.returncode}): {await said}"
        else:
            reason = f"{program.kind} did not answer a signed request: {proof.result()}"
        log.error("S3 server failed", extra={"reason": reason})
        replace(state, phase="failed", message=reason, pid=0).save(settings.home)
        return 1
    finally:
        proof.cancel()
        await _end(process, ended)
        said.cancel()


async def _prove(credentials: Credentials) -> str:
    """Poll the server until it lists the bucket; return the last error if it never does, else nothing."""
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            await asyncio.to_thread(list_bucket, credentials)
            return ""
        except (BotoCoreError, ClientError) as error:
            if asyncio.get_running_loop().time() > deadline:
                return str(error)
        await asyncio.sleep(0.1)


async def _pass_on(stream: asyncio.StreamReader) -> str:
    """Log what the server prints on stderr and return its last line that says something."""
    last = ""
    while line := await stream.readline():
        if text := line.decode(errors="replace").strip():
            last = text
            log.info("s3", extra={"said": text[:500]})
    return last


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """End the server, kindly first."""
    if ended.done():
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    done, _ = await asyncio.wait({ended}, timeout=STOP_SECONDS)
    if not done:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await ended


async def _publish(settings: Settings, credentials: Credentials) -> None:
    """Write the Secret and the ConfigMap as soon as there is an API server."""
    waiting = False
    async with Kube.from_home(settings.home) as kube:
        while True:
            try:
                await kube.wait_ready(3600.0)
                await publish(kube, credentials)
                log.info("published the S3 credentials")
                return
            except (ApiError, OSError) as error:
                if not waiting:
                    log.info("waiting for the API server to take the S3 credentials", extra={"reason": str(error)})
                    waiting = True
            await asyncio.sleep(0.5)
