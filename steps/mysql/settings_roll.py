"""Restarting servers for settings that are read at their start, and seeing early that one does not start with them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from steps.errors import StepError, VerdictAborted
from steps.kube.client import Kube, Object
from steps.kube.pods import is_ready, name_of
from steps.log import log
from steps.mysql.connection import Credentials
from steps.mysql.restart import NotBack, Progress, restart
from steps.mysql.restart_plan import SERVER_CONTAINER, START_SECONDS, Method, Wish, ends, life_of
from steps.mysql.settings_apply import NotTaken
from steps.mysql.waiting import Sight, wait_until

SPARED = "spared"
"""Stands for the identity of a pod that is not restarted: none has it."""
ENDS = 2
"""A server that has failed so often since its pod is new does not start with what it is given."""
LOOK_SECONDS = 1.0
LOG_LINES = 200
_ERROR = re.compile(r"^\S+ \d+ \[ERROR\] (?:\[[^]]*\] )*(?P<text>.*)$", re.MULTILINE)


def roll(
    kube: Kube,
    cluster: str,
    credentials: Credentials,
    pods: Collection[str],
    known: Mapping[str, str],
    *,
    workflow: str,
    seconds: int = 0,
    stop_reason: Callable[[], str] = lambda: "",
    verify: Callable[[str], None] = lambda pod: None,
) -> list[str]:
    """Restart the servers in some pods, one after another, as rolling-restart does; return those that were.

    Args:
        kube: of the cluster's namespace.
        cluster: its name.
        credentials: its administrator.
        pods: whose servers.
        known: pod to the identity that it had before: it is restarted until it has another.
        workflow: whose note is on the cluster.
        seconds: how long one may take; 0 derives it.
        stop_reason: asked all the time; a text stops it.
        verify: looks at each server before the next one goes; its error stops it.

    Raises:
        NotTaken: a server does not start, or did not come back.
        Refused: the quorum would be at risk, or a disruption budget holds a pod.
        VerdictAborted: `stop_reason` said so.
    """
    done: list[str] = []
    watch = _Crash(kube, cluster, known)

    def tell(progress: Progress) -> None:
        log(progress.kind, pod=progress.pod, was=progress.was, number=progress.number, of=progress.of)
        if progress.kind == "restarted":
            verify(progress.pod)
            done.append(progress.pod)

    identities = {name_of(pod): SPARED for pod in kube.servers(cluster)} | {pod: known[pod] for pod in pods}
    wish = Wish(Method.POD, None, seconds, identities)
    try:
        restart(
            kube,
            cluster,
            credentials,
            wish,
            workflow=workflow,
            on_progress=tell,
            stop_reason=lambda: stop_reason() or watch.seen(),
        )
    except VerdictAborted as error:
        if watch.pod:
            raise NotTaken(watch.pod, watch.why) from error
        raise
    except NotBack as error:
        raise NotTaken(error.pod, f"{error}{_said(kube, error.pod)}") from error
    return done


class _Crash:
    """Sees a server that fails again and again since its pod is new.

    Attributes:
        pod: whose, once it was seen.
        why: what it said.
    """

    def __init__(self, kube: Kube, cluster: str, known: Mapping[str, str]) -> None:
        self._kube, self._cluster, self._known = kube, cluster, known
        self._last = 0.0
        self.pod = self.why = ""

    def seen(self) -> str:
        """Return what is to be said of it; empty where there is none."""
        if not self.pod and time.monotonic() - self._last > LOOK_SECONDS:
            self._last = time.monotonic()
            for pod in self._kube.servers(self._cluster):
                if ends(pod) >= ENDS and life_of(pod).uid != self._known.get(name_of(pod)):
                    self.pod = name_of(pod)
                    self.why = f"mysqld does not start{_said(self._kube, self.pod)}"
        return f"{self.pod}: {self.why}" if self.pod else ""


def _said(kube: Kube, pod: str) -> str:
    """Return the first error that the server in a pod wrote when it ended."""
    for previous in (True, False):
        try:
            found = _ERROR.search(kube.log(pod, SERVER_CONTAINER, lines=LOG_LINES, previous=previous))
        except StepError as error:
            log("log-not-read", pod=pod, why=str(error))
            continue
        if found:
            return f": {re.sub(r'^/[^ ]*/', '', found['text'])}"
    return ""


def bring_back(kube: Kube, cluster: str, credentials: Credentials, known: Mapping[str, str], seconds: float) -> None:
    """Wait until the group is whole; a pod of ours whose server fails is made anew, so that it reads its ConfigMap.

    Args:
        kube: of the cluster's namespace.
        cluster: its name.
        credentials: its administrator.
        known: pod to the identity that it had before it was restarted.
        seconds: how long.

    Raises:
        TimedOut: it is not whole yet.
    """
    anew: set[str] = set()

    def lacks(seen: Sight) -> str:
        for pod in seen.servers:
            if name_of(pod) not in anew and _fails(pod, known):
                log("made-anew", pod=name_of(pod), why="its server does not start with the settings of its pod")
                kube.delete("pods", name_of(pod), uid=life_of(pod).uid)
                anew.add(name_of(pod))
                return f"{name_of(pod)} is made anew"
        missing = [name_of(pod) for pod in seen.servers if not is_ready(pod)]
        whole = seen.topology.is_whole and len(seen.servers) == seen.topology.expected
        return "" if whole and not missing else f"{seen.topology.summary()}; not ready: {', '.join(missing) or 'none'}"

    deadline = time.monotonic() + seconds
    wait_until(kube, cluster, credentials, lacks, what=f"{cluster}: a whole group", deadline=deadline)


def _fails(pod: Object, known: Mapping[str, str]) -> bool:
    return ends(pod) > 0 and not is_ready(pod) and life_of(pod).uid != known.get(name_of(pod), "")


def expiry(restarts: int) -> str:
    """Return when a run outside any workflow that restarts so many servers counts as gone."""
    return (datetime.now(UTC) + timedelta(seconds=600 + restarts * START_SECONDS)).isoformat(timespec="seconds")
