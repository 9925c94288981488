"""``tiphys uninstall``: all that an install made, and nothing else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tiphys.commands.install import of_installation, refuse_local
from tiphys.runs.errors import ToolError

if TYPE_CHECKING:
    from tiphys.install.kube import Kube

CLEAR = "\r\033[K"


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed and what would stay; remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-secrets", is_flag=True, help="Leave the webhook's token and the keys of S3 for a later install.")
@click.option("--force", is_flag=True, help="Even while runs go on, which then lose their rights and undo nothing.")
@click.option("--timeout", type=click.FloatRange(min=0), default=180, show_default=True, help="Seconds to wait.")
@of_installation
def uninstall(kube: Kube, dry_run: bool, yes: bool, keep_secrets: bool, force: bool, timeout: float) -> None:
    """Remove an installation from a cluster: what `tiphys install` made, and nothing else.

    MySQL clusters, their volumes, backups and reports in S3, and the records of runs stay, but for those of the
    schedules' own runs. The namespace goes if the install made it and nothing of yours is in it. It ends when all of
    that is gone, pods and namespace included.
    """
    from tiphys.install import remove
    from tiphys.install.kube import shown

    refuse_local(kube)
    removal = remove.make(kube, keep_secrets=keep_secrets)
    hindrances = remove.busy(kube)
    for line in hindrances:
        click.echo(line, err=True)
    if dry_run:
        for one in [*removal.going, *([removal.namespace] if removal.namespace and removal.takes_namespace else [])]:
            click.echo(f"would be removed: {shown(one)}")
    for one in removal.kept:
        click.echo(f"stays, as asked: {shown(one)}")
    for name in removal.others:
        click.echo(f"stays: {name}")
    if dry_run:
        return
    if hindrances and not force:
        raise ToolError(
            f"{len(hindrances)} things are under way; nothing was removed. Wait (`tiphys runs`), or end them "
            "(`tiphys stop RUN`, which undoes what a drill changed)"
        )
    what = f"{len(removal.going)} objects from namespace {kube.namespace} at {kube.cluster.host}"
    if not yes:
        click.confirm(f"Remove {what}?", abort=True)
    try:
        others = remove.carry_out(kube, removal, seconds=timeout, report=_say)
    finally:
        click.echo(CLEAR if sys.stdout.isatty() else "", nl=False)
    click.echo(f"Removed {what}.")
    if removal.namespace is None:
        click.echo(f"Namespace {kube.namespace} stays: it was there before the install.")
    elif others:
        click.echo(f"Namespace {kube.namespace} stays: {len(others)} other objects are in it.")


def _say(action: str, name: str) -> None:
    is_terminal = sys.stdout.isatty()
    # On a terminal what is waited for is one line, which is written over.
    click.echo(f"{CLEAR if is_terminal else ''}{action:<9} {name}", nl=not (is_terminal and action == "waiting"))
