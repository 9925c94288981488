"""``tiphys up``, ``down``, ``status``, ``token`` and ``kubeconfig``: the platform itself."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tiphys.local.settings import Settings, default_home

DOWN_SECONDS = 90.0
DOWN_TRIES = 3
CLUSTER_BYTES = 2_200_000_000
"""What three servers and two routers take, measured: 635 MB a server, the rest for the routers."""


@click.command()
@click.option("--nodes", type=int, help="Nodes that pods are scheduled onto. [default: 3]")
@click.option("--webhook-port", type=int, help="Port of the webhooks on 127.0.0.1. [default: 12000]")
@click.option("--network", type=int, help="Second byte of the platform's addresses, 127.N.0.0/16. [default: 71]")
@click.option(
    "--pre-stop-seconds",
    type=click.IntRange(0, 600),
    help="What a MySQL pod waits between its deletion and its shutdown; Oracle's operator waits 60. [default: 5]",
)
def up(nodes: int | None, webhook_port: int | None, network: int | None, pre_stop_seconds: int | None) -> None:
    """Start the local platform, or bring one that is up to what the manifests say now.

    Options are remembered: the next `tiphys up` uses the same ones.
    """
    from tiphys.local.files import locked
    from tiphys.local.platform import bringing_up
    from tiphys.local.platform.live import LiveList
    from tiphys.local.platform.parts import PARTS
    from tiphys.local.platform.record import is_up

    home = default_home()
    _make_home(home)
    with locked(home / "run" / "up.lock"):
        bringing_up.wait_for_end(home, lambda: click.echo(f"Waiting until the platform in {home} has ended", err=True))
        was_up = is_up(home)
        try:
            settings = bringing_up.decide(
                Settings.load(home),
                was_up,
                nodes=nodes,
                webhook_port=webhook_port,
                network=network,
                pre_stop_seconds=pre_stop_seconds,
            )
            if not was_up:
                bringing_up.check(settings)
                bringing_up.start_supervisor(settings)
            with LiveList(["mysql", *(part.name for part in PARTS), "manifests"]) as live:
                applied = asyncio.run(bringing_up.bring_up(settings, live.show))
        except bringing_up.UpError as error:
            raise click.ClickException(str(error)) from error
    _say_what_next(settings, was_up, f"manifests: {applied}" if applied else "no manifests were found")


def _make_home(home: Path) -> None:
    """Make the platform's folder, readable to its owner only."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "run").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise click.ClickException(
            f"{home} cannot be made ({error.strerror}); set TIPHYS_HOME to a folder that you may write"
        ) from error


def _say_what_next(settings: Settings, was_up: bool, applied: str) -> None:
    from tiphys.local.s3.state import State

    click.echo(f"\nThe platform in {settings.home} {'was up already' if was_up else 'is up'}; {applied}.")
    s3 = State.load(settings.home)
    if s3.message:
        click.echo(f"S3: {s3.message}.")
    if warning := memory_warning(Path("/proc/meminfo").read_text()):
        click.echo(warning)
    if os.environ.get("KUBECONFIG") not in (None, "", str(settings.kubeconfig)):
        click.echo(
            "Note: KUBECONFIG is set, so submit, trigger, wait, logs and report go to the cluster that it names; "
            "`unset KUBECONFIG` for this platform."
        )
    home = "" if "TIPHYS_HOME" not in os.environ else f" --home {settings.home}"
    click.echo(
        "\nNext:\n"
        f"  tiphys{home} submit deploy-cluster -p cluster=demo --wait\n"
        f"  tiphys{home} trigger failover-drill -p cluster=demo -p fault=crash\n"
        f"  kubectl --kubeconfig $(tiphys{home} kubeconfig) get innodbclusters,pods,workflows\n"
        f"  tiphys{home} status\n"
        f"  tiphys{home} down"
    )


def memory_warning(meminfo: str) -> str:
    """Return what to tell a person whose machine has too little memory for a cluster of three; else nothing."""
    values = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    available = int(values.get("MemAvailable", "0 kB").split()[0]) * 1024
    if available >= CLUSTER_BYTES:
        return ""
    return (
        f"Note: {available / 1e9:.1f} GB of memory is available; a cluster of three servers takes about "
        f"{CLUSTER_BYTES / 1e9:.1f} GB. Deploy with fewer servers, or free some."
    )


