"""Who may start the group: never two, never one that loses a transaction."""

from __future__ import annotations

import itertools

import pytest
from operator_help import gtids, inside, member, outside, peers, uuid

from tiphys.local.operator.member import Member
from tiphys.local.operator.reboot import PATIENCE_SECONDS, Intent, Seed, Wait, choose


def decide(members: list[Member], created: bool = True, intent: Intent | None = None, outage: float = 1.0) -> str:
    found = choose(members, 3, created, intent, outage)
    return found.member.name if isinstance(found, Seed) else "wait"


def test_a_new_cluster_starts_on_ordinal_0_without_waiting_for_the_others() -> None:
    assert decide([member(0, outside(0, last=0)), member(1, None, configured=False)], created=False) == "demo-0"
    assert decide([member(0, None, configured=False), member(1, outside(1, last=0))], created=False) == "wait"


def test_a_new_cluster_on_old_claims_waits_for_all_and_takes_the_newest() -> None:
    old = [member(0, outside(0, last=5)), member(1, outside(1, last=9)), member(2, outside(2, last=7))]
    assert decide(old, created=False) == "demo-1"
    assert decide(old[:1] + [member(1, None, configured=False), old[2]], created=False) == "wait"


def test_after_an_outage_the_member_with_all_transactions_starts() -> None:
    assert decide([member(0, outside(0, 5)), member(1, outside(1, 6)), member(2, outside(2, 4))]) == "demo-1"
    assert decide([member(n, outside(n, 5)) for n in range(3)]) == "demo-0"


def test_servers_that_diverged_are_left_alone() -> None:
    other = outside(1)
    lonely = type(other)(other.uuid, gtids=gtids(3).union(type(other.gtids).parse(f"{uuid(1)}:1")), peers=other.peers)
    found = choose([member(0, outside(0, 5)), member(1, lonely), member(2, outside(2, 5))], 3, True, None, 1e6)
    assert isinstance(found, Wait)
    assert found.stuck
    assert "lose" in found.reason


def test_a_server_that_runs_and_does_not_answer_blocks_for_ever() -> None:
    members = [member(0, outside(0)), member(1, outside(1)), member(2, None, running=True)]
    assert decide(members, outage=PATIENCE_SECONDS * 100) == "wait"


def test_a_dead_server_is_waited_for_and_then_left_behind_by_a_majority_only() -> None:
    dead = member(2, None, running=False)
    two = [member(0, outside(0)), member(1, outside(1)), dead]
    assert decide(two, outage=PATIENCE_SECONDS / 2) == "wait"
    assert decide(two, outage=PATIENCE_SECONDS + 1) == "demo-0"
    assert decide(two[:2], outage=PATIENCE_SECONDS + 1) == "demo-0"  # its pod is gone altogether
    assert decide([member(0, outside(0)), dead], outage=PATIENCE_SECONDS * 100) == "wait"


@pytest.mark.parametrize("state", ["ONLINE", "RECOVERING"])
def test_a_group_without_quorum_is_still_a_group(state: str) -> None:
    seen = peers(0, m0="UNREACHABLE", m1="UNREACHABLE", m2=state)
    assert decide([member(0, outside(0)), member(1, outside(1)), member(2, inside(2, seen))], outage=1e6) == "wait"


def test_nobody_starts_while_another_is_at_it() -> None:
    members = [member(0, outside(0, starting=True)), member(1, outside(1)), member(2, outside(2))]
    assert decide(members) == "wait"


def test_an_unfinished_bootstrap_blocks_while_its_server_is_silent() -> None:
    intent = Intent("uid-2", uuid(2))
    answering = [member(0, outside(0)), member(1, outside(1))]
    assert decide([*answering, member(2, None, running=True)], intent=intent, outage=1e6) == "wait"
    assert decide([*answering, member(2, outside(2))], intent=intent) == "demo-0"
    # Its process is gone, and with it any group that it had started.
    assert decide([*answering, member(2, None, running=False)], intent=intent, outage=1e6) == "demo-0"
    # Also for a cluster that was never there before, though ordinal 0 alone could start that.
    fresh = [member(0, outside(0, last=0)), member(2, None, running=True)]
    assert decide(fresh, created=False, intent=intent) == "wait"


def test_a_pod_that_is_going_is_no_seed_but_counts() -> None:
    gone = member(2, outside(2, last=12), deleting=1.0)
    assert decide([member(0, outside(0)), member(1, outside(1)), gone], outage=1e6) == "wait"
    silent = member(2, None, running=True, deleting=1.0)
    assert decide([member(0, outside(0)), member(1, outside(1)), silent], outage=1e6) == "wait"


def test_in_no_combination_is_a_group_started_beside_another_or_data_lost() -> None:
    """All 3-member combinations of what a server can be: the two promises hold in each."""
    group = peers(0, m0="ONLINE", m1="ONLINE", m2="ONLINE")
    minority = peers(0, m0="UNREACHABLE", m1="UNREACHABLE", m2="UNREACHABLE")

    def kinds(ordinal: int) -> list[Member | None]:
        alone = tuple(p if p.uuid != uuid(ordinal) else type(p)(p.uuid, p.address, "ONLINE", p.role) for p in minority)
        return [
            None,
            member(ordinal, outside(ordinal, last=0)),
            member(ordinal, outside(ordinal, last=7)),
            member(ordinal, outside(ordinal, last=9)),
            member(ordinal, outside(ordinal, last=9, state="ERROR")),
            member(ordinal, outside(ordinal, starting=True)),
            member(ordinal, outside(ordinal, state="ERROR", rejoining=True)),
            member(ordinal, inside(ordinal, group)),
            member(ordinal, inside(ordinal, alone)),
            member(ordinal, None, running=True),
            member(ordinal, None, running=False),
            member(ordinal, outside(ordinal, last=9), deleting=1.0),
        ]

    started = 0
    for combination in itertools.product(kinds(0), kinds(1), kinds(2)):
        members = [m for m in combination if m is not None]
        for outage, intent in itertools.product((1.0, 1e6), (None, Intent("uid-1", uuid(1)))):
            found = choose(members, 3, True, intent, outage)
            if isinstance(found, Wait):
                continue
            started += 1
            assert not any(m.view and (m.view.in_group or m.view.starting or m.view.rejoining) for m in members)
            assert not any(m.view is None and m.running for m in members)
            assert found.member.view is not None
            assert all(found.member.view.gtids.contains(m.view.gtids) for m in members if m.view)
            assert sum(m.view is not None and m.deleting is None for m in members) >= 2
    assert started > 50
