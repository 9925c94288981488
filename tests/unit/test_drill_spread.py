"""Members that share a node after a drain: who moves, and when nobody does."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from test_drill_guards import topology

from steps.drill import drain_spread
from steps.drill.drain_spread import Doubled, shared
from steps.drill.fault import Scene
from steps.kube.client import Kube, Object
from steps.kube.errors import TooManyRequests
from steps.mysql.connection import Credentials
from steps.mysql.topology import Topology


class Held:
    """An API server whose disruption budget holds a pod at first, while the group changes; nothing else is made up."""

    def __init__(self) -> None:
        self.asked = 0

    def evict(self, pod: str, *, uid: str) -> None:
        self.asked += 1
        if self.asked == 1:
            raise TooManyRequests("held by a budget")

    def find(self, resource: str, name: str) -> Object | None:
        return None


WHOLE = topology()
MOVED = replace(WHOLE, primary=WHOLE.members[2])


@pytest.mark.parametrize(
    ("then", "says"), [(topology(online=2), "not whole any more (2/3 ONLINE"), (MOVED, "demo-2 has become the primary")]
)
def test_a_member_that_a_budget_held_is_looked_at_again(
    then: Topology, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_spread, "LOOK_SECONDS", 0.01)
    kube = Held()
    scene = Scene(cast(Kube, kube), "demo", Credentials("", ""), "run-1")
    monkeypatch.setattr(drain_spread, "read_topology", lambda *_, **__: then if kube.asked else WHOLE)
    pod = {"metadata": {"name": "demo-2", "uid": "u"}, "spec": {}}
    found = drain_spread._move(scene, Doubled("demo-2", "b", ("demo-1",)), pod, lambda: "", 0.0)
    assert kube.asked == 1 and says in found.why_not


def test_one_of_two_moves_the_drained_one_first_and_never_the_primary() -> None:
    assert shared({"demo-0": "a", "demo-1": "b", "demo-2": "c"}, topology(), ["demo-2"]) == []
    (one,) = shared({"demo-0": "a", "demo-1": "b", "demo-2": "b"}, topology(), ["demo-2"])
    assert (one.pod, one.node, one.beside) == ("demo-2", "b", ("demo-1",))
    (one,) = shared({"demo-0": "a", "demo-1": "b", "demo-2": "b"}, topology(), [])
    assert one.pod == "demo-1", "by name, where neither was moved"
    (one,) = shared({"demo-0": "a", "demo-1": "a", "demo-2": "c"}, topology(), ["demo-0"])
    assert (one.pod, one.beside) == ("demo-1", ("demo-0",)), "demo-0 is the primary"


def test_all_on_one_node_move_but_for_one_and_who_has_no_node_shares_none() -> None:
    found = shared(dict.fromkeys(["demo-0", "demo-1", "demo-2"], "a"), topology(), ["demo-0"])
    assert [one.pod for one in found] == ["demo-1", "demo-2"]
    assert shared({"demo-0": "a", "demo-1": "", "demo-2": ""}, topology(), []) == []
    without = Topology("demo", 3)
    (one,) = shared({"demo-0": "a", "demo-1": "a"}, without, ["demo-1"])
    assert one.pod == "demo-1"
