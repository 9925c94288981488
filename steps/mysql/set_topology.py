"""Step set-topology: from one member that takes writes to all of them, and back."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import click

from steps.declare import option, parameter, step, target_options
from steps.drill import intent, multi_primary
from steps.drill.measure import told_to_stop
from steps.drill.options import dry_run as dry_run_option
from steps.drill.options import workflow as workflow_option
from steps.errors import BadParameters, Refused, StepError, Temporary
from steps.kube import client
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import Credentials, root_credentials
from steps.mysql.router_writes import write_through
from steps.mysql.topology import Topology, read_topology
from steps.mysql.topology_plan import ACCEPTABLE, Finding, Mode, Survey, against, findings, numbering
from steps.mysql.topology_survey import survey
from steps.mysql.topology_switch import roles, to_multi, to_single
from steps.parameters import OBJECT_NAME, Text

WIDTH = 100
"""Columns that a summary keeps to."""
LIFETIME = Text("a duration such as 30m", "0-9smh", 12, first="1-9", last="smh")
ACCEPT = Text("names of findings, separated by commas", "a-z,-", 120, first="a-z", last="a-z")
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Changed:
    """What set-topology tells."""

    mode: str = parameter("Mode of the group afterwards: multi-primary or single-primary.", is_global=True)
    primaries: str = parameter("Pods that take writes afterwards, separated by commas.", is_global=True)
    goes_back: bool = parameter("Whether the run waits now, and goes back when its lifetime is over.")
    expires: str = parameter("When it goes back; empty where it stays.", is_global=True)
    summary: str = parameter("What was done, or would be, and what speaks against it, for people.", is_global=True)


@step("set-topology")
@target_options
@workflow_option
@option(
    "--mode",
    required=True,
    type=click.Choice([mode.value for mode in Mode]),
    help="Who takes writes: multi-primary, every member; single-primary, one.",
)
@option(
    "--primary",
    type=OBJECT_NAME,
    default=None,
    help="Pod that becomes the primary, with single-primary. Empty takes the one before, or else the best.",
)
@option(
    "--lifetime",
    type=LIFETIME,
    default=None,
    help="How long it stays in multi-primary mode, as 30m or 1h30m; then it goes back by itself, also when the run is "
    "stopped. Empty lets it stay until set-topology is run with single-primary.",
)
@option(
    "--accept",
    type=ACCEPT,
    default=None,
    help=f"Findings that are all right, separated by commas: {', '.join(ACCEPTABLE)}. Each finding says what it means.",
)
@option(
    "--timeout-seconds",
    type=click.IntRange(5, 3600),
    default=120,
    help="How long the switch may take, and then the Routers to follow.",
)
@dry_run_option
def set_topology(
    namespace: str,
    cluster: str,
    workflow: str,
    mode: str,
    primary: str | None,
    lifetime: str | None,
    accept: str | None,
    timeout_seconds: int,
    dry_run: bool,
) -> Changed:
    """Switch a group to multi-primary mode or back, verify it by the majority's view and by writes through Routers."""
    stop_reason = told_to_stop()
    wanted, accepted = Mode(mode), parsed(accept)
    if lifetime and wanted is Mode.SINGLE:
        raise BadParameters("lifetime is for multi-primary, from which it goes back; single-primary mode stays.")
    if primary and wanted is Mode.MULTI:
        raise BadParameters("primary is for single-primary; in multi-primary mode every member is one.")
    seconds = seconds_of(lifetime) if lifetime else 0
    kube = client.connect(namespace)
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    seen = survey(read_topology(kube, cluster, credentials=credentials), credentials)
    named = seen.topology.of_pod(primary) if primary else None
    if primary and (named is None or named.state != "ONLINE"):
        raise BadParameters(
            f"No ONLINE member of {cluster} runs in pod {primary!r}; the group: {roles(seen.topology)}."
        )
    drill, note = intent.read_drill(found), multi_primary.read(found)
    noticed = findings(seen, wanted) if seen.mode is not wanted else []
    left = [str(one) for one in against(noticed, accepted)]
    if drill is not None:
        left.insert(0, intent.another_drill(cluster, drill))
    for one in noticed:
        log("finding", name=one.name, seen=one.seen, means=one.means, accepted=one.name in accepted)
    planned = None
    if dry_run:
        planned = _told(seen.topology, seen.mode, _plan(seen, wanted, left, noticed, lifetime, cluster))
    if left:
        raise Refused.because(left, planned)
    if planned is not None:
        return planned
    if reason := stop_reason():
        raise Refused(f"Stopped before anything was done: {reason}. Nothing was changed.")
    if wanted is Mode.SINGLE:
        topology = to_single(kube, cluster, credentials, note, primary or "", timeout_seconds)
        return _finish(kube, cluster, credentials, topology, workflow, timeout_seconds, seen, wanted, noticed)
    before = seen.topology.primary.pod if seen.topology.primary else note.primary if note else ""
    expires = _in(seconds) if seconds else ""
    made = multi_primary.Note(workflow, intent.now(), before, lifetime=lifetime or "", expires=expires)
    if note is not None:
        made = replace(made, numbers=note.numbers)
    multi_primary.write(kube, cluster, made)
    try:
        to_multi(kube, cluster, credentials, made, timeout_seconds)
    except Temporary:
        raise  # the note stays: tried again, it goes on where it was
    except StepError as error:
        error.args = (f"{error} {_undone(kube, cluster, credentials, made, timeout_seconds)}",)
        raise
    topology = read_topology(kube, cluster, credentials=credentials)
    return _finish(kube, cluster, credentials, topology, workflow, timeout_seconds, seen, wanted, noticed, made)


