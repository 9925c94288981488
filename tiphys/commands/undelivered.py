"""``tiphys undelivered``: events that the webhook, GitHub or the calendar took, and that became no run."""

from __future__ import annotations

import json

import click

from tiphys.commands.runs import of_cluster
from tiphys.runs.api import Cluster

PART_OF = "app.kubernetes.io/part-of=tiphys"
"""Label of all that the pack installs."""


@click.command()
@click.option("--forget", metavar="NAME", multiple=True, help="Remove the dead letter NAME; `all` for all of them.")
@click.option("-o", "output", type=click.Choice(["json"]), help="Print JSON.")
@of_cluster
def undelivered(cluster: Cluster, forget: tuple[str, ...], output: str | None) -> None:
    """List events that were taken, but became no run.

    The Sensor left a dead letter of each, since the API server had refused its
    run again and again: no right, a quota, an admission webhook, an outage, or
    a run of that name with other parameters. Nothing of it runs by itself: below
    each stands the command that runs it now.
    """
    from tiphys.runs.undelivered import forget as remove
    from tiphys.runs.undelivered import letters, lines

    found = letters(cluster)
    if forget:
        for name in [one.name for one in found] if forget == ("all",) else forget:
            if name not in {one.name for one in found}:
                raise click.ClickException(f"there is no dead letter {name}; `tiphys undelivered` lists them")
            remove(cluster, name)
            click.echo(f"forgotten: {name}")
        if not found:
            click.echo("There is no dead letter, so none was forgotten.")
        return
    if not found and not cluster.list("workflowtemplates", PART_OF):
        raise click.ClickException(f"namespace {cluster.namespace} has no runbook of Tiphys; name the pack's with -n")
    if output == "json":
        click.echo(json.dumps([vars(one) for one in found], indent=2, default=dict))
    elif not found:
        click.echo(f"Namespace {cluster.namespace} has no dead letters: every event became a run or was refused.")
    else:
        click.echo("\n".join(lines(found)))
