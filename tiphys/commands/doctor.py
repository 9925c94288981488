"""``tiphys doctor``: what a cluster has, what it lacks, and how to get it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import IO, TYPE_CHECKING

import click

from tiphys.commands.install import of_installation, s3_of, s3_options

if TYPE_CHECKING:
    from tiphys.install.kube import Kube


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with all findings.")
@click.option("--overlay", "overlays", multiple=True, metavar="NAME", help="That an install would use; repeatable.")
@s3_options
@of_installation
def doctor(
    kube: Kube,
    as_json: bool,
    overlays: tuple[str, ...],
    s3_bucket: str,
    s3_endpoint: str,
    s3_region: str,
    s3_ca: IO[str] | None,
    s3_keys: str,
) -> None:
    """Look at a cluster: what the pack needs, what is missing, and how to get it. Changes nothing.

    S3 is asked with the values in the Secret tiphys-s3, or with those given here. Exits with 0 if all is well, with 30
    if there are warnings, with 31 if something will not work.
    """
    from tiphys.install import doctor as checks
    from tiphys.install import findings, pack

    s3 = s3_of(s3_bucket, s3_endpoint, s3_region, s3_ca, s3_keys)
    before = pack.recalled(kube)
    # What the rights are for does not depend on the name of the webhook.
    host, allow = before.host or pack.EXAMPLE_HOST, before.allow or (pack.EXAMPLE_RANGE,)
    repository = before.repository or pack.EXAMPLE_REPOSITORY
    choice = replace(before, overlays=overlays or before.overlays, host=host, allow=allow, repository=repository)
    objects = pack.load(choice, kube.namespace).objects
    found = []
    for one in checks.examine(kube, objects, s3):
        found.append(one)
        if not as_json:
            click.echo("\n".join(one.lines()))
    level = findings.worst(found)
    if as_json:
        answer = {"level": level, "host": kube.cluster.host, "namespace": kube.namespace}
        click.echo(json.dumps({**answer, "findings": [one.values() for one in found]}, indent=2))
    else:
        counts = {each: sum(one.level == each for one in found) for each in findings.EXIT_CODES}
        click.echo(f"\n{counts['ok']} ok, {counts['warning']} warnings, {counts['error']} errors")
    sys.exit(findings.EXIT_CODES[level])
