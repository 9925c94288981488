"""``tiphys submit, trigger, wait, resume, stop, terminate, logs, report``: runs, on whatever cluster is meant."""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tiphys.runs.api import Cluster, Object, address
from tiphys.runs.arguments import faults_by_rules, scheduled, workflow
from tiphys.runs.errors import Forbidden, NotFound, ToolError
from tiphys.runs.nodes import phase_of

if TYPE_CHECKING:
    from steps.parameters import Parameter

TOKEN_SECRET = "tiphys-webhook"
KEY = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def of_cluster(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which cluster is meant; the command gets a `cluster`."""
    import functools

    @click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Default: KUBECONFIG, else the local platform.")
    @click.option("-n", "--namespace", help="Where the pack is. [default: the kubeconfig's]")
    @functools.wraps(function)
    def command(*args: Any, kubeconfig: str | None, namespace: str | None, **kwargs: Any) -> Any:
        return function(*args, cluster=Cluster(address(kubeconfig, namespace)), **kwargs)

    return command


_parameters = click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="Once for each.")
_timeout = click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most. [default: no limit]")
_wait = click.option("--wait", "then_wait", is_flag=True, help="Follow the run; exit with 1 if it does not succeed.")


@click.command()
@click.argument("template", required=False)
@_parameters
@click.option("--name", help="The run's name. [default: made from the template's]")
@_wait
@_timeout
@click.option("-o", "output", type=click.Choice(["json", "name"]), help="Print only the Workflow, or only its name.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the parameters only, start nothing. A runbook itself tells what it would do to a cluster by "
    "-p dry-run=true, where it takes that.",
)
@of_cluster
def submit(
    cluster: Cluster,
    template: str | None,
    pairs: tuple[str, ...],
    name: str | None,
    then_wait: bool,
    timeout: float | None,
    output: str | None,
    dry_run: bool,
) -> None:
    """Run TEMPLATE with parameters; `tiphys templates` lists the templates.

    They are checked against the template before anything is created. The name of a CronWorkflow, such as reap or
    cronwf/reap, runs what that would run at its next time.
    """
    schedule = _schedule(cluster, template)
    template, values, rules = _checked(cluster, template, pairs, schedule)
    if name is not None and not NAME.fullmatch(name):
        raise ToolError(f"{name!r} is no name for a run: at most 63 characters of a-z, 0-9 and -, not - at its ends")
    labels = {"tiphys.dev/trigger": "submit"}
    if schedule is not None:
        wanted = scheduled(schedule, values, name=name, labels=labels)
    else:
        wanted = workflow(template, values, name=name, labels=labels)
    run = cluster.create_workflow(wanted, dry_run)
    run_name = str(run["metadata"].get("name") or f"{template}-")
    if dry_run:
        lines = [f"  {key}={values.get(key, rule.default or '')}" for key, rule in rules.items()]
        said = f"{template} would run with these parameters; nothing was started:" if lines else f"{template} would run"
        _print_object(run, output, "\n".join([said, *lines]))
        return
    if then_wait:
        if output is None:
            click.echo(f"{run_name} started", err=True)
        _follow(cluster, run_name, timeout, output)
    _print_object(run, output, f"{run_name} started; follow it with `tiphys wait {run_name}`")


@click.command()
@click.argument("template", required=False)
@_parameters
@click.option("--key", help="Idempotency-Key: the run is TEMPLATE-KEY, and a second one is not made. [default: random]")
@click.option("--url", help="Of the webhooks. [default: the local platform's]")
@_wait
@_timeout
@click.option("-o", "output", type=click.Choice(["json", "name"]), help="Print only the Workflow, or only its name.")
@of_cluster
def trigger(
    cluster: Cluster,
    template: str | None,
    pairs: tuple[str, ...],
    key: str | None,
    url: str | None,
    then_wait: bool,
    timeout: float | None,
    output: str | None,
) -> None:
    """Run TEMPLATE through its webhook, as a monitoring system would."""
    from tiphys.runs.webhook import post

    template, values, _ = _checked(cluster, template, pairs)
    if url is None:
        if cluster.where.platform is None:
            raise ToolError("where are this cluster's webhooks? add --url https://...")
        url = f"http://127.0.0.1:{cluster.where.platform.webhook_port}"
    if key is not None and not KEY.fullmatch(key):
        raise ToolError(f"{key!r} is no key: 1 to 40 characters of a-z, 0-9 and -, not - at its ends")
    try:
        token = cluster.secret(TOKEN_SECRET)["token"]
    except (NotFound, KeyError) as error:
        raise ToolError(
            f"namespace {cluster.namespace} has no Secret {TOKEN_SECRET} with a key token: the webhook's bearer"
        ) from error
    posted = post(url, template, values, token=token, key=key or secrets.token_hex(4))
    if output is None and then_wait:
        click.echo(f"{posted.workflow} {'was there already' if posted.duplicate else 'started'}", err=True)
    if then_wait:
        _follow(cluster, posted.workflow, timeout, output, appear=30.0)
    if output == "json":
        click.echo(json.dumps(_appeared(cluster, posted.workflow), indent=2))
    elif output == "name":
        click.echo(posted.workflow)
    else:
        state = "was there already" if posted.duplicate else "started"
        click.echo(f"{posted.workflow} {state}; follow it with `tiphys wait {posted.workflow}`")


@click.command()
@click.argument("name")
@_timeout
@click.option("-o", "output", type=click.Choice(["json"]), help="Print only the Workflow as it ended.")
@of_cluster
def wait(cluster: Cluster, name: str, timeout: float | None, output: str | None) -> None:
    """Follow run NAME to its end; exit with 1 if it did not succeed."""
    _follow(cluster, name, timeout, output)


@click.command()
@click.argument("name")
@_parameters
@of_cluster
def resume(cluster: Cluster, name: str, pairs: tuple[str, ...]) -> None:
    """Let run NAME, which waits for a person, go on.

    -p answers what it asks for, such as `-p approve=YES`.
    """
    from tiphys.runs.resuming import let_go_on

    let_go_on(cluster, name, _values(pairs))
    click.echo(f"{name} goes on")


@click.command()
@click.argument("name")
@of_cluster
def stop(cluster: Cluster, name: str) -> None:
    """Stop run NAME; its exit handler still runs and cleans up."""
    from tiphys.runs.resuming import shut_down

    if shut_down(cluster, name, "Stop") == "Stop":
        click.echo(f"{name} is being stopped; its exit handler still runs")
    else:
        click.echo(f"{name} had not begun, and is ended at once")


@click.command()
@click.argument("name")
@of_cluster
def terminate(cluster: Cluster, name: str) -> None:
    """End run NAME at once, without its exit handler. Prefer `tiphys stop`."""
    from tiphys.runs.resuming import shut_down

    shut_down(cluster, name, "Terminate")
    click.echo(f"{name} is being ended; what it left is undone by reap, or by prune-backups")


@click.command()
@click.argument("name")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the run has ended.")
@click.option("--step", help="Only this step.")
@click.option("--raw", is_flag=True, help="Lines as the steps wrote them.")
@of_cluster
def logs(cluster: Cluster, name: str, following: bool, step: str | None, raw: bool) -> None:
    """Show what the steps of run NAME logged, in order."""
    from tiphys.runs.lines import readable
    from tiphys.runs.logs import follow_logs, print_logs

    def write(step_name: str, line: str) -> None:
        click.echo(line if raw else f"{click.style(step_name, fg='cyan')} {readable(line)}")

    (follow_logs if following else print_logs)(cluster, name, step, write)


@click.command()
@click.argument("name")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder. [default: out/NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the HTML report to this file.")
@click.option("--open", "show", is_flag=True, help="Open the HTML report in a browser.")
@of_cluster
def report(cluster: Cluster, name: str, out: Path | None, as_json: bool, html: Path | None, show: bool) -> None:
    """Fetch the report of run NAME."""
    import shutil

    from tiphys.runs.reports import fetch, written

    run = cluster.workflow(name)
    paths = {path.name: path for path in fetch(cluster, run, out or Path("out") / name)}
    if as_json:
        click.echo(_named(paths, "report.json").read_text())
        return
    page = _named(paths, "report.html")
    if html:
        with written("--html"):
            html.parent.mkdir(parents=True, exist_ok=True)
            page = Path(shutil.copyfile(page, html))
    _print_summary(run, leave_out=("report",))
    for path in [page, *(path for path in paths.values() if path.suffix != ".html")]:
        click.echo(path)
    if show:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())


def _named(paths: dict[str, Path], name: str) -> Path:
    if name not in paths:
        raise ToolError(f"the run's report has no {name}; it has: {', '.join(paths)}")
    return paths[name]


def _values(pairs: Iterable[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ToolError(f"-p {pair}: expected NAME=VALUE, such as -p cluster=demo")
        if key in values:
            raise ToolError(f"{key} is given twice; give it once")
        values[key] = value
    return values


def _schedule(cluster: Cluster, named: str | None) -> Object | None:
    """Return the CronWorkflow that is meant: by `cronwf/NAME` as in Argo's tool, or by a name that no template has."""
    if named is None:
        return None
    kind, slash, name = named.rpartition("/")
    if slash and kind not in ("cronwf", "cronworkflow"):
        raise ToolError(f"{named!r}: expected the name of a template, or cronwf/NAME")
    if slash:
        return cluster.schedule(name)
    try:
        cluster.template(name)
        return None
    except NotFound as missing:
        try:
            return cluster.schedule(name)
        except (NotFound, Forbidden):
            raise missing from None


def _checked(
    cluster: Cluster, template: str | None, pairs: Iterable[str], schedule: Object | None = None
) -> tuple[str, dict[str, str], dict[str, Parameter]]:
    """Return a template's name, the values given for it and its parameters, if the values fit."""
    from tiphys.runs.rules import rules_of

    values = _values(pairs)
    if template is None:
        known = sorted(one["metadata"]["name"] for one in cluster.list("workflowtemplates"))
        raise ToolError(f"which template? `tiphys templates` tells of each: {', '.join(known) or 'there is none'}")
    if schedule is not None:
        template = str(schedule["metadata"]["name"])
        found = {"metadata": {"name": template}, "spec": schedule["spec"]["workflowSpec"]}
    else:
        found = cluster.template(template)
    rules = rules_of(found)
    if wrong := faults_by_rules(found, values, rules):
        raise ToolError("; ".join(wrong))
    return template, values, rules


def _print_object(run: Object, output: str | None, sentence: str) -> None:
    if output == "json":
        click.echo(json.dumps(run, indent=2))
    elif output == "name":
        click.echo(run["metadata"].get("name") or run["metadata"].get("generateName"))
    else:
        click.echo(sentence)


def _follow(cluster: Cluster, name: str, timeout: float | None, output: str | None, appear: float = 3.0) -> None:
    """Follow a run to its end, print it or its outputs, and end the program with its result."""
    from tiphys.runs.following import follow
    from tiphys.runs.reports import artifacts

    try:
        run = follow(cluster, name, timeout=timeout, appear=appear)
    except KeyboardInterrupt:
        click.echo(f"{name} goes on; `tiphys wait {name}` follows it again, `tiphys stop {name}` ends it", err=True)
        sys.exit(130)
    if output == "json":
        click.echo(json.dumps(run, indent=2))
    elif output == "name":
        click.echo(name)
    else:
        _print_summary(run)
        if phase_of(run) != "Succeeded":
            ways = [f"`tiphys report {name}`"] if artifacts(run) else []
            click.echo(f"{name} did not succeed; see {' and '.join([*ways, f'`tiphys logs {name}`'])}", err=True)
    sys.exit(0 if phase_of(run) == "Succeeded" else 1)


def _print_summary(run: Object, leave_out: Sequence[str] = ()) -> None:
    from rich.console import Console

    from tiphys.runs.following import summary

    console = Console(soft_wrap=True, highlight=False)
    for line in summary(run, leave_out=leave_out):
        console.print(line)


def _appeared(cluster: Cluster, name: str, seconds: float = 30.0) -> Object:
    """Return a run that a webhook has just accepted, once it is there."""
    import time

    deadline = time.monotonic() + seconds
    while True:
        try:
            return cluster.workflow(name)
        except NotFound:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)
