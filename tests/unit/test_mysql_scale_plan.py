"""Plans of scale-cluster: order of the actions, refusals, warnings."""

from __future__ import annotations

from steps.mysql.scale_plan import Current, plan
from steps.mysql.scale_plan import told as in_words
from steps.mysql.topology import Member, Topology


def topology(*states: str, primary: int = 0, quorum: bool = True) -> Topology:
    members = tuple(
        Member(f"u{i}", f"demo-{i}", 3306, state, "PRIMARY" if i == primary else "SECONDARY", "9.7.4", f"demo-{i}")
        for i, state in enumerate(states)
    )
    return Topology("demo", len(states), members if quorum else (), members[primary] if quorum else None, quorum)


def current(count: int = 3, primary: int = 0, claims: tuple[str, ...] = ()) -> Current:
    return Current(count, 2, topology(*["ONLINE"] * count, primary=primary), claims)


def told(*args: object, **kwargs: object) -> list[str]:
    made = plan(*args, **kwargs)  # type: ignore[arg-type]
    assert not made.refusals
    return [str(action) for action in made.actions]


def test_nothing_asked_is_nothing_to_do() -> None:
    assert told(current(), 3, None) == [] and told(current(), None, 2) == []


def test_servers_come_one_at_a_time() -> None:
    assert told(current(), 5, 4) == [
        "set the number of Routers to 4",
        "add server demo-3 (4 in all)",
        "add server demo-4 (5 in all)",
    ]


def test_the_highest_ordinals_go_and_the_primary_moves_off_them_once() -> None:
    assert told(current(5, primary=4), 3, None) == [
        "make demo-0 the primary",
        "remove server demo-4 (4 left)",
        "remove server demo-3 (3 left)",
    ]
    assert "primary" not in " ".join(told(current(5, primary=1), 3, None))


def test_claims_go_only_when_asked_and_only_beyond_the_number() -> None:
    claims = ("datadir-demo-2", "datadir-demo-3", "datadir-demo-7", "datadir-demo-x", "datadir-demon-9")
    assert told(current(4, claims=claims), 3, None) == ["remove server demo-3 (3 left)"]
    assert told(current(4, claims=claims), 3, None, delete_claims=True)[1:] == [
        "delete volume claim datadir-demo-3 and its data",
        "delete volume claim datadir-demo-7 and its data",
    ]


def test_no_removal_while_a_member_is_missing_unless_told() -> None:
    damaged = Current(5, 2, topology("ONLINE", "ONLINE", "ONLINE", "ONLINE", "UNREACHABLE"))
    refused = plan(damaged, 3, None)
    assert "not all members are ONLINE (4/5 ONLINE, 1 UNREACHABLE, primary demo-0)" in refused.refusals[0]
    assert not plan(damaged, 3, None, allow_outage=True).refusals


def test_the_quorum_is_kept_whatever_is_allowed() -> None:
    low = Current(5, 2, topology("UNREACHABLE", "UNREACHABLE", "ONLINE", "ONLINE", "ONLINE", primary=2))
    assert "would lose its quorum" in plan(low, 3, None, allow_outage=True).refusals[0]
    lost = Current(3, 2, topology("ONLINE", "ONLINE", "ONLINE", quorum=False))
    for servers in (1, 5):
        assert "no quorum" in plan(lost, servers, None, allow_outage=True).refusals[0]


def test_the_last_router_needs_a_word() -> None:
    assert "without Routers" in plan(current(), None, 0).refusals[0]
    assert told(current(), None, 0, allow_outage=True) == ["set the number of Routers to 0"]


def test_warnings_on_numbers_that_buy_nothing() -> None:
    assert "tolerate as many failures as 3, 1" in plan(current(), 4, None).warnings[0]
    assert "no redundancy" in plan(current(), 1, None).warnings[0]
    assert "2 servers survive no failure" in plan(current(), 2, None).warnings[0]
    assert not plan(current(), 5, None).warnings
    damaged = Current(3, 2, topology("ONLINE", "ONLINE", "UNREACHABLE"))
    assert "not all members are ONLINE" in plan(damaged, 5, None).warnings[0]


def test_a_dry_run_says_that_nothing_was_changed_and_all_there_is_to_say() -> None:
    two = plan(current(), 2, None)
    assert in_words(two, dry_run=False) == "remove server demo-2 (2 left)"
    told_dry = in_words(two, dry_run=True)
    assert told_dry.startswith(
        "dry run: nothing was changed; would do: remove server demo-2 (2 left); warning: 2 servers"
    )
    refused = in_words(plan(current(), None, 0), dry_run=True)
    assert "it would be refused: without Routers" in refused and "would do" not in refused
    assert in_words(plan(current(), 3, 2), dry_run=True) == "dry run: nothing was changed; there is nothing to do"
    assert in_words(plan(current(), 3, 2), dry_run=False) == ""
