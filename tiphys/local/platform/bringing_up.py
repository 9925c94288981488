"""What ``tiphys up`` does: checks, the supervisor, what the pack needs in the API server, and the waiting."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiphys.local.client import AlreadyExists, ApiError, Kube
from tiphys.local.mysql_packages import MySQL, MySQLUnavailable, data_template, ensure
from tiphys.local.platform import addresses
from tiphys.local.platform.access import ensure_webhook_secret, write_kubeconfig
from tiphys.local.platform.fewer_nodes import retire
from tiphys.local.platform.manifests import Applied, ManifestError, apply, base_folder, read_folder
from tiphys.local.platform.readiness import Readiness, look
from tiphys.local.platform.record import STAMP, STATE_FORMAT, Record, foreign, is_up, stamp, stamped
from tiphys.local.platform.supervisor import part_environment
from tiphys.local.settings import NAMESPACE, Settings

SECONDS = 90.0
"""How long the parts may take to become ready (MySQL's download is not part of it)."""
SUPERVISOR_SECONDS = 30.0
"""How long the supervisor may take to be there, on a machine that does much else; one that ends is told of at once."""

Show = Callable[[str, Readiness], None]
"""Called with the name of a part (or ``mysql``, ``manifests``) and what is seen of it."""


class UpError(Exception):
    """The platform cannot be brought up; the message says why and what to do."""


def decide(saved: Settings, up: bool, **options: int | None) -> Settings:
    """Return the settings to use: what is saved, changed by the options that were given.

    Args:
        saved: the platform's settings so far.
        up: whether the platform is up now.
        options: fields of `Settings`; None where the option was not given.

    Raises:
        UpError: an option contradicts a platform that is up, or one whose objects hold addresses already.
    """
    given = {name: value for name, value in options.items() if value is not None}
    wanted = replace(saved, **given)  # type: ignore[arg-type]
    other = {name: value for name, value in given.items() if getattr(saved, name) != value}
    words = ", ".join(f"--{name.replace('_', '-')} {getattr(saved, name)}" for name in other)
    if up and other:
        raise UpError(f"the platform is up with {words}; run `tiphys down` first to change that")
    if "network" in other and (saved.home / STAMP).exists():
        raise UpError(
            f"the platform in {saved.home} was made with --network {saved.network}, and its objects hold those "
            "addresses; keep the number, or run `tiphys down --purge` first, which removes its clusters and backups"
        )
    if not 1 <= wanted.network <= 254 or not 1 <= wanted.nodes <= 100 or not 0 < wanted.webhook_port < 65536:
        raise UpError("--network takes 1 to 254, --nodes 1 to 100, --webhook-port 1 to 65535")
    return wanted


def check(settings: Settings) -> None:
    """Check that a platform that is down can be brought up.

    Raises:
        UpError: this is not Linux, its folder is somebody else's, its files are of another format, or an address
            is in use.
    """
    if sys.platform != "linux":
        raise UpError(
            f"the local platform runs on Linux only (this is {sys.platform}): it needs the whole loopback range "
            "and /proc. Use a Linux machine, or a cluster with Argo"
        )
    if others := foreign(settings.home):
        raise UpError(
            f"{settings.home} has files that are not a platform's ({others}), and `tiphys down --purge` would remove "
            "them; name a new or an empty folder by --home or TIPHYS_HOME"
        )
    form, version = stamped(settings.home)
    if form != STATE_FORMAT:
        raise UpError(
            f"the files in {settings.home} were made by Tiphys {version} (format {form}); this one reads format "
            f"{STATE_FORMAT}. Use that version, or run `tiphys down --purge` and start afresh"
        )
    if problems := addresses.taken(settings):
        raise UpError(". ".join(problems))


def wait_for_end(home: Path, say: Callable[[], None]) -> None:
    """Wait until a platform that is being ended is down: a `tiphys down` that was interrupted goes on by itself."""
    deadline = time.monotonic() + SECONDS
    told = False
    while is_up(home) and Record.load(home).ending and time.monotonic() < deadline:
        if not told:
            say()
            told = True
        time.sleep(0.1)


def start_supervisor(settings: Settings) -> None:
    """Start the supervisor in a session of its own and wait until it is alive.

    Raises:
        UpError: it ended; the message has its last words.
    """
    settings.save()
    stamp(settings.home)
    write_kubeconfig(settings)
    settings.logs.mkdir(exist_ok=True, mode=0o700)
    log = settings.logs / "supervisor.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tiphys.local.platform.supervisor", "--home", str(settings.home)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=part_environment(settings.home),
            cwd=settings.home,
            start_new_session=True,
        )
    deadline = time.monotonic() + SUPERVISOR_SECONDS
    while not (is_up(settings.home) and Record.load(settings.home).pid == process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise UpError(f"the supervisor did not start: {_event(last)}; its log is {log}")
        time.sleep(0.02)


def _event(lines: list[str]) -> str:
    """Return what a JSON line of a log says, or the line itself."""
    line = lines[0] if lines else "it said nothing"
    try:
        return str(json.loads(line)["event"])
    except (ValueError, KeyError, TypeError):
        return line


async def prepare_mysql(show: Show) -> MySQL:
    """Have MySQL and its data template ready, showing the progress."""

    def progress(message: str, fraction: float | None) -> None:
        show("mysql", Readiness("starting", message + ("" if fraction is None else f" {fraction:.0%}")))

    def work() -> MySQL:
        mysql = ensure(progress)
        data_template(progress)
        return mysql

    try:
        mysql = await asyncio.to_thread(work)
    except MySQLUnavailable as error:
        raise UpError(str(error)) from error
    show("mysql", Readiness("ready", f"{mysql.version} ({mysql.origin})"))
    return mysql


async def prepare_api(settings: Settings, kube: Kube, show: Show) -> Applied | None:
    """Create what the pack needs (namespaces, the webhooks' Secret, the manifests); None without manifests."""
    await _wait_until_taken_over(settings)
    await kube.wait_ready(SECONDS)
    for name in ("default", "kube-system", NAMESPACE):
        namespace: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        with contextlib.suppress(AlreadyExists):
            await kube.create("namespaces", namespace)
    await ensure_webhook_secret(kube)
    await retire(kube, settings)
    folder = base_folder()
    if folder is None:
        show(
            "manifests", Readiness("absent", "there is no manifests/base: run `tiphys render`, then `tiphys up` again")
        )
        return None
    applied = await apply(kube, read_folder(folder))
    show("manifests", Readiness("ready", str(applied)))
    return applied


async def _wait_until_taken_over(settings: Settings) -> None:
    """Wait until the supervisor has ended what a killed one left: that API server still answers, but not for long."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        parts = Record.load(settings.home).parts.values()
        if not parts or any(part.state != "waiting" for part in parts):
            return
        await asyncio.sleep(0.05)


async def wait_for_parts(settings: Settings, kube: Kube, show: Show) -> dict[str, Readiness]:
    """Wait until every part is ready, absent, or (S3) still being built; return what was seen last.

    Raises:
        UpError: a part fails or is not ready in time, or the supervisor is gone.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        if not is_up(settings.home):
            raise UpError(f"the supervisor ended; see {settings.logs / 'supervisor.log'}")
        seen = await look(settings, kube)
        for name, readiness in seen.items():
            show(name, readiness)
        waiting = [name for name, readiness in seen.items() if not readiness.settled]
        if failed := [f"{name} ({one.detail})" for name, one in seen.items() if one.state == "failed"]:
            raise UpError(
                f"not working: {'; '.join(failed)}. The rest is left running: `tiphys status` shows it, "
                "`tiphys down` ends it"
            )
        if not waiting:
            return seen
        if time.monotonic() > deadline:
            reasons = "; ".join(f"{name} is {seen[name].state} {seen[name].detail}".strip() for name in waiting)
            raise UpError(f"not ready after {SECONDS:.0f} s: {reasons}; the logs are in {settings.logs}")
        await asyncio.sleep(0.1)


async def bring_up(settings: Settings, show: Show) -> Applied | None:
    """Bring everything to work that the supervisor has started (or has long been keeping)."""
    async with Kube.from_home(settings.home) as kube:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(prepare_mysql(show))
                applied = group.create_task(prepare_api(settings, kube, show))
                group.create_task(wait_for_parts(settings, kube, show))
        except ExceptionGroup as group_of:
            # Not `except*`: Python 3.11.2, which Debian 12 has, wraps what is raised in it into another group.
            told, others = group_of.split((UpError, ManifestError))
            if told:
                raise UpError("; ".join(map(str, told.exceptions))) from group_of
            failed, _ = (others or group_of).split((ApiError, OSError))
            if failed:
                raise UpError(f"the API server: {failed.exceptions[0]}; see {settings.logs}") from group_of
            raise
        # What was ready without them may not be ready for them: the gateway opens its port for an EventSource.
        await wait_for_parts(settings, kube, show)
        return applied.result()
