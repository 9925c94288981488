"""After a drain two members may share a node: nothing moves them apart again when the drained one is back.

With as many nodes as members that is how every drain ends, and the next one of that node is refused, for it would cost
the quorum. A secondary of the two is evicted once more, which the group survives as it survived the drill; or, where
that is not asked for or not safe, the report says what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steps.drill.fault import Scene
from steps.drill.guards import drills_setting, switch_text, switched_off
from steps.errors import StepError
from steps.kube.client import Object
from steps.kube.errors import Conflict, NotFound, TooManyRequests
from steps.kube.eviction import DEFAULT_GRACE_SECONDS, MARGIN_SECONDS
from steps.kube.placing import Volumes, is_open, takers
from steps.kube.pods import is_going, name_of
from steps.log import log
from steps.mysql.topology import Topology, read_topology

LOOK_SECONDS = 1.0
WHOLE_SECONDS = 300.0
"""How long the group may take to be whole again, beside the pod's own end."""


@dataclass(frozen=True)
class Doubled:
    """A member that shares a node with another one after the drill.

    Attributes:
        pod: of the member that may move, never the primary's.
        node: that it shares.
        beside: the other members' pods there.
        now: its node after it was evicted once more; empty where it was not.
        seconds: until the group was whole again after that.
        why_not: why it was left there, or is not apart from the others still; empty where all is well.
        advice: what to do; empty where nothing is left to be done.
    """

    pod: str
    node: str
    beside: tuple[str, ...]
    now: str = ""
    seconds: float | None = None
    why_not: str = ""
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in the measurement and in report.json."""
        return asdict(self) | {"beside": list(self.beside)}


def shared(places: Mapping[str, str], topology: Topology, drained: Sequence[str]) -> list[Doubled]:
    """Return which members could move apart: one for each that is too many on its node, those that were drained first.

    Args:
        places: node of each server's pod, empty for none.
        topology: the group now.
        drained: pods that the drill has moved.
    """
    primary = topology.primary.pod if topology.primary else ""
    found = []
    for node in sorted(set(places.values()) - {""}):
        there = sorted((pod for pod, place in places.items() if place == node), key=lambda p: (p not in drained, p))
        movable = [pod for pod in there if pod != primary]
        found += [Doubled(pod, node, tuple(sorted(set(there) - {pod}))) for pod in movable[: len(there) - 1]]
    return found


def settle(
    scene: Scene,
    drained: Sequence[str],
    *,
    asked: bool,
    recovered: bool,
    stop_reason: Callable[[], str],
    seconds: float = WHOLE_SECONDS,
) -> list[Doubled]:
    """Move members apart that share a node, one after the other, as far as that is asked for and safe.

    Args:
        scene: clients and the cluster.
        drained: pods that the drill has moved.
        asked: whether members may be evicted.
        recovered: whether the drill ended with a whole group.
        stop_reason: asked all the time; a text ends it.
        seconds: how long one may take to be back, beside its own end.
    """
    done: list[Doubled] = []
    for _ in range(9):  # no cluster has more members
        servers = {name_of(pod): pod for pod in scene.kube.servers(scene.cluster)}
        places = {name: str(pod["spec"].get("nodeName") or "") for name, pod in servers.items()}
        topology = read_topology(scene.kube, scene.cluster, credentials=scene.credentials)
        tried = {one.pod for one in done}
        left = [one for one in shared(places, topology, drained) if one.pod not in tried]
        if not left:
            break
        one = left[0]
        why = _why_not(scene, servers[one.pod], topology, places, asked=asked, recovered=recovered)
        why = why or stop_reason()
        done.append(_kept(one, why) if why else _move(scene, one, servers[one.pod], stop_reason, seconds))
    return done


def _why_not(
    scene: Scene, pod: Object, topology: Topology, places: Mapping[str, str], *, asked: bool, recovered: bool
) -> str:
    """Return why a member stays where it is, empty where it may move."""
    if not asked:
        return "spread-members is false"
    if not recovered:
        return "the drill did not end with a whole group"
    if not topology.is_whole:
        return f"the group is not whole ({topology.summary()})"
    if switched_off(value := drills_setting(scene.kube)):
        return switch_text(value)
    if not _free(scene, pod, places):
        return "no other node is free for it: each is cordoned, not ready, has a member, or does not take it"
    return ""


def _free(scene: Scene, pod: Object, places: Mapping[str, str]) -> list[str]:
    nodes = [one for one in scene.kube.all("nodes") if is_open(one) and name_of(one) not in places.values()]
    kube = scene.kube
    volumes = Volumes.of(kube.everywhere("persistentvolumeclaims"), kube.everywhere("persistentvolumes"))
    return takers(pod, nodes, volumes)


def _move(scene: Scene, one: Doubled, pod: Object, stop_reason: Callable[[], str], seconds: float) -> Doubled:
    """Evict a member once more, and wait until it is back and the group is whole."""
    grace = int(pod["spec"].get("terminationGracePeriodSeconds") or DEFAULT_GRACE_SECONDS)
    uid = str(pod["metadata"]["uid"])
    began = time.monotonic()
    until = began + grace + MARGIN_SECONDS + seconds
    evicted, held = False, ""
    log("spreading", pod=one.pod, node=one.node, beside=list(one.beside))
    while time.monotonic() < until and not (reason := stop_reason()):
        try:
            if not evicted:
                # Looked at before each try: while a budget held it, another member may have gone, or the primary moved.
                if held := unsafe(read_topology(scene.kube, scene.cluster, credentials=scene.credentials), one.pod):
                    break
                scene.kube.evict(one.pod, uid=uid)
                evicted = True
            now = scene.kube.find("pods", one.pod)
            if now is not None and now["metadata"]["uid"] != uid and not is_going(now) and now["spec"].get("nodeName"):
                topology = read_topology(scene.kube, scene.cluster, credentials=scene.credentials)
                if topology.is_whole:
                    took = time.monotonic() - began
                    log("spread", pod=one.pod, node=now["spec"]["nodeName"], seconds=round(took, 1))
                    return _moved(one, str(now["spec"]["nodeName"]), took)
        except (Conflict, NotFound):
            evicted = True  # another pod has its name already
        except TooManyRequests as error:
            held = str(error)
            if time.monotonic() > began + MARGIN_SECONDS:
                break
        except StepError as error:
            held = str(error)  # looked at again until the time is up
        time.sleep(LOOK_SECONDS)
    else:
        held = reason or held
    if not evicted:
        return _kept(one, held)
    return _kept(one, f"it was evicted once more and the group was not whole in time{': ' + held if held else ''}")


def unsafe(topology: Topology, pod: str) -> str:
    """Return why a member must not be evicted now, empty where it may."""
    if not topology.is_whole:
        return f"the group is not whole any more ({topology.summary()})"
    if topology.primary is not None and topology.primary.pod == pod:
        return f"{pod} has become the primary meanwhile"
    return ""


def _moved(one: Doubled, node: str, took: float) -> Doubled:
    if node != one.node:
        return Doubled(one.pod, one.node, one.beside, node, round(took, 1))
    return Doubled(
        one.pod,
        one.node,
        one.beside,
        node,
        round(took, 1),
        "the scheduler put it there again",
        "give the cluster's podSpec a podAntiAffinity, and look at how much room the other nodes have",
    )


def _kept(one: Doubled, why: str) -> Doubled:
    advice = f"when another node is free for it: kubectl delete pod {one.pod}; the next drain of {one.node} is refused"
    return Doubled(one.pod, one.node, one.beside, why_not=why, advice=advice)
