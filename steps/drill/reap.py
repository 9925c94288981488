"""Step `reap`: clear away what drills and verifications left behind whose workflow is gone or over.

Terminate skips exit handlers, and pods get lost.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from steps.declare import option, parameter, step
from steps.errors import StepError
from steps.log import log
from steps.parameters import NAMESPACE_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from steps.drill.intent import Intent
    from steps.kube.client import Kube, Object
    from steps.kube.cordon import Cordon

REMOVE_SECONDS = 60.0
"""How long one scratch cluster may take to go: one that is stuck must not hold up the others, and reap comes again."""

LETTERS = 500
"""So many dead letters are kept, the newest: where each event of a flood is refused, nobody reads them all, and they
fill the API server's store."""

PODS_SECONDS = 45.0
"""How long pods of runs that are over may still take to end: more than the 30 s that each is given."""

OVER = ("Succeeded", "Failed", "Error")
"""Phases of a workflow that has ended."""


@dataclass(frozen=True)
class Reaped:
    """What was found."""

    reaped: int = parameter("Drills, cordons, ledgers and scratch clusters that were cleared away.")
    undelivered: int = parameter("Events that became no run, whose dead letters nobody has removed.")


@step("reap")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the clusters and the workflows.")
def reap(namespace: str) -> Reaped:
    """Undo what drills left behind whose workflow is gone or over, and remove scratch clusters of verifications.

    Dead letters of events that became a run all the same are removed; the others are counted and told in the log.
    """
    from steps import undelivered
    from steps.backup.verify_scratch import is_scratch, orphans, remove
    from steps.drill import book, intent, multi_primary, partition, undo
    from steps.game_day import ending
    from steps.kube import cordon
    from steps.kube.client import connect
    from steps.mysql import settings_undo, topology_undo, upgrade_back

    kube = connect(namespace)
    limit = time.monotonic() + undo.PRIMARY_SECONDS
    # Clusters first: a workflow that started after its cluster was read is in the list of workflows.
    clusters = kube.all("innodbclusters")
    cordons = [(node, _of_node(note)) for node, note in cordon.noted(kube)]
    written = book.entries(kube)
    policies = [intent.Intent(run, partition.Partition.name, "", expires=until) for run, until in partition.noted(kube)]
    letters = [undelivered.read(each) for each in kube.all("configmaps", undelivered.LABEL)]
    runs = kube.all("workflows")
    phases = {str(w["metadata"]["name"]): phase_of(w) for w in runs}
    noted = {
        str(each["metadata"]["name"]): found for each in clusters if (found := intent.read_drill(each)) is not None
    }
    notes = [*noted.values(), *(entry.intent for entry in written), *(note for _, note in cordons), *policies]
    now = datetime.now(UTC)
    over = {note.workflow for note in notes if is_over(note, phases, now)}
    # Undoing one of these may restart servers: what takes long comes last.
    long = (settings_undo.NAME, upgrade_back.NAME)
    slow = {name: each for name, each in noted.items() if each.fault in long and each.workflow in over}
    wait_for_pods(kube, over)
    count, left = 0, Left()
    # A drill of a game day that is gone undoes itself when it is stopped.
    for run in ending.orphans(runs):
        with left.of(run=run, what="drill of a game day that is gone"):
            ending.stop(kube, run)
            count += 1
    # Nodes by their own notes, not by those of clusters: the last act of a drill that was terminated may have come
    # after it was undone, or its cluster may be gone. So it may be with policies.
    for node, note in cordons:
        if note.workflow in over:
            with left.of(node=node, workflow=note.workflow):
                if done := cordon.release(kube, node, note.workflow):
                    log("reaping", node=node, workflow=note.workflow, what=done)
                    count += 1
    for note in policies:
        if note.workflow in over:
            with left.of(workflow=note.workflow, what="policies"):
                for policy in partition.remove(kube, note.workflow):
                    log("reaping", policy=policy, workflow=note.workflow)
                    count += 1
    for cluster in clusters:
        name = str(cluster["metadata"]["name"])
        drill = noted.get(name)
        drilled = drill is not None and drill.workflow in over
        with left.of(cluster=name):
            # Looked at again: another reaper may have undone the drill meanwhile, and the next one may have begun.
            if (
                drill is not None
                and drilled
                and name not in slow
                and intent.read_drill(kube.find("innodbclusters", name) or cluster) == drill
            ):
                log("reaping", cluster=name, workflow=drill.workflow, fault=drill.fault)
                undo.undo(kube, cluster, drill)
                count += 1
            if not is_scratch(cluster):  # no drill may hit those
                count += clear_ledger(kube, cluster, max(0.0, limit - time.monotonic()) if drilled else 0.0)
    for entry in written:
        # Of a cluster that is gone, or whose note is; the others were undone above, with their entries.
        if entry.intent.workflow in over and entry.intent.workflow not in {each.workflow for each in slow.values()}:
            with left.of(cluster=entry.cluster, workflow=entry.intent.workflow, fault=entry.intent.fault):
                if book.find(kube, entry.intent.workflow) is not None:
                    log("reaping", cluster=entry.cluster, workflow=entry.intent.workflow, what="entry in the book")
                    undo.undo_entry(kube, entry)
                    count += 1
    for cluster, mode in topology_undo.due(clusters, phases, now):
        name = str(cluster["metadata"]["name"])
        with left.of(cluster=name, workflow=mode.workflow, what="multi-primary mode"):
            # Looked at again, as above: somebody may have gone back, or have said that it stays.
            current = kube.find("innodbclusters", name)
            if current is not None and multi_primary.read(current) == mode:
                log("reaping", cluster=name, workflow=mode.workflow, what="multi-primary mode")
                topology_undo.go_back(kube, current, mode)
                count += 1
    for name, workflow in orphans(clusters, phases, OVER):
        with left.of(cluster=name, workflow=workflow, what="scratch cluster"):
            log("reaping", cluster=name, workflow=workflow, what="scratch cluster")
            count += remove(kube, name, workflow, seconds=REMOVE_SECONDS)
    for name, drill in slow.items():
        with left.of(cluster=name, workflow=drill.workflow, fault=drill.fault):
            current = kube.find("innodbclusters", name)
            if current is not None and intent.read_drill(current) == drill:
                log("reaping", cluster=name, workflow=drill.workflow, fault=drill.fault)
                undo.undo(kube, current, drill)
                count += 1
    unread = 0
    for letter in sorted(letters, key=lambda one: (one.since, one.name), reverse=True):
        with left.of(letter=letter.name):
            if any(undelivered.is_run(letter, run) for run in runs):
                log("not-undelivered", letter=letter.name, workflow=letter.workflow, what="the event came twice")
                _throw_away(kube, letter.name)
                continue
            asked = {"letter": letter.name, "template": letter.template, "parameters": dict(letter.given)}
            if unread < LETTERS:
                unread += 1
                log("undelivered", **asked)
            else:
                log("undelivered-forgotten", **asked, why=f"there are {LETTERS} newer ones")
                _throw_away(kube, letter.name)
    left.tell()
    return Reaped(count, unread)