@click.command()
@click.option("--purge", is_flag=True, help="Remove the platform's files as well: clusters, backups, runs.")
def down(purge: bool) -> None:
    """Stop the local platform: every process of it, and prove that none is left.

    Its files are kept, so that `tiphys up` brings its clusters back, unless --purge is given.
    """
    from tiphys.local.platform.ending import end_everything
    from tiphys.local.platform.live import LiveList
    from tiphys.local.platform.processes import of_platform
    from tiphys.local.platform.readiness import Readiness
    from tiphys.local.platform.record import is_up
    from tiphys.local.platform.status import active_runs

    home = default_home()
    if not is_up(home) and not of_platform(home):
        click.echo(f"The platform in {home} is down already.")
    else:
        for line in asyncio.run(active_runs(Settings.load(home))) if is_up(home) else []:
            click.echo(line, err=True)
        with _going_on(), LiveList([]) as live:
            # More than once, because an `up` that stood in line behind another may start it anew meanwhile.
            for _ in range(DOWN_TRIES):
                if is_up(home):
                    _end_supervisor(home, live)
                # What a killed supervisor left, and what slipped through.
                if of_platform(home):
                    end_everything(home, lambda name, *state: live.show(name, Readiness(*state)))
                if not (left := of_platform(home)):
                    break
        if left:
            names = ", ".join(map(str, left))
            raise click.ClickException(f"still running: {names}. End them yourself, then run `tiphys down` again")
        click.echo(f"The platform in {home} is down; no process of it is left.")
    if purge:
        _purge(home)


@contextmanager
def _going_on() -> Iterator[None]:
    """Say to a person who interrupts us that the platform's end is the supervisor's work, which goes on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nThe platform goes on ending; `tiphys status` shows how far it is.", err=True)
        raise


def _end_supervisor(home: Path, live: object) -> None:
    """Tell the supervisor to end the platform, and show how far it is."""
    from tiphys.local.platform.live import LiveList
    from tiphys.local.platform.processes import is_alive, read, send
    from tiphys.local.platform.readiness import Readiness
    from tiphys.local.platform.record import Record, is_up

    assert isinstance(live, LiveList)
    supervisor = read(Record.load(home).pid)
    if supervisor:
        send(supervisor, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while (is_alive(supervisor) if supervisor else is_up(home)) and time.monotonic() < deadline:
        for name, part in Record.load(home).parts.items():
            if part.state in ("stopping", "stopped"):
                live.show(name, Readiness(part.state, part.message if part.state == "stopping" else ""))
        time.sleep(0.05)


def _purge(home: Path) -> None:
    """Remove the platform's folder, if it is one; of a link or a mount point, what is in it."""
    from tiphys.local.platform.record import FILE_SYSTEMS_OWN, STAMP, foreign

    if not home.exists():
        return
    if others := foreign(home):
        raise click.ClickException(f"{home} is not the folder of a platform (it has {others}): nothing was removed")
    files = [path for path in home.iterdir() if path.name != FILE_SYSTEMS_OWN]
    # The stamp last: a purge that was cut off can be run again.
    for path in sorted(files, key=lambda path: path.name == STAMP):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise click.ClickException(f"{error.filename} cannot be removed ({error.strerror})") from error
    try:
        home.rmdir()
        click.echo(f"{home} is removed.")
    except OSError as error:
        click.echo(f"The platform's files are removed; {home} itself stays ({error.strerror}).")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-o", "output", type=click.Choice(["json"]), help="The same, as in the other commands.")
def status(as_json: bool, output: str | None) -> None:
    """Show the platform's parts, nodes, clusters and running workflows.

    The exit code is 3 when the platform is down, 1 when a part does not work.
    """
    from tiphys.local.platform.status import gather, page_lines

    found = asyncio.run(gather(Settings.load(default_home())))
    if as_json or output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        from rich.console import Console

        click.echo("\n".join(page_lines(found, Console(soft_wrap=True))), color=True)
    if not found["up"]:
        raise SystemExit(3)
    if found["problems"] or any(part["state"] in ("failed", "restarting") for part in found["parts"]):
        raise SystemExit(1)


@click.command()
def token() -> None:
    """Print the bearer token of the webhooks, for `curl -H "Authorization: Bearer $(tiphys token)"`."""
    from tiphys.local.client import ApiError, Kube, NotFound
    from tiphys.local.platform.access import WEBHOOK_SECRET, webhook_token

    settings = _of_platform()

    async def ask() -> str:
        async with Kube.from_home(settings.home) as kube:
            await kube.wait_ready(1.0)
            return await webhook_token(kube)

    try:
        click.echo(asyncio.run(ask()))
    except NotFound as error:
        raise click.ClickException(f"there is no Secret {WEBHOOK_SECRET}; `tiphys up` makes it") from error
    except ApiError as error:
        raise click.ClickException(
            f"the API server of {settings.home} does not answer ({error.message}); is it up? `tiphys status`"
        ) from error


@click.command()
def kubeconfig() -> None:
    """Print the path of the platform's kubeconfig, for `kubectl --kubeconfig $(tiphys kubeconfig)`."""
    click.echo(_of_platform().kubeconfig)


def _of_platform() -> Settings:
    settings = Settings.load(default_home())
    if not settings.kubeconfig.exists():
        raise click.ClickException(f"there is no platform in {settings.home}; start one with `tiphys up`")
    return settings
