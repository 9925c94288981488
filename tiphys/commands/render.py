"""``tiphys render``: the manifests, made from workflows/, eventsources/ and sensors/."""

from __future__ import annotations

from pathlib import Path

import click

import tiphys


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 if a file is not as rendered.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(tiphys.__file__).parent.parent / "manifests",
    help="Folder of the manifests. [default: manifests/ of the project]",
)
def render(only_check: bool, out: Path) -> None:
    """Write the manifests from the templates, and check that the local platform honours every field.

    `kubectl apply -k manifests/base` installs what this writes.
    """
    from tiphys.rendering import Rendering, not_honoured

    try:
        rendering = Rendering.of_project(out / "base")
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    problems = not_honoured(rendering.objects)
    if only_check:
        problems += rendering.differences()
    else:
        written = rendering.write()
        click.echo(f"{len(rendering.files)} files in {rendering.base}: {len(written)} changed")
        for name in written:
            click.echo(f"  {name}")
    if problems:
        for problem in problems:
            click.echo(problem, err=True)
        raise click.ClickException(f"{len(problems)} problems" + ("; run `tiphys render`" if only_check else ""))
    if only_check:
        click.echo(f"{len(rendering.files)} files in {rendering.base} are as rendered")
