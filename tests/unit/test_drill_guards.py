"""Guards, intents and the reaper's judgement, as functions of what was found."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from steps.drill.faults import FAULTS
from steps.drill.guards import Facts, refusals, require_safe, switch_text, switched_off, told_plan
from steps.drill.intent import ANNOTATION, Intent, read
from steps.drill.reap import is_over, phase_of
from steps.errors import Refused
from steps.mysql.topology import Member, Topology


def topology(servers: int = 3, online: int | None = None) -> Topology:
    online = servers if online is None else online
    members = tuple(
        Member(f"u{n}", f"h{n}", 3306, "ONLINE" if n < online else "RECOVERING", "SECONDARY", "9.7.4", f"demo-{n}", "1")
        for n in range(servers)
    )
    return Topology("demo", servers, members, members[0], True)


def facts(**changes: object) -> Facts:
    labels = {"tiphys.dev/drills": "allowed"}
    made = Facts("demo", "run-1", labels, "on", topology(), routers_ready=2, routers_wanted=2)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_whole_cluster_that_allows_drills_is_not_refused(fault: object) -> None:
    # An outage needs one thing more: a person's leave.
    assert refusals(facts(allow_outage=True), fault) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": {}}, "not open to drills (it has no label tiphys.dev/drills, expected 'allowed')"),
        ({"labels": {"tiphys.dev/drills": "forbidden"}}, "'forbidden'"),
        ({"drills": "off"}, "kill switch"),
        ({"drills": ""}, "'' is neither on nor off, and treated as off"),
        ({"drills": "onn"}, "'onn' is neither on nor off, and treated as off"),
        ({"topology": topology(3, online=2)}, "not whole"),
        ({"topology": Topology("demo", 3)}, "no majority view"),
        ({"topology": topology(2)}, "no quorum"),
        ({"routers_ready": 1}, "1 of 2 routers"),
        ({"routers_ready": 0, "routers_wanted": 0}, "no Router"),
        ({"intent": Intent("other", "crash", "today")}, "'other'"),
        ({"intent": Intent("", "", "")}, "somebody unknown"),
    ],
)
def test_each_guard_refuses_and_says_why(changes: dict[str, object], says: str) -> None:
    reasons = refusals(facts(**changes), FAULTS["crash"])
    assert len(reasons) == 1 and says in reasons[0]
    with pytest.raises(Refused, match="nothing was changed"):
        require_safe(facts(**changes), FAULTS["crash"])


def test_all_reasons_are_told_at_once() -> None:
    found = refusals(facts(labels={}, drills="off", routers_ready=0), FAULTS["crash"])
    assert len(found) == 3


def test_a_switchover_needs_a_secondary_and_costs_no_member() -> None:
    assert refusals(facts(topology=topology(2)), FAULTS["switchover"]) == []
    assert "no ONLINE secondary" in refusals(facts(topology=topology(1)), FAULTS["switchover"])[0]
    assert len(refusals(facts(topology=topology(1)), FAULTS["delete-pod"])) == 2


def test_a_drill_does_not_refuse_itself() -> None:
    assert refusals(facts(intent=Intent("run-1", "crash", "today")), FAULTS["crash"]) == []


def test_only_production_needs_an_approval() -> None:
    assert facts(labels={"tiphys.dev/environment": "production"}).production
    assert not facts().production


def test_the_kill_switch_is_thrown_by_anything_but_on() -> None:
    assert not switched_off("on") and not switched_off(" ON ") and not switched_off(None)
    assert switched_off("off") and switched_off("") and switched_off("yes")
    assert "neither" not in switch_text("off") and "neither" not in switch_text(" OFF")


def test_a_dry_run_says_what_would_be_done_and_what_was_checked() -> None:
    crash = FAULTS["crash"]
    told = told_plan(facts(), crash, "kill -9 of mysqld in demo-0", dry_run=True)
    assert told.startswith("Dry run, nothing was changed. This drill would do on cluster demo: kill -9 of mysqld in ")
    for words in ("kill switch", "is on", "3/3 ONLINE", "leaves 2 of 3 servers, 2 are a quorum", "2 of 2 routers"):
        assert words in told, told
    assert "approval" not in told
    production = facts(labels={"tiphys.dev/environment": "production"}, drills=None)
    told = told_plan(production, FAULTS["switchover"], "x", dry_run=False)
    assert told.startswith("This drill does on cluster demo: x. It waits for an approval first")
    assert "leaves 3 of 3 servers" in told and "is not set" in told and "othing was changed" not in told


def test_an_intent_is_read_and_a_broken_one_is_nobodys() -> None:
    def cluster(text: str) -> dict[str, object]:
        return {"metadata": {"name": "demo", "annotations": {ANNOTATION: text}}}

    assert read({"metadata": {"name": "demo"}}) is None
    found = read(cluster('{"workflow": "w", "fault": "crash", "since": "t", "before": {"primary": "p"}, "new": 1}'))
    assert found == Intent("w", "crash", "t", {"primary": "p"})
    for broken in ("{", "[]", '"x"', "1"):
        assert read(cluster(broken)) == Intent("", "", ""), broken


def test_a_drill_is_over_when_its_workflow_is_over_or_gone() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    noted = Intent("w", "crash", "t")
    assert not is_over(noted, {"w": "Running"}, now)
    assert not is_over(noted, {"w": ""}, now), "a workflow that the engine has not seen yet is alive"
    assert is_over(noted, {"w": "Failed"}, now) and is_over(noted, {"w": "Succeeded"}, now)
    assert is_over(noted, {"other": "Running"}, now)
    by_hand = replace(noted, expires="2026-11-21T12:10:00+00:00")
    assert not is_over(by_hand, {}, now), "a drill by hand has no workflow, and its time is not up"
    assert is_over(replace(by_hand, expires="2026-11-21T11:50:00+00:00"), {}, now)
    assert is_over(replace(by_hand, expires="nonsense"), {}, now)
    assert is_over(replace(by_hand, expires="2026-11-21T12:10:00"), {}, now), "a time without a zone is no time"
    assert phase_of({}) == "" and phase_of({"status": {"phase": "Error"}}) == "Error"
