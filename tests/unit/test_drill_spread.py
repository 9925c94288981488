"""Members that share a node after a drain: who moves, and when nobody does."""

from __future__ import annotations

from test_drill_guards import topology

from steps.drill.drain_spread import shared
from steps.mysql.topology import Topology


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
