"""The steady state between drills: all members ONLINE, Routers ready, no drill noted, nothing critical found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from steps.check.finding import CRITICAL
from steps.check.judge import judge_facts
from steps.drill import intent
from steps.errors import Temporary
from steps.game_day.state import Look, now
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.inspection import inspect

PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Seen:
    """A cluster at one moment: what it is like, and what keeps it from being steady."""

    told: str
    lacking: list[str]


def look(kube: Kube, cluster: str) -> Seen:
    """Look at a cluster once.

    Raises:
        BadParameters: there is none of this name.
        Temporary: it could not be looked at now.
    """
    noted = intent.read(kube.cluster(cluster))
    facts = inspect(kube, cluster)
    lacking = [f"a drill of {noted.workflow or 'somebody unknown'} is noted on it"] if noted else []
    if not facts.topology.is_whole:
        lacking.append(f"the group is not whole: {facts.topology.summary()}")
    if facts.routers_ready < max(facts.routers_wanted, 1):
        lacking.append(f"{facts.routers_ready} of {facts.routers_wanted} Routers are ready")
    lacking += [f"{one.check}: {one.seen}" for one in judge_facts(facts) if one.severity == CRITICAL]
    return Seen(f"{facts.topology.summary()}; {facts.routers_ready} of {facts.routers_wanted} Routers ready", lacking)


def wait_until_steady(
    kube: Kube,
    cluster: str,
    limit_seconds: float,
    stop: Callable[[], str] = lambda: "",
    *,
    looking: Callable[[Kube, str], Seen] = look,
) -> Look:
    """Look until the cluster is steady, for a limited time or until told to stop, and return what was seen last."""
    started, said = time.monotonic(), ""
    while True:
        try:
            seen = looking(kube, cluster)
        except Temporary as error:
            seen = Seen("it could not be looked at", [str(error)])
        waited = time.monotonic() - started
        if not seen.lacking or waited >= limit_seconds or stop():
            log("steady" if not seen.lacking else "not-steady", seen=seen.told, lacking=seen.lacking)
            return Look(now(), not seen.lacking, round(waited, 1), seen.told, seen.lacking)
        if (text := "; ".join(seen.lacking)) != said:
            log("waits-for-steady", lacking=text, seconds=round(waited, 1), limit=limit_seconds)
            said = text
        time.sleep(min(PAUSE_SECONDS, limit_seconds))