def _finish(
    kube: Kube,
    cluster: str,
    credentials: Credentials,
    topology: Topology,
    workflow: str,
    seconds: float,
    seen: Survey,
    wanted: Mode,
    noticed: Sequence[Finding],
    note: multi_primary.Note | None = None,
) -> Changed:
    took = write_through(kube, cluster, topology, credentials, workflow, seconds)
    was = "in that mode already" if seen.mode is wanted else f"was {seen.mode.value if seen.mode else 'mixed'}"
    lines = [f"{cluster}: {wanted.value} ({was})", f"  the majority says: {roles(topology)}"]
    lines += [f"  a write through {router} was taken by {pod}" for router, pod in sorted(took.items())]
    lines += [] if took else ["  no Router is ready, so no write went through one"]
    if wanted is Mode.MULTI:
        back = f"by itself at {note.expires}" if note and note.expires else "with mode=single-primary"
        lines.append(f"  it goes back {back}; the operator says SPLIT_BRAIN meanwhile, which is expected")
    lines += [f"  accepted: {one}" for one in noticed]
    return _told(topology, wanted, "\n".join(lines), note)


def _plan(
    seen: Survey, wanted: Mode, left: Sequence[str], noticed: Sequence[Finding], lifetime: str | None, cluster: str
) -> str:
    if left:
        lines = ["Dry run, nothing was changed. It would be refused:"]
        items = list(left)
    elif seen.mode is wanted:
        return f"Dry run, nothing was changed. {cluster} is in {wanted.value} mode already: {roles(seen.topology)}"
    else:
        lines = [f"Dry run, nothing was changed. This would switch {cluster} to {wanted.value} mode:"]
        items = [f"now: {roles(seen.topology)}"]
        if wanted is Mode.MULTI:
            numbers = numbering(seen.servers)
            items += [f"{pod}: auto_increment_increment={n}, offset={k}" for pod, (n, k) in numbers.items()]
            items.append(f"it would go back after {lifetime}" if lifetime else "it would stay so until it is told")
        items += [f"accepted: {one}" for one in noticed]
    for number, item in enumerate(items, start=1):
        lines += textwrap.wrap(
            item, WIDTH, initial_indent=f"{number:>3}. ", subsequent_indent="     ", break_on_hyphens=False
        )
    return "\n".join(lines)


def _undone(kube: Kube, cluster: str, credentials: Credentials, note: multi_primary.Note, seconds: float) -> str:
    try:
        to_single(kube, cluster, credentials, note, "", seconds)
    except StepError as error:
        return f"Going back failed, too ({error}), so the note stays; its workflow's end, or reap, tries again."
    return f"It was put back: {note.primary or 'one member'} is the only primary."


def _told(topology: Topology, mode: Mode | None, summary: str, note: multi_primary.Note | None = None) -> Changed:
    primaries = [one.pod or one.host for one in topology.members if one.state == "ONLINE" and one.role == "PRIMARY"]
    expires = note.expires if note else ""
    return Changed(mode.value if mode else "", ",".join(primaries), bool(note and note.lifetime), expires, summary)


def parsed(accept: str | None) -> list[str]:
    """Return the findings that are accepted.

    Raises:
        BadParameters: one of them is none that may be.
    """
    names = [name for name in (accept or "").split(",") if name]
    if wrong := [name for name in names if name not in ACCEPTABLE]:
        raise BadParameters(f"accept: {', '.join(wrong)} cannot be accepted; these can: {', '.join(ACCEPTABLE)}")
    return names


def seconds_of(lifetime: str) -> int:
    """Return the length of a lifetime such as 30m or 1h30m, in seconds.

    Raises:
        BadParameters: it is none, or longer than a week.
    """
    parts = re.findall(r"(\d+)([smh])", lifetime)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != lifetime:
        raise BadParameters(f"lifetime: {lifetime!r} is no duration such as 30m or 1h30m, of at most 168h")
    if not 0 < seconds <= 7 * 86400:
        raise BadParameters(f"lifetime: {lifetime} is out of range: more than 0s, and 168h (a week) at most")
    return seconds


def _in(seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")
