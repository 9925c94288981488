"""`tiphys demo`: one webhook, one measured failover, by the same commands that a person would type."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from uuid import uuid4

import click

from tiphys.local.platform.record import is_up
from tiphys.local.s3.state import State
from tiphys.local.settings import default_home

CLUSTER = "demo"


def tiphys(*arguments: str, check: bool = True) -> int:
    """Show and run one `tiphys` command; its output goes straight to the person.

    Returns:
        The exit code, 0 where `check` is true.

    Raises:
        click.ClickException: `check` is true and the command failed.
    """
    click.secho(f"\n$ tiphys {shlex.join(arguments)}", bold=True)
    # Never to another cluster: the demo is this machine's, whatever KUBECONFIG names.
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    command = [sys.executable, "-m", "tiphys.cli", *arguments]
    code = subprocess.run(command, check=False, env=environment).returncode
    if check and code:
        raise click.ClickException(f"tiphys {arguments[0]} ended with {code}; its output above says why")
    return code


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave the platform running at the end.")
@click.option("--rows", type=click.IntRange(1), default=100_000, show_default=True, help="Sample rows to load.")
@click.option(
    "--fault",
    type=click.Choice(["crash", "switchover", "delete-pod"]),
    default="crash",
    show_default=True,
    help="What happens to the primary.",
)
def demo(keep: bool, rows: int, fault: str) -> None:
    """Start the platform, deploy a cluster, and measure one failover.

    Three MySQL servers in group replication and two Routers are started on this machine, rows are loaded, and one
    POST to the webhook kills the primary while clients write through the Router. The report says how long writes
    stopped and whether one was lost. A platform that was up already is left up.
    """
    started = time.monotonic()
    was_up = is_up(default_home())
    key = uuid4().hex[:8]
    verdict = 1
    # Told to end, as interrupted: what was started here is stopped.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        tiphys("up")
        tiphys("submit", "deploy-cluster", "-p", f"cluster={CLUSTER}", "-p", "servers=3", "-p", "routers=2", "--wait")
        tiphys("submit", "load-sample-data", "-p", f"cluster={CLUSTER}", "-p", f"rows={rows}", "--wait")
        if State.load(default_home()).phase == "building":
            click.echo("\nThe S3 server is still being built, once; what the drill measures waits for it at the end.")
        verdict = tiphys(
            *("trigger", "failover-drill", "-p", f"cluster={CLUSTER}", "-p", f"fault={fault}"),
            *("--key", key, "--wait"),
            check=False,
        )
        tiphys("report", f"failover-drill-{key}")
    finally:
        if keep or was_up:
            click.echo("\nThe platform is still up. See `tiphys status`; stop it with `tiphys down`.")
        else:
            tiphys("down", check=False)
        signal.signal(signal.SIGTERM, before)
    click.echo(f"\nThe demo took {time.monotonic() - started:.0f} s.")
    sys.exit(verdict)