def _throw_away(kube: Kube, letter: str) -> None:
    from steps.kube.errors import NotFound

    with suppress(NotFound):  # somebody was faster
        kube.delete("configmaps", letter)


class Left:
    """What could not be cleared away now: it keeps nobody from the rest, and its note stays for the next reaper."""

    def __init__(self) -> None:
        self._first: Exception | None = None

    @contextmanager
    def of(self, **what: str) -> Iterator[None]:
        """Note an error of the block, with what it is about, and go on behind it."""
        try:
            yield
        except Exception as error:  # of any kind: what one drill left must not keep the others' cordons for ever
            log("not-reaped", **what, why=str(error) if isinstance(error, StepError) else repr(error))
            self._first = self._first or error

    def tell(self) -> None:
        """Raise the first error that was noted, if there was one."""
        if self._first is not None:
            raise self._first


def phase_of(workflow: Object) -> str:
    """Return a workflow's phase, empty while it has none."""
    return str((workflow.get("status") or {}).get("phase") or "")


def is_over(noted: Intent, phases: Mapping[str, str], now: datetime) -> bool:
    """Tell whether the drill of an intent is over.

    Args:
        noted: the intent.
        phases: of every workflow by name.
        now: with a time zone.
    """
    if noted.workflow in phases:
        return phases[noted.workflow] in OVER
    if noted.expires:
        try:
            return datetime.fromisoformat(noted.expires) < now
        except (ValueError, TypeError):
            return True  # no time, or one without a zone
    return True


def _of_node(note: Cordon) -> Intent:
    """Return what a node's note says of its drill, as an intent."""
    from steps.drill.intent import Intent

    return Intent(note.workflow, "", note.since, expires=note.expires)


def wait_for_pods(kube: Kube, workflows: Collection[str]) -> None:
    """Wait until no pod of these workflows runs any more, for a time.

    A step that is told to end gets its grace period, in which it ends its fault itself; whoever undoes the drill
    before may undo something that is only done afterwards.
    """
    from steps.kube.eviction import WORKFLOW_LABEL

    limit = time.monotonic() + PODS_SECONDS
    while workflows:
        pods = kube.all("pods", WORKFLOW_LABEL, "status.phase=Running")
        living = sorted(
            str(p["metadata"]["name"]) for p in pods if p["metadata"]["labels"][WORKFLOW_LABEL] in workflows
        )
        if not living:
            return
        if time.monotonic() > limit:
            log("pods-still-there", pods=living, seconds=PODS_SECONDS, what="undone all the same")
            return
        time.sleep(0.5)


def clear_ledger(kube: Kube, cluster: Object, seconds: float) -> int:
    """Delete the rows of runs that are over, but for those to be kept, and an empty ledger; return of how many runs.

    Args:
        kube: of the cluster's namespace.
        cluster: whose ledger.
        seconds: how long a primary is waited for; without one nobody can tell what is left.

    Raises:
        Unreachable: the API server does not answer.
    """
    from steps.drill import intent, rows, undo

    def left(connection: Any) -> list[str] | None:
        return rows.runs(connection) if rows.exists(connection) else None

    runs = undo.on_primary(kube, cluster, left, seconds)
    if runs is None:
        return 0
    # A drill notes itself before it makes the ledger: looked at after the ledger, no live drill's is taken for left.
    now = kube.find("innodbclusters", str(cluster["metadata"]["name"]))
    if now is None or intent.read(now) is not None:
        return 0
    return len(undo.clear_ledger(kube, now, runs))
