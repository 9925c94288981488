"""The tool ``tiphys``: a table of commands whose modules are loaded when they are used."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

PLATFORM = "tiphys.commands.platform"
RUNS = "tiphys.commands.runs"
LISTS = "tiphys.commands.lists"
BACKUPS = "tiphys.commands.backups"

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module that has a click command of that name, what `tiphys --help` says of it)
    "up": (PLATFORM, "Start the local platform: MySQL, Kubernetes API, workflows, webhooks."),
    "down": (PLATFORM, "Stop the local platform and every process of it."),
    "status": (PLATFORM, "Show the platform's parts, nodes, clusters and running workflows."),
    "token": (PLATFORM, "Print the bearer token of the webhooks."),
    "kubeconfig": (PLATFORM, "Print the path of the platform's kubeconfig."),
    "templates": (LISTS, "List the templates, or show one's parameters."),
    "submit": (RUNS, "Run a template with parameters."),
    "trigger": (RUNS, "Run a template through its webhook."),
    "runs": (LISTS, "List the newest runs with their phase, age and verdict."),
    "wait": (RUNS, "Wait for a run to finish."),
    "resume": (RUNS, "Let a suspended run go on."),
    "stop": (RUNS, "Stop a run; its exit handlers still run."),
    "terminate": (RUNS, "End a run at once, without its exit handlers."),
    "logs": (RUNS, "Show what a run's steps logged."),
    "report": (RUNS, "Fetch a run's report."),
    "undelivered": ("tiphys.commands.undelivered", "List events that were taken, but became no run."),
    "backups": (BACKUPS, "List backups, or show one: age, proof, and which rule keeps it."),
    "doctor": ("tiphys.commands.doctor", "Say what a cluster lacks for the pack, and how to get it."),
    "install": ("tiphys.commands.install", "Install the pack into a cluster, or bring it up to this version."),
    "uninstall": ("tiphys.commands.uninstall", "Remove from a cluster what an install made, and nothing else."),
    "render": ("tiphys.commands.render", "Write the manifests from the templates."),
    "demo": ("tiphys.commands.demo", "One webhook, one measured failover, on this machine."),
}
"""To add a command, add a line here and the module."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help by the table, and loads one to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command `cmd_name`."""
        if cmd_name not in COMMANDS:
            return None
        module_name, _ = COMMANDS[cmd_name]
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                raise
            raise click.ClickException(
                f"this installation lacks {module_name}, which has the command {cmd_name}: install Tiphys again"
            ) from error
        attributes = (cmd_name, cmd_name.replace("-", "_"), f"{cmd_name.replace('-', '_')}_command")
        for attribute in attributes:
            if isinstance(command := getattr(module, attribute, None), click.Command):
                return command
        raise click.ClickException(f"{module_name} has no click command {cmd_name}: this is a bug")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, naming close ones when there is none of that name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            folder = Path(__file__).parent.parent / "workflows"
            runbooks = [module.name.replace("_", "-") for module in pkgutil.iter_modules([str(folder)])]
            if args[0] in runbooks:
                raise click.UsageError(f"{args[0]} is a template; run it: tiphys submit {args[0]} -p ...", ctx)
            close = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = f"; did you mean {' or '.join(close)}?" if close else ". `tiphys --help` lists them"
            raise click.UsageError(f"there is no command {args[0]}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tiphys {version('tiphys')}")
        ctx.exit()


class _Folder(click.Path):
    """A folder that has a name: an empty one, of a shell variable that is not set, would be the current folder."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        if value == "":
            self.fail("it is empty; name the platform's folder, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=_Folder(file_okay=False, path_type=Path),
    help="The platform's folder; wins over KUBECONFIG (default: TIPHYS_HOME, else the user's own data folder).",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Print the version."
)
def cli(home: Path | None) -> None:
    """Run MySQL runbooks on this machine or on a cluster.

    `tiphys up` starts a platform of your own: real MySQL servers, no Docker, no root.
    """
    if home is not None:
        folder = home.expanduser().absolute()
        os.environ["TIPHYS_HOME"] = str(folder)
        # What is typed wins over what the shell has: a KUBECONFIG there may name a cluster that nobody means now.
        os.environ["KUBECONFIG"] = str(folder / "kubeconfig")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool; what it is started with is the process's own command line unless `argv` is given."""
    try:
        cli.main(args=list(argv) if argv is not None else None, prog_name="tiphys")
    except BrokenPipeError:
        # Whoever read our output has gone: that is their decision, not an error.
        sys.stderr.close()
        sys.exit(141)


if __name__ == "__main__":
    main()
