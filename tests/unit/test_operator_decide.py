"""Diagnosis of a cluster, what is done about its members, and what its metadata should say."""

from __future__ import annotations

from typing import Any

import pytest
from operator_help import address, going, inside, member, outside, peers, uuid

from tiphys.local.operator.decide import STOP_SECONDS, Errant, Join, Leave, Release, Remember, decide, seeds
from tiphys.local.operator.diagnose import diagnose
from tiphys.local.operator.member import Member
from tiphys.local.operator.metadata import Contents, Instance, RouterInstance
from tiphys.local.operator.publish import membership
from tiphys.local.operator.router_start import router_id
from tiphys.local.operator.wanted import LOST_SECONDS, lost_routers, wanted_metadata

ALL = peers(0, m0="ONLINE", m1="ONLINE", m2="ONLINE")
KNOWN = Contents("c", frozenset(Instance(uuid(n), address(n), f"demo-{n}") for n in range(3)))


def whole() -> list[Member]:
    return [member(n, inside(n, ALL, metadata=KNOWN)) for n in range(3)]


def status(members: list[Member]) -> str:
    return diagnose(members, created=True, deleting=False).status


def actions(members: list[Member], deleting: bool = False) -> list[Any]:
    return decide(members, diagnose(members, created=True, deleting=deleting), deleting)


def test_a_whole_cluster_is_online_and_left_alone() -> None:
    found = diagnose(whole(), created=True, deleting=False)
    assert (found.status, found.primary, found.online) == ("ONLINE", uuid(0), ("demo-0", "demo-1", "demo-2"))
    assert actions(whole()) == []


def test_statuses_before_and_after() -> None:
    assert diagnose([], created=False, deleting=False).status == "INITIALIZING"
    assert diagnose(whole(), created=True, deleting=True).status == "FINALIZING"
    assert status([]) == "UNKNOWN"


def test_a_member_that_is_out_makes_it_partial_and_is_brought_back() -> None:
    two = peers(0, m0="ONLINE", m1="ONLINE")
    members = [
        member(0, inside(0, two, metadata=KNOWN)),
        member(1, inside(1, two, metadata=KNOWN)),
        member(2, outside(2)),
    ]
    assert status(members) == "ONLINE_PARTIAL"
    (action,) = actions(members)
    assert isinstance(action, Join)
    assert (action.member.name, action.rejoin) == ("demo-2", True)


def test_a_server_that_never_was_a_member_does_not_count_and_joins() -> None:
    newcomer = member(3, outside(3, last=0))
    assert status([*whole(), newcomer]) == "ONLINE"
    (action,) = actions([*whole(), newcomer])
    assert isinstance(action, Join)
    assert not action.rejoin
    assert actions([*whole(), member(3, outside(3, last=0), configured=False)]) == []


def test_a_restarted_server_waits_until_its_group_has_expelled_its_last_life() -> None:
    seen = peers(0, m0="ONLINE", m1="ONLINE", m2="UNREACHABLE")
    members = [
        member(0, inside(0, seen, metadata=KNOWN)),
        member(1, inside(1, seen, metadata=KNOWN)),
        member(2, outside(2)),
    ]
    assert status(members) == "ONLINE_PARTIAL"
    assert actions(members) == []


def test_a_server_that_looks_for_its_group_by_itself_is_left_alone() -> None:
    two = peers(0, m0="ONLINE", m1="ONLINE")
    expelled = outside(2, state="ERROR", rejoining=True)
    members = [member(0, inside(0, two)), member(1, inside(1, two)), member(2, expelled)]
    assert actions(members) == []
    members[2] = going(members[2])
    assert actions(members) == [Release(members[2])]
    members[2] = member(2, outside(2, state="ERROR"))
    assert [type(action) for action in actions(members)] == [Join]


def test_every_member_is_told_where_its_peers_are() -> None:
    members = whole()
    members[0] = member(0, inside(0, ALL, metadata=KNOWN, seeds=seeds([address(0)])))
    assert actions(members) == [Remember(members[0], seeds(address(n) for n in range(3)))]


def test_transactions_that_the_group_has_not_keep_a_server_out() -> None:
    two = peers(0, m0="ONLINE", m1="ONLINE")
    members = [member(0, inside(0, two)), member(1, inside(1, two)), member(2, outside(2, last=13))]
    assert actions(members) == [Errant(members[2], 3)]


def test_between_two_primaries_nothing_is_said() -> None:
    seen = peers(0, m0="UNREACHABLE", m1="ONLINE", m2="ONLINE")
    members = [member(0, None, running=False), member(1, inside(1, seen)), member(2, inside(2, seen))]
    found = diagnose(members, created=True, deleting=False)
    assert (found.status, found.group) == ("", None)


@pytest.mark.parametrize(("running", "expected"), [(True, "NO_QUORUM_UNCERTAIN"), (False, "NO_QUORUM")])
def test_a_minority_has_no_quorum(running: bool, expected: str) -> None:
    seen = peers(0, m0="UNREACHABLE", m1="UNREACHABLE", m2="ONLINE")
    members = [
        member(0, None, running=running),
        member(1, None, running=running),
        member(2, inside(2, seen, metadata=KNOWN)),
    ]
    assert status(members) == expected
    assert actions(members) == []


def test_two_groups_with_a_primary_each_are_a_split_brain_and_nothing_joins() -> None:
    one, other = peers(0, m0="ONLINE"), peers(1, m1="ONLINE")
    members = [member(0, inside(0, one)), member(1, inside(1, other)), member(2, outside(2))]
    assert status(members) == "SPLIT_BRAIN"
    assert actions(members) == []


