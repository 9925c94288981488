"""``tiphys templates`` and ``tiphys runs``: what there is to run, and what has run."""

from __future__ import annotations

import json

import click

from tiphys.commands.runs import of_cluster
from tiphys.runs.api import Cluster

_json = click.option("-o", "output", type=click.Choice(["json"]), help="Print JSON.")


@click.command()
@click.argument("name", required=False)
@_json
@of_cluster
def templates(cluster: Cluster, name: str | None, output: str | None) -> None:
    """List the templates, or show the parameters of template NAME."""
    from tiphys.runs.listing import parameter_rows, template_list, template_page, template_rows

    if name is not None:
        template = cluster.template(name)
        if output == "json":
            click.echo(json.dumps(parameter_rows(template), indent=2))
        else:
            click.echo("\n".join(template_page(template)))
        return
    rows = template_rows(cluster.list("workflowtemplates"))
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo(f"Namespace {cluster.namespace} has no templates; `tiphys up` applies them, or `kubectl apply`.")
    else:
        click.echo("\n".join(template_list(rows)))
        click.echo("\n`tiphys templates NAME` shows the parameters of one.", err=True)


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, the newest first.")
@click.option("-o", "output", type=click.Choice(["json", "name"]), help="Print JSON, or only the names.")
@of_cluster
def runs(cluster: Cluster, limit: int, output: str | None) -> None:
    """List the newest runs with their phase, age and verdict."""
    from tiphys.runs.listing import run_rows, table

    rows = run_rows(cluster.list("workflows"), limit)
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
    elif output == "name":
        click.echo("".join(f"{row['name']}\n" for row in rows), nl=False)
    elif not rows:
        click.echo(f"Namespace {cluster.namespace} has no runs; `tiphys templates` lists what can be run.")
    else:
        click.echo("\n".join(table(rows, ("name", "template", "phase", "age", "took", "verdict", ""))))
