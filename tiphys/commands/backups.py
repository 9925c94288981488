"""``tiphys backups list|show``: what the bucket holds, how old it is, whether it was proven, and what stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tiphys.commands.runs import of_cluster
from tiphys.runs.api import Cluster
from tiphys.runs.errors import NotFound, ToolError

if TYPE_CHECKING:
    from steps.backup.catalogue import Catalogue
    from steps.backup.objects import Bucket
    from steps.backup.retention import Decision

_output = click.option(
    "-o",
    "output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print.",
)
_endpoint = click.option("--endpoint", metavar="URL", help="Of S3, as this machine reaches it. [default: the Secret's]")


@click.group()
def backups() -> None:
    """List backups, or show one: age, size, whether it was verified, and which rule keeps it."""


@backups.command("list")
@click.option("-c", "--cluster", "only", metavar="NAME", help="Only the backups of this cluster.")
@_output
@_endpoint
@of_cluster
def list_backups(cluster: Cluster, only: str | None, output: str, endpoint: str | None) -> None:
    """List the backups, the newest first, and what is there unfinished."""
    from steps.backup.catalogue import NAME, read_catalogue
    from tiphys.runs.backups import COLUMNS, backup_rows, unfinished_lines, unreadable_lines, values_of
    from tiphys.runs.listing import table
    from tiphys.runs.s3 import bucket_of

    with bucket_of(cluster, endpoint) as bucket:
        seen = read_catalogue(bucket)
        kept = _kept(cluster, bucket, seen)

    def mine(name: str) -> bool:
        found = NAME.fullmatch(name)
        return only is None or (found is not None and found["cluster"] == only)

    made = [one for one in seen.backups if only in (None, one.cluster)]
    unfinished = [one for one in seen.unfinished if mine(one.name)]
    unreadable = {name: why for name, why in seen.unreadable.items() if mine(name)}
    if output != "table":
        _print(
            {
                "backups": [values_of(one, kept[one.name]) for one in made],
                "unfinished": [
                    {"name": one.name, "bytes": one.size, "newest": one.newest.isoformat(), "ours": one.ours}
                    for one in unfinished
                ],
                "unreadable": unreadable,
            },
            output,
        )
        return
    if made:
        click.echo("\n".join(table(backup_rows(seen, made, kept), COLUMNS)))
    else:
        whose = f" of {only}" if only else ""
        click.echo(f"There is no finished backup{whose}; make one: tiphys submit backup -p cluster={only or '...'}")
    if unfinished:
        click.echo("\nNot finished:\n" + "\n".join(unfinished_lines(seen, unfinished)))
    if unreadable:
        click.echo("\nNot readable:\n" + "\n".join(unreadable_lines(unreadable)))


@backups.command("show")
@click.argument("name")
@click.option("-c", "--cluster", "of", metavar="NAME", help="Whose newest one `latest` means.")
@_output
@_endpoint
@of_cluster
def show_backup(cluster: Cluster, name: str, of: str | None, output: str, endpoint: str | None) -> None:
    """Show backup NAME: its moment, tables, verification, and which rule keeps it. NAME may be `latest`."""
    from steps.backup.catalogue import read_catalogue
    from steps.backup.layout import prefix
    from steps.backup.manifest import FILE, Manifest
    from tiphys.runs.backups import page, values_of
    from tiphys.runs.s3 import bucket_of

    with bucket_of(cluster, endpoint) as bucket:
        seen = read_catalogue(bucket)
        found = [one for one in seen.backups if one.name == name]
        if name == "latest":
            if of is None:
                raise ToolError("latest of which cluster? add --cluster NAME")
            found = seen.latest(of, cluster.namespace)
        if not found:
            raise ToolError(_not_there(seen, name, of))
        one, kept = found[0], _kept(cluster, bucket, seen)[found[0].name]
        manifest = Manifest.parse(bucket.get(prefix(one.name) + FILE))
        place = bucket.name
    if output == "table":
        click.echo("\n".join(page(one, manifest, kept, seen.at, place)))
    else:
        more = {"files": len(manifest.files), "tables": manifest.tables, "keyless": manifest.keyless}
        _print({**values_of(one, kept), **more}, output)


def _kept(cluster: Cluster, bucket: Bucket, seen: Catalogue) -> dict[str, Decision]:
    from steps.backup.readers import readers
    from tiphys.runs.backups import decisions

    try:
        clusters = cluster.list("innodbclusters")
    except NotFound:
        clusters = []  # no operator here: the backups may be another cluster's
    return decisions(seen, clusters, cluster.namespace, readers(bucket, seen.at)[0])


def _not_there(seen: Catalogue, name: str, of: str | None) -> str:
    if name in seen.unreadable:
        return f"backup {name} cannot be read: {seen.unreadable[name]}"
    if name in {one.name for one in seen.unfinished}:
        return f"backup {name} was never finished: it has no tiphys.json, so nothing restores it"
    names = [one.name for one in seen.backups if of in (None, one.cluster)][:5]
    whose = f"{name} backup of {of}" if name == "latest" else f"backup {name}"
    return f"there is no {whose}; the newest are: {', '.join(names) or 'none'}"


def _print(document: Any, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