def test_silence_is_uncertain_and_a_dead_process_is_not() -> None:
    two = peers(0, m0="ONLINE", m1="ONLINE")
    first = [member(0, inside(0, two)), member(1, inside(1, two))]
    assert status([*first, member(2, None, running=True)]) == "ONLINE_UNCERTAIN"
    assert status([*first, member(2, None, running=False)]) == "ONLINE_PARTIAL"
    assert status([member(0, outside(0)), member(1, None, running=True)]) == "OFFLINE_UNCERTAIN"
    assert status([member(0, outside(0)), member(1, outside(1, state="ERROR"))]) == "OFFLINE"


def test_a_stale_minority_does_not_hide_the_majority() -> None:
    # demo-0 was cut off; it still believes to be primary, without quorum.
    cut = peers(0, m0="ONLINE", m1="UNREACHABLE", m2="UNREACHABLE")
    two = peers(1, m1="ONLINE", m2="ONLINE")
    members = [
        member(0, inside(0, cut, metadata=KNOWN)),
        member(1, inside(1, two, metadata=KNOWN)),
        member(2, inside(2, two, metadata=KNOWN)),
    ]
    found = diagnose(members, created=True, deleting=False)
    assert (found.status, found.primary, found.online) == ("ONLINE_PARTIAL", uuid(1), ("demo-1", "demo-2"))


def test_a_pod_that_goes_leaves_first_and_is_then_let_go() -> None:
    members = whole()
    members[1] = going(members[1])
    assert actions(members) == [Leave(members[1])]
    members[1] = going(member(1, outside(1)))
    assert actions(members) == [Release(members[1])]
    members[1] = going(member(1, None, running=False))
    assert actions(members) == [Release(members[1])]


def test_a_pod_whose_server_is_stuck_is_not_held_for_ever() -> None:
    members = whole()
    members[1] = going(member(1, None, running=True), 1.0)
    assert actions(members) == []
    members[1] = going(member(1, None, running=True), STOP_SECONDS)
    assert actions(members) == [Release(members[1])]
    members[1] = going(member(1, inside(1, ALL)), STOP_SECONDS + 1)
    assert actions(members) == [Release(members[1])]


def test_a_cluster_that_is_deleted_takes_nobody_in_and_lets_all_go() -> None:
    members = [going(item) for item in whole()]
    assert actions(members, deleting=True) == [Release(item) for item in members]
    assert actions([member(0, outside(0))], deleting=True) == []


def test_metadata_follows_addresses_and_forgets_what_left() -> None:
    two = peers(0, m0="ONLINE", m1="ONLINE")
    moved = Member("demo-1", "new", 1, "127.9.2.77", configured=True, running=True, view=inside(1, two))
    members = [member(0, inside(0, two, metadata=KNOWN)), moved, going(member(2, outside(2)))]
    found = wanted_metadata(KNOWN, members, diagnose(members, True, False), [])
    assert found.instances == {
        Instance(uuid(0), address(0), "demo-0"),
        Instance(uuid(1), "127.9.2.77", "demo-1"),
    }


def test_metadata_keeps_a_member_that_does_not_answer() -> None:
    members = [*whole()[:2], member(2, None, running=False)]
    assert wanted_metadata(KNOWN, members, diagnose(members, True, False), []) == KNOWN


def router(name: str, created: str, **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, **meta},
        "status": {"podIP": "127.9.1.9"},
    }


def test_metadata_names_the_routers_that_stay() -> None:
    stays = router("r1", "2026-01-01T00:00:00Z")
    goes = router("r2", "2026-01-01T00:00:00Z", deletionTimestamp="2026-01-01T00:01:00Z")
    found = wanted_metadata(KNOWN, whole(), diagnose(whole(), True, False), [stays, goes])
    assert found.routers == {RouterInstance(router_id("r1"), "r1", "127.9.1.9")}


def test_a_router_is_lost_only_when_it_is_silent_since_a_reboot_that_it_has_seen() -> None:
    pod, born = router("r1", "2026-01-01T00:00:00Z"), 1767225600.0
    number, rebooted = router_id("r1"), born + 100
    late = rebooted + LOST_SECONDS + 1
    assert lost_routers([pod], {number: rebooted - 5}, rebooted, late) == ["r1"]
    assert lost_routers([pod], {number: rebooted - 5}, rebooted, rebooted + 1) == []  # give it time
    assert lost_routers([pod], {number: rebooted + 5}, rebooted, late) == []  # it came back by itself
    assert lost_routers([pod], {number: born}, born - 50, late) == []  # frozen, but no reboot


def test_what_is_written_about_a_member() -> None:
    found = diagnose(whole(), created=True, deleting=False)
    assert membership(whole()[1], found, {}) == {
        "memberId": uuid(1),
        "groupViewId": "1:1",
        "status": "ONLINE",
        "version": "9.7.4",
        "role": "SECONDARY",
    }
    # One that says that it is out is out, whatever its group still believes.
    info = membership(member(0, outside(0)), found, {})
    assert info is not None
    assert info["status"] == "OFFLINE"
    # One that is silent is what its group says; its process dead and unknown to the group, it is out.
    seen = diagnose([*whole()[:2], member(2, None)], created=True, deleting=False)
    info = membership(member(2, None, running=False), seen, {"memberId": uuid(2)})
    assert info is not None
    assert info["status"] == "ONLINE"
    assert membership(member(3, None), seen, {}) is None
