"""Step `game-day-run`: the drills one after the other, each a run of its own, with a steady state before each.

It keeps what it knows in the bucket, and each drill's run has a name that is always the same: a step that is started
again, after its pod was lost or evicted by one of its own drills, goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from steps.declare import option, parameter, step, target_options
from steps.errors import StepError, Temporary
from steps.game_day import options
from steps.game_day.steady import Seen, look, wait_until_steady
from steps.kube.workflows import FAILED
from steps.log import log

if TYPE_CHECKING:
    from steps.backup.objects import Bucket
    from steps.game_day.state import Child, State
    from steps.kube.client import Kube, Object

PAUSE_SECONDS = 1.0
TELL_SECONDS = 15.0
"""How often a drill that goes on is told of, though nothing has changed."""
SWITCH_GRACE_SECONDS = 20.0
"""How long a drill has to end by itself once the kill switch is thrown; it reads that, too."""
STOP_SECONDS = 300.0
"""How long a drill that was told to stop may take to undo itself."""


@dataclass(frozen=True)
class Ran:
    """How far the game day came."""

    drills: int = parameter("Drills that were started.")
    stopped: str = parameter("Why it ended before its last drill; empty where it did not.")


@dataclass(frozen=True)
class Rules:
    """How a game day goes on; see :mod:`steps.game_day.options` for each."""

    on_failure: str = "continue"
    steady_limit_seconds: float = 180.0
    drill_limit_seconds: float = 3600.0
    approved: bool = False


@step("game-day-run")
@target_options
@options.workflow
@options.drills
@options.allow_outage
@options.on_failure
@options.steady_limit
@options.drill_limit
@option("--approved", type=click.BOOL, default=False, help="Whether a person has approved the whole game day.")
def game_day_run(
    namespace: str,
    cluster: str,
    workflow: str,
    drills: str,
    allow_outage: bool,
    on_failure: str,
    steady_limit_seconds: int,
    drill_limit_minutes: int,
    approved: bool,
) -> Ran:
    """Run the drills one after the other, and wait for a steady state before each.

    Ends well also where drills fail or the game day is stopped: the report says so.
    """
    from steps.backup.objects import Bucket
    from steps.drill.measure import told_to_stop
    from steps.game_day import plan, state
    from steps.kube.client import connect

    told = told_to_stop()
    entries = plan.read(drills, allow_outage=allow_outage)
    bucket = Bucket.from_environment(connections=2)
    try:
        found = state.load(bucket, workflow)
        kube = connect(namespace)
        known = found or state.State(workflow, namespace, cluster, state.now(), entries)
        if found is None:
            known.cluster_uid = str(kube.cluster(cluster)["metadata"]["uid"])
        rules = Rules(on_failure, steady_limit_seconds, 60.0 * drill_limit_minutes, approved)
        day = GameDay(kube, bucket, known, rules, told)
        day.run()
        return Ran(len(known.children), known.stopped)
    finally:
        bucket.close()


class GameDay:
    """One game day, from wherever it is to its end.

    Args:
        kube: client for the cluster's namespace.
        bucket: where the state is kept.
        state: what is known so far; changed in place.
        rules: how to go on.
        told: says that this process was told to end.
        looking: looks whether the cluster is steady.
    """

    def __init__(
        self,
        kube: Kube,
        bucket: Bucket,
        state: State,
        rules: Rules,
        told: Callable[[], str] = lambda: "",
        looking: Callable[[Kube, str], Seen] = look,
    ) -> None:
        self._looking = looking
        self._kube, self._bucket, self.state, self._rules, self._told = kube, bucket, state, rules, told
        self._switch_at: float | None = None

    def run(self) -> None:
        """Go on to the end.

        Raises:
            Temporary: this process was told to end, but the game day was not: another one goes on.
        """
        from steps.game_day.state import now

        state = self.state
        for number, entry in enumerate(state.entries, 1):
            if state.stopped or not self._steady(number - 1):
                break
            state.stopped = self._must_stop() or self._over()
            if state.stopped:
                break
            log("drill", number=number, of=len(state.entries), drill=entry.label)
            child = self._child(number)
            verdict = self._verdict(child)
            log("drill-ended", number=number, of=len(state.entries), run=child.run, phase=child.phase, verdict=verdict)
            passed = verdict == "PASS" and child.phase not in FAILED
            if self._rules.on_failure == "stop" and not passed and number < len(state.entries):
                state.stopped = state.stopped or f"drill {number} ({entry.label}) was no PASS, and on-failure is stop"
        if not state.stopped:
            self._steady(len(state.entries))
        elif state.children and max(state.children) not in state.looks:
            self._steady(max(state.children))
        state.ended_at = now()
        self._save()
        log("game-day-ended", drills=len(state.children), of=len(state.entries), stopped=state.stopped)

    def _save(self) -> None:
        from steps.game_day import state

        state.save(self._bucket, self.state)

    def _steady(self, after: int) -> bool:
        """Wait for a steady state after a drill (0: before the first); note it, and why the game day ends without."""
        state = self.state
        if after not in state.looks:
            limit = self._rules.steady_limit_seconds
            seen = wait_until_steady(self._kube, state.cluster, limit, self._must_stop, looking=self._looking)
            state.looks[after] = seen
            if not seen.steady and not state.stopped:
                why = self._must_stop() or (
                    f"the cluster was not steady within {seen.waited_seconds:.0f} s: {'; '.join(seen.lacking)}"
                )
                if after < len(state.entries):
                    state.stopped = why
            self._save()
        return state.looks[after].steady

    def _child(self, number: int) -> Child:
        """Start a drill, or find it, and follow it to its end."""
        from steps.game_day import children
        from steps.game_day.state import Child

        state, entry = self.state, self.state.entries[number - 1]
        parent = self._parent()
        uid = str(parent["metadata"]["uid"]) if parent else state.game_day
        known = state.children.get(number)
        if known is None:
            made = children.start(self._kube, children.manifest(state, uid, number, entry))
            known = state.children[number] = Child(str(made["metadata"]["name"]), str(made["metadata"]["uid"]))
            self._save()
        self._follow(number, known)
        ended = self._kube.find("workflows", known.run)
        # One that is gone by now would take it along, with what it tells of how it ended.
        if ended and (parent := self._parent()) and not parent["metadata"].get("deletionTimestamp"):
            children.adopt(self._kube, parent, ended)
        self._save()
        return known

    def _follow(self, number: int, child: Child) -> None:
        from steps.game_day import ending
        from steps.kube.errors import Unreachable
        from steps.kube.workflows import artifact_key, is_over, phase_of

        started = told_at = time.monotonic()
        stop_by: float | None = None
        said = ""
        while True:
            now = time.monotonic()
            try:
                found = self._kube.find("workflows", child.run)
            except Unreachable as error:
                log("not-reached", why=str(error))
                time.sleep(PAUSE_SECONDS)
                continue
            if found is None:
                child.phase, child.message = "Gone", "its run was deleted"
                return
            child.phase = phase_of(found)
            child.message = child.message or str((found.get("status") or {}).get("message") or "")
            if is_over(found):
                child.report, child.page = artifact_key(found, "report-json"), artifact_key(found, "report-html")
                return
            if self._answer(found):
                continue
            if (at := _at(found)) != said or now - told_at >= TELL_SECONDS:
                log("drill-goes-on", number=number, run=child.run, at=at, seconds=round(now - started))
                said, told_at = at, now
            if stop_by is None and (why := self._stop_child(now - started)):
                self.state.stopped = self.state.stopped or ("" if "took longer" in why else why)
                child.message = why
                ending.stop(self._kube, child.run)
                stop_by = now + STOP_SECONDS
            if stop_by is not None and now > stop_by:
                child.message += f"; it had not ended {STOP_SECONDS:.0f} s after it was told to stop"
                self.state.stopped = self.state.stopped or child.message
                return
            time.sleep(PAUSE_SECONDS)

    def _stop_child(self, seconds: float) -> str:
        """Return why the drill that goes on must be stopped now; empty where it need not."""
        limit = self._rules.drill_limit_seconds
        if seconds > limit:
            return f"it took longer than its limit of {limit / 60:.0f} min"
        why = self._must_stop()
        if why and self._switch_at is not None and time.monotonic() - self._switch_at < SWITCH_GRACE_SECONDS:
            return ""
        return why

    def _answer(self, child: Object) -> bool:
        """Give a drill that asks for an approval the one that the whole game day has got; tell whether it asked."""
        from steps.kube.errors import Conflict
        from steps.kube.workflows import resume_patch, waiting

        if not self._rules.approved or not waiting(child):
            return False
        name = str(child["metadata"]["name"])
        try:
            self._kube.patch("workflows", name, resume_patch(child, {"approve": "YES"}))
        except Conflict:
            # The controller has written the run since it was read; it asks still, or has ended.
            return False
        log("drill-approved", run=name, by=f"the approval of {self.state.game_day}")
        return True

    def _verdict(self, child: Child) -> str:
        from steps.game_day.collect import report_of

        report = report_of(self._bucket, child)
        return str(report["verdict"]) if report else "none"

    def _over(self) -> str:
        """Return why no other drill may begin: this process may not have been told yet. Empty while one may."""
        from steps.game_day.ending import stopping

        parent = self._parent()
        if parent is None:
            # By hand, without a workflow, there is none.
            return "the game day was deleted" if os.environ.get("TIPHYS_WORKFLOW") else ""
        if stopping(parent) or parent["metadata"].get("deletionTimestamp"):
            return "the game day was stopped"
        return ""

    def _parent(self) -> Object | None:
        return self._kube.find("workflows", self.state.game_day)

    def _must_stop(self) -> str:
        """Return why the game day has to end; empty while it may go on.

        Raises:
            Temporary: only this process has to end.
        """
        from steps.drill.guards import drills_setting, switch_text, switched_off
        from steps.game_day.ending import stopping

        if why := self._told():
            parent = self._parent()
            if parent is None or stopping(parent) or parent["metadata"].get("deletionTimestamp"):
                return "the game day was stopped"
            if os.environ.get("TIPHYS_WORKFLOW"):
                raise Temporary(f"{why}, but the game day was not stopped: it goes on when this step starts again.")
            return why
        try:
            value = drills_setting(self._kube)
        except StepError:
            return ""  # an API server that does not answer is no reason
        if switched_off(value):
            self._switch_at = self._switch_at or time.monotonic()
            return switch_text(value)
        return ""


def _at(workflow: Object) -> str:
    """Say where a run is."""
    from steps.kube.workflows import phase_of, running_steps, waiting

    if waiting(workflow):
        return f"waits for a person: tiphys resume {workflow['metadata']['name']} -p approve=YES|NO"
    if steps := running_steps(workflow):
        return ", ".join(steps)
    message = str((workflow.get("status") or {}).get("message") or "")
    return message or (phase_of(workflow) or "Pending").lower()
