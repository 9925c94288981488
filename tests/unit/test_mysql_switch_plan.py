"""Who becomes the primary, and what speaks against it: functions of what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steps.drill.intent import Intent
from steps.errors import BadParameters, Refused
from steps.mysql.switch_plan import Candidate, choose, refusals
from steps.mysql.topology import Member, Topology, View

SERVERS = tuple(
    Member(f"u{n}", f"h{n}", 3306, "ONLINE", "SECONDARY" if n else "PRIMARY", "9.7.4", f"demo-{n}", "1")
    for n in range(3)
)


def group(*members: Member, **changes: object) -> Topology:
    made = Topology("demo", 3, members or SERVERS, (members or SERVERS)[0], True)
    return replace(made, **changes)  # type: ignore[arg-type]


def member(number: int, state: str = "ONLINE", **of_it: object) -> Candidate:
    made = Candidate(replace(SERVERS[number], state=state), 50, 0, f"node-{number}")
    return replace(made, **of_it)  # type: ignore[arg-type]


def best(*candidates: Candidate) -> str:
    return choose(group(), candidates, None).new.pod


def test_the_best_is_online_healthy_in_step_heavy_and_has_little_to_apply() -> None:
    assert best(member(1), member(2)) == "demo-1"
    assert best(member(1, weight=40), member(2)) == "demo-2"
    assert best(member(1, weight=None), member(2, weight=60)) == "demo-2"
    assert best(member(1, queue=7), member(2)) == "demo-2"
    assert best(member(1, queue=7, weight=60), member(2)) == "demo-1", "a few transactions are applied in no time"
    assert best(member(1, queue=7000, weight=60), member(2)) == "demo-2"
    assert best(member(1, "RECOVERING", weight=90), member(2)) == "demo-2"
    assert best(member(1, weight=90, obstacles=("its node node-1 is cordoned",)), member(2)) == "demo-2"
    assert best(member(1, queue=9000), member(2, queue=7000)) == "demo-2", "none is in step: the nearest"
    assert best(member(1, queue=9000, weight=60), member(2, queue=7000)) == "demo-2", "whatever they weigh"


def test_a_member_that_lags_is_a_warning_whoever_chose_it() -> None:
    for to in ("demo-1", None):
        (warning,) = choose(group(), [member(1, queue=7000), member(2, queue=9000)], to).warnings
        assert warning.startswith("demo-1: it has 7000 transactions left to apply")
    assert choose(group(), [member(1, queue=100)], "demo-1").warnings == ()


def test_the_choice_says_what_was_seen_of_each() -> None:
    choice = choose(group(), [member(1, weight=60), member(2, queue=3)], None)
    assert choice.why.startswith("the highest weight")
    assert choice.seen == (
        "demo-1: weight 60, 0 to apply, node node-1, chosen",
        "demo-2: weight 50, 3 to apply, node node-2",
    )
    assert choice.is_needed and choice.warnings == ()


def test_none_is_fit() -> None:
    with pytest.raises(Refused, match=r"demo-1 \(RECOVERING\).*demo-2 \(ONLINE\): .*is cordoned"):
        best(member(1, "RECOVERING"), member(2, obstacles=("its node node-2 is cordoned",)))
    with pytest.raises(Refused, match="no other member"):
        choose(group(SERVERS[0], expected=1), [], None)


def test_one_that_is_named_is_taken_though_another_is_better() -> None:
    choice = choose(group(), [member(1, weight=90), member(2, obstacles=("its node node-2 is cordoned",))], "demo-2")
    assert (choice.new.pod, choice.why) == ("demo-2", "it was asked for")
    assert choice.warnings == ("demo-2: its node node-2 is cordoned",)


def test_the_primary_itself_is_nothing_to_do() -> None:
    choice = choose(group(), [member(1), member(2)], "demo-0")
    assert not choice.is_needed and choice.why == "demo-0 is the primary already"


def test_one_that_cannot_be_the_primary_is_refused_with_what_was_seen() -> None:
    with pytest.raises(BadParameters, match=r"in pod 'demo-7'; the group has: demo-0 \(ONLINE\), demo-1 \(ONLINE\)"):
        choose(group(), [member(1), member(2)], "demo-7")
    with pytest.raises(Refused, match=r"demo-2 is RECOVERING.*ONLINE now: demo-1"):
        choose(group(), [member(1), member(2, "RECOVERING")], "demo-2")
    alone = View("u2", (replace(SERVERS[2], state="OFFLINE"),))
    left = group(*SERVERS[:2], views={"demo-2": alone})
    with pytest.raises(Refused, match=r"demo-2 is not in the group \(it says that it is OFFLINE\)"):
        choose(left, [member(1)], "demo-2")
    with pytest.raises(Refused, match=r"it gives no answer: refused"):
        choose(group(*SERVERS[:2], unreachable={"demo-2": "refused"}), [member(1)], "demo-2")


def test_a_member_that_is_missing_is_a_warning_as_long_as_a_majority_is_there() -> None:
    left = group(*SERVERS[:2])
    assert refusals(left, None, "run-1", 1) == []
    assert "1 of 3 members are not ONLINE" in choose(left, [member(1)], None).warnings[0]


@pytest.mark.parametrize(
    ("topology", "noted", "routers", "says"),
    [
        (group(primary=None), None, 1, "no primary to switch from"),
        (Topology("demo", 3, unreachable={"demo-0": "refused"}), None, None, "demo-0: refused"),
        (group(SERVERS[0]), None, 1, "not whole enough (1/3 ONLINE, primary demo-0), expected at least 2 of 3"),
        (
            group(*(replace(one, role="PRIMARY") for one in SERVERS), primary=None),
            None,
            1,
            "multi-primary mode (demo-0",
        ),
        (group(), Intent("other", "crash", "today"), 1, "'other'"),
        (group(), Intent("", "", ""), None, "somebody unknown"),
        (group(), None, 0, "no Router is ready"),
    ],
)
def test_each_reason_not_to_switch_is_told(
    topology: Topology, noted: Intent | None, routers: int | None, says: str
) -> None:
    reasons = refusals(topology, noted, "run-1", routers)
    assert len(reasons) == 1 and says in reasons[0], reasons


def test_its_own_note_is_no_reason() -> None:
    assert refusals(group(), Intent("run-1", "switch-primary", "today"), "run-1", None) == []
