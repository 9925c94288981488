"""``tiphys install``: the pack into a cluster, by server-side apply."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import click

from tiphys.local.settings import NAMESPACE
from tiphys.runs.api import Cluster, address
from tiphys.runs.errors import ToolError

if TYPE_CHECKING:
    from tiphys.install.given import S3
    from tiphys.install.kube import Kube
    from tiphys.install.pack import Choice
    from tiphys.install.plan import Plan

MOMENT_SECONDS = 0.2


def of_installation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which cluster and namespace are meant; the command gets a `kube`."""
    import functools

    @click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Default: KUBECONFIG, else the local platform.")
    @click.option("-n", "--namespace", default=NAMESPACE, show_default=True, help="Of the installation.")
    @functools.wraps(function)
    def command(*args: Any, kubeconfig: str | None, namespace: str, **kwargs: Any) -> Any:
        from tiphys.install.kube import Kube

        return function(*args, kube=Kube(Cluster(address(kubeconfig, namespace)), namespace), **kwargs)

    return command


def s3_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where reports and backups are kept."""
    for option in (
        click.option(
            "--s3-keys",
            type=click.Choice(["env", "stdin", "none"]),
            default="env",
            show_default=True,
            help="Where the keys are: in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; on stdin, a line each; nowhere, "
            "since the pods have a workload identity.",
        ),
        click.option("--s3-ca", type=click.File("r"), help="PEM file of who signed the S3 server's certificate."),
        click.option("--s3-region", metavar="NAME", default="", help="Region that requests are signed for."),
        click.option("--s3-endpoint", metavar="URL", default="", help="Of the S3 server. [default: AWS]"),
        click.option("--s3-bucket", metavar="NAME", default="", help="Bucket of reports and backups."),
    ):
        function = option(function)
    return function


def s3_of(bucket: str, endpoint: str, region: str, ca: IO[str] | None, keys: str) -> S3 | None:
    """Return what the S3 options say; None without a bucket."""
    from tiphys.install import given

    if not bucket:
        if endpoint or region or ca:
            raise click.UsageError("--s3-endpoint, --s3-region and --s3-ca need --s3-bucket")
        return None
    found = given.keys(keys, os.environ, sys.stdin.read() if keys == "stdin" else "")
    s3 = given.S3(bucket, endpoint, region, ca=ca.read() if ca else "", **found)
    s3.settings()
    return s3


@click.command()
@click.option("--dry-run", is_flag=True, help="Ask the API server what would become of each object; change nothing.")
@click.option("--diff", is_flag=True, help="As --dry-run, and show what would change in each object.")
@click.option(
    "--overlay",
    "overlays",
    multiple=True,
    metavar="NAME",
    help="Laid over the base, repeatable: single-node or production, network-policies, webhook-tls, ingress-nginx, "
    "ingress-alb, github. [default: as installed before, or single-node]",
)
@click.option("--host", default="", help="Name under which the webhook is called, for an ingress overlay.")
@click.option("--allow", multiple=True, metavar="CIDR", help="Who may call it, for an ingress overlay; repeatable.")
@click.option(
    "--github",
    "repository",
    metavar="OWNER/NAME",
    default="",
    help="Let this repository's repository_dispatch start runbooks, too (docs/github.md): lays on the overlay github.",
)
@click.option(
    "--step-image",
    metavar="REPOSITORY",
    default="",
    help="Where your nodes pull the step image from, without a tag: that is this version. [default: as installed "
    "before, or ghcr.io/tiphys/step]",
)
@click.option(
    "--pull-secret",
    metavar="NAME",
    default="",
    help="Secret of the namespace that it is pulled with; `none` for none again. [default: as installed before]",
)
@s3_options
@click.option("--force-conflicts", is_flag=True, help="Take over the fields that somebody else has set.")
@click.option("--skip-checks", is_flag=True, help="Do not look at the cluster first (`tiphys doctor`).")
@click.option("--wait/--no-wait", "then_wait", default=True, help="Wait until all is ready. [default: wait]")
@click.option("--timeout", type=click.FloatRange(min=0), default=300, show_default=True, help="Seconds to wait.")
@of_installation
def install(
    kube: Kube,
    dry_run: bool,
    diff: bool,
    overlays: tuple[str, ...],
    host: str,
    allow: tuple[str, ...],
    repository: str,
    step_image: str,
    pull_secret: str,
    s3_bucket: str,
    s3_endpoint: str,
    s3_region: str,
    s3_ca: IO[str] | None,
    s3_keys: str,
    force_conflicts: bool,
    skip_checks: bool,
    then_wait: bool,
    timeout: float,
) -> None:
    """Install the pack into a cluster, or bring an installation up to this version.

    Objects are applied server-side; what others have set is not taken from them. What an older version had and this
    one has not is removed. A second run changes nothing.
    """
    from tiphys.install import apply, given, pack, plan
    from tiphys.install.diff import lines

    refuse_local(kube)
    began = time.monotonic()
    s3 = s3_of(s3_bucket, s3_endpoint, s3_region, s3_ca, s3_keys)
    given_now = pack.Choice(overlays, host, allow, repository, step_image=step_image, pull_secret=pull_secret)
    choice = _choice(kube, given_now, s3)
    loaded = pack.load(choice, kube.namespace)
    objects = loaded.objects
    own = given.s3_objects(s3) if s3 else []
    if not skip_checks:
        _check(kube, objects, s3, then_wait and not (dry_run or diff))
    given.refuse_others(kube, own)
    with counting("Comparing with the cluster", len(objects) + len(own)) as report:
        planned = plan.make(kube, [*objects[:1], *own, *objects[1:]], force=force_conflicts, report=report)
    for line in planned.conflicts:
        click.echo(f"conflict: {line}", err=True)
    if planned.conflicts and not (force_conflicts or diff or dry_run):
        raise ToolError(
            f"{len(planned.conflicts)} fields were set to something else by others; nothing was changed. `tiphys "
            "install --diff` shows them, --force-conflicts takes them over"
        )
    if dry_run or diff:
        for line in lines(planned.changes) if diff else map(_told, planned.changes):
            click.echo(line)
        click.echo(_summary(planned, " would be"))
        return
    remembered = {**choice.remembered(), "version": loaded.version}
    is_new = apply.carry_out(kube, planned, remembered, force=force_conflicts, report=_say)
    for change in planned.changes:
        for value in change.left:
            click.echo(f"left as people have set it: {change.name} {value}")
    click.echo(f"{_summary(planned, '')} in {time.monotonic() - began:.1f} s.")
    if planned.is_empty and not is_new:
        click.echo("No change: the cluster has this version already.")
    if then_wait:
        _wait(kube, objects, timeout)
    _what_next(kube, choice, is_new)


def refuse_local(kube: Kube) -> None:
    """Refuse the local platform, which has the pack by itself."""
    if kube.cluster.where.platform is not None:
        raise ToolError(
            "this is the local platform, where `tiphys up` applies the pack, and `tiphys down --purge` takes it away. "
            "For a cluster: --kubeconfig FILE, or set KUBECONFIG"
        )


def _choice(kube: Kube, now: Choice, s3: S3 | None) -> Choice:
    """Return what was chosen now, and for the rest what was chosen at the last install."""
    from tiphys.install import images, pack

    before = pack.recalled(kube)
    chosen = now.overlays
    if chosen and not set(chosen) & set(pack.SIZES):
        chosen = (*chosen, *(one for one in before.overlays if one in pack.SIZES))
    chosen = chosen or before.overlays
    if now.repository and pack.GITHUB not in chosen:
        chosen = (*chosen, pack.GITHUB)
    return pack.Choice(
        chosen,
        now.host or before.host,
        now.allow or before.allow,
        now.repository or before.repository,
        _s3_port(kube, s3),
        now.step_image or before.step_image,
        "" if now.pull_secret == images.NONE else now.pull_secret or before.pull_secret,
    )


def _s3_port(kube: Kube, s3: S3 | None) -> int:
    from steps.backup.s3_settings import SECRET
    from tiphys.install import given
    from tiphys.runs.errors import Forbidden, NotFound

    if s3 is not None:
        return s3.port
    try:
        data = kube.cluster.secret(SECRET)
    except (NotFound, Forbidden):
        return 0
    return given.S3(data.get("bucket", ""), data.get("endpoint", "")).port


def _check(kube: Kube, objects: list[dict[str, Any]], s3: S3 | None, then_wait: bool) -> None:
    """Look at the cluster, say what is not as it should be, and refuse one in which an install cannot work.

    Raises:
        ToolError: there is something without which it cannot even be tried, or nobody to wait for.
    """
    from tiphys.install.doctor import examine
    from tiphys.install.findings import ERROR, OK

    found = list(examine(kube, objects, s3))
    for one in found:
        if one.level != OK:
            click.echo("\n".join(one.lines()), err=True)
    bad = [one for one in found if one.blocks]
    if then_wait:
        bad += [
            one for one in found if one.level == ERROR and one.check in ("workflows-controller", "events-controller")
        ]
    if bad:
        raise ToolError(
            f"nothing was changed: {', '.join(one.check for one in bad)}. Mend it, look again with `tiphys doctor`, "
            "and install then"
            + ("" if any(one.blocks for one in bad) else "; with --no-wait it is installed and starts working later")
        )


def _told(change: Any) -> str:
    return f"{change.action:<9} {change.name}"


def _say(action: str, name: str) -> None:
    if action != "unchanged":
        click.echo(f"{action:<9} {name}")


def _summary(planned: Plan, would: str) -> str:
    from tiphys.install.plan import CHANGE, CREATE, DELETE, KEEP

    counts = ", ".join(f"{len(planned.by(action))}{would} {action}" for action in (CREATE, CHANGE, KEEP, DELETE))
    return f"{len(planned.changes)} objects: {counts}"


def counting(title: str, total: int) -> Any:
    """Show on a terminal how many of `total` are done; yields the function that is told."""
    from contextlib import contextmanager

    @contextmanager
    def shown() -> Any:
        is_terminal = sys.stderr.isatty()

        def report(done: int, of: int) -> None:
            if is_terminal:
                click.echo(f"\r\033[K{title}: {done} of {of}", nl=False, err=True)

        yield report
        if is_terminal:
            click.echo("\r\033[K", nl=False, err=True)

    return shown()


def _wait(kube: Kube, objects: list[dict[str, Any]], seconds: float) -> None:
    """Wait until Argo Events has brought up what was applied, and say how far it is.

    Raises:
        ToolError: it has not in that time.
    """
    from tiphys.install import ready

    began = time.monotonic()
    waiting: dict[str, str] = {}
    for waiting in ready.watch(kube, objects, seconds):
        for name, why in waiting.items():
            click.echo(f"waiting   {name}: {why}")
    if waiting:
        raise ToolError(
            f"not ready after {seconds:.0f} s: {', '.join(waiting)}. All is applied; `kubectl -n {kube.namespace} get "
            "pods` and `tiphys doctor` tell what it waits for"
        )
    click.echo(f"Ready after {time.monotonic() - began:.0f} s: {ready.told(objects)}.")


def _what_next(kube: Kube, choice: Choice, is_new: bool) -> None:
    """Say where the webhook is, how its token is read, and a command to try."""
    space = "" if kube.namespace == NAMESPACE else f" -n {kube.namespace}"
    secret = f"kubectl -n {kube.namespace} get secret tiphys-webhook -o jsonpath='{{.data.token}}' | base64 -d"
    made = "was made now" if is_new else "is the one that was there"
    click.echo(f"\nThe webhook's bearer token {made}; it is never printed. To read it:\n  {secret}")
    if choice.host:
        url = f"https://{choice.host}"
        click.echo(f"\nThe webhook: {url} for {', '.join(choice.allow)}. To try it:")
    else:
        scheme = "https" if "webhook-tls" in choice.overlays else "http"
        # The certificate is for the Service's name; a forwarded port is reached by another.
        url = f"{scheme}://127.0.0.1:12000" if scheme == "http" else f"--insecure {scheme}://127.0.0.1:12000"
        inside = f"{scheme}://runbooks-eventsource-svc.{kube.namespace}.svc:12000"
        click.echo(f"\nThe webhook: {inside} within the cluster. To try it from here:")
        click.echo(f"  kubectl -n {kube.namespace} port-forward service/runbooks-eventsource-svc 12000 &")
    if "github" in choice.overlays:
        click.echo(f"  (GitHub's secret is in tiphys-github, key `secret`; {choice.repository}, see docs/github.md)")
    click.echo(
        f"  curl -H \"Authorization: Bearer $({secret})\" -H 'Content-Type: application/json' \\\n"
        f'       -d \'{{"cluster":"demo"}}\' {url}/check-cluster\n'
        f"\nNext: tiphys{space} templates, tiphys{space} submit deploy-cluster -p cluster=demo --wait"
    )
