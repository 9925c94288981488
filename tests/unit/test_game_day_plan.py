"""The list of a game day's drills: read whole, refused whole, and what no webhook may put into it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsources.triggerable import triggerable
from steps.errors import BadParameters
from steps.game_day import plan
from steps.game_day.options import DRILLS, NAMES_ONLY
from workflows.game_day import build

FAULTS = plan.known_faults()


def test_entries_stand_apart_by_commas_blanks_and_lines() -> None:
    text = DRILLS.convert("switchover,  router-kill\ndrain-node:switchover-first=true;hold-seconds=5", None, None)
    first, second, third = plan.read(text)
    assert [one.fault for one in (first, second, third)] == ["switchover", "router-kill", "drain-node"]
    assert (first.template, third.template) == ("failover-drill", "node-drain-drill")
    assert third.given == {"switchover-first": "true", "hold-seconds": "5"} and first.given == {}
    assert third.label == "drain-node:switchover-first=true;hold-seconds=5"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("earthquake", "no fault 'earthquake'"),
        ("crash:writers=many", "--writers"),
        ("crash:writers=0", "--writers"),
        ("crash:switchover-first=true", "not name=value with one of"),
        ("crash:cluster=other", "not name=value"),
        ("crash:workflow=x", "not name=value"),
        ("crash:namespace=x", "not name=value"),
        ("crash:dry-run=true", "not name=value"),
        ("crash:measurement=/etc/hosts", "not name=value"),
        ("drain-node:fault=crash", "not name=value"),
        ("crash:", "not name=value"),
        ("crash:writers=2;writers=3", "given twice"),
        ("drain-node:node={{x}}", "--node"),
        ("full-outage", "allow-outage"),
    ],
)
def test_one_bad_entry_refuses_the_list(entry: str, said: str) -> None:
    with pytest.raises(BadParameters) as raised:
        plan.read(f"switchover, {entry}")
    assert said in str(raised.value) and "Nothing was started" in str(raised.value) and "drill 2" in str(raised.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadParameters) as raised:
        plan.read("x, switchover, y")
    assert "drill 1" in str(raised.value) and "drill 3" in str(raised.value)


@pytest.mark.parametrize("text", ["", " , ", ", ".join(["switchover"] * (plan.MOST + 1))])
def test_none_and_too_many_are_refused(text: str) -> None:
    with pytest.raises(BadParameters):
        plan.read(text)


def test_an_outage_needs_the_entry_s_word_and_the_game_day_s() -> None:
    entry = "quorum-loss:allow-outage=true"
    assert plan.read(entry, allow_outage=True)[0].given == {"allow-outage": "true"}
    with pytest.raises(BadParameters, match="game day itself has to allow"):
        plan.read(entry)
    with pytest.raises(BadParameters, match="the entry has to say so"):
        plan.read("quorum-loss", allow_outage=True)


def test_a_webhook_can_name_faults_and_nothing_else() -> None:
    (game_day,) = (one for one in triggerable() if one.name == "game-day")
    names = {one.name: one for one in game_day.parameters}
    assert "allow-outage" not in names and "approved" not in names and "start-game-days" not in map(str, triggerable())
    assert names["drills"].text is NAMES_ONLY and names["cluster"].default is None
    taken = re.compile(NAMES_ONLY.regex[1:-1])
    assert taken.fullmatch("switchover, router-kill")
    for text in ("drain-node:empty-dir=evict", "crash:allow-outage=true", "crash;x", "{{x}}"):
        assert not taken.fullmatch(text)


def test_nobody_but_the_run_s_own_approval_sets_approved() -> None:
    spec = build().to_dict()["spec"]
    assert "approved" not in [one["name"] for one in spec["arguments"]["parameters"]]
    (drills,) = (one for one in spec["templates"] if one["name"] == "drills")
    (run,) = (step for group in drills["steps"] for step in group if step["template"] == "game-day-run")
    (value,) = (one["value"] for one in run["arguments"]["parameters"] if one["name"] == "approved")
    assert value == "{{inputs.parameters.approved}}"


def test_a_game_day_waits_for_drills_and_so_takes_none_of_their_places() -> None:
    locks = build().to_dict()["spec"]["synchronization"]
    assert "semaphores" not in locks
    assert [one["name"] for one in locks["mutexes"]] == ["game-day-{{workflow.parameters.cluster}}"]


def test_budgets_do_not_make_runs_incomparable_and_load_does() -> None:
    plain, budget, load, same = (
        plan.read(text)[0].like
        for text in ("crash", "crash:max-write-downtime-seconds=5", "crash:writers=8", "crash:writers=4")
    )
    assert plain == budget == same != load
    assert set(plain) == {"hold-seconds", "readers", "survivor", "write-interval-ms", "writers"}
    assert set(plan.read("drain-node")[0].like) >= {"target", "switchover-first", "hold-seconds", "writers"}


names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?", fullmatch=True)


@settings(max_examples=40)
@given(names, st.integers(1, plan.MOST), st.sampled_from(FAULTS))
def test_a_drill_s_run_has_a_name_that_kubernetes_takes_and_that_is_always_the_same(
    game_day: str, number: int, fault: str
) -> None:
    name = plan.child_name(game_day, number, fault)
    assert name == plan.child_name(game_day, number, fault)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) and len(name) <= plan.NAME_LENGTH
    assert name.endswith(f"-{number:02d}-{fault}")


@settings(max_examples=40)
@given(names, names, st.sampled_from(FAULTS))
def test_two_game_days_share_no_name(one: str, other: str, fault: str) -> None:
    assert one == other or plan.child_name(one, 1, fault) != plan.child_name(other, 1, fault)


@given(st.text(alphabet="abcdefgh-:;=,. 019\n", max_size=80))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        entries = plan.read(text, allow_outage=True)
    except BadParameters:
        return
    assert entries and all(one.fault in FAULTS for one in entries)
