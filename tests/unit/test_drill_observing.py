"""What clients felt, as values: nothing that was not looked at counts as safe."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from steps.drill.felt import felt
from steps.drill.observing import Seen, Writes, watched
from steps.drill.outages import Downtime
from steps.drill.site import Site
from steps.drill.users import Request
from steps.drill.verification import Lost, Verification
from steps.errors import BadParameters
from steps.kube.client import Kube
from steps.mysql import switch_primary
from steps.mysql.connection import Credentials
from steps.mysql.restart import Progress
from steps.mysql.restart_plan import Method, Plan
from steps.mysql.rolling_restart import Story
from steps.mysql.switch_plan import Choice
from steps.mysql.topology import Member


def seen(**verified: Any) -> Seen:
    found = Verification(expected=3, acknowledged=1200, **verified)
    return Seen(Downtime(0.4, 0.4, 0.02), {}, found)


def test_a_write_is_only_known_not_to_be_lost_where_every_member_was_looked_at() -> None:
    lost = [Lost(0, 7, ["demo-2"])]
    assert (seen().lost, seen(lost=lost).lost) == (0, 1)
    assert seen(unchecked=["demo-2: it did not answer"]).lost is None
    assert seen(unchecked=["demo-2: it did not answer"], lost=lost).lost == 1, "what is missing is missing"
    (line,) = (one for one in seen(unchecked=["no primary could be read"]).lines() if "lost" in one)
    assert "acknowledged, ? lost" in line


def test_a_run_that_was_taken_up_knows_nothing_of_its_earlier_clients() -> None:
    found = seen().taken_up()
    assert found.lost is None and found.write_downtime is None and seen().write_downtime == 0.4
    assert any("earlier try" in line for line in found.lines())
    assert "longest time without a write: 0.400 s" in seen().lines()
    assert found.lines()[0] == "longest time without a write: not known", "that of the second try is not the run's"


def test_what_users_felt_is_told_with_how_the_application_was_before() -> None:
    begun = [Request(at / 10, at / 10 + 0.02, 200 if at != 3 else 503) for at in range(10)]
    later = [Request(1.0 + at / 10, 1.02 + at / 10, 503 if at < 5 else 200) for at in range(10)]
    found = replace(seen(), users=felt("http://shop/", [*begun, *later], 1.0, 2.0, 2.1))
    assert found.app_downtime == pytest.approx(0.5, abs=0.001) and found.taken_up().app_downtime is None
    assert "longest time without a good answer: not known" in found.taken_up().lines()
    lines = found.lines()
    assert "longest time without a good answer: 0.500 s" in lines
    assert "the application: 5 of 10 requests failed" in lines and "  before: 1 of 10 failed already" in lines
    assert all(len(line) <= 56 for line in lines) and seen().app_downtime is None


def test_an_application_is_watched_only_while_clients_write() -> None:
    noted = {"metadata": {"annotations": {"tiphys.dev/app-url": "http://10.1.2.3/"}}}
    kube = cast(Kube, SimpleNamespace(cluster=lambda name: noted, find=lambda *named: None, namespace="tiphys"))
    assert watched(kube, "demo", None, True, measure=True) == Site("http://10.1.2.3/")
    assert watched(kube, "demo", None, True, measure=False) is None
    assert watched(kube, "demo", "none", True, measure=True) is None
    with pytest.raises(BadParameters, match="leave measure at true"):
        watched(kube, "demo", "http://10.1.2.4/", True, measure=False)


@pytest.mark.parametrize("taken_up", [False, True])
def test_a_restart_that_was_cut_off_gives_no_number_for_the_whole(taken_up: bool) -> None:
    """Cut off while the writes were looked for, the second try finds nothing to restart and no downtime at all."""
    plan = Plan(("demo-2",), "demo-0", (), Method.POD, {"demo-2": 630})
    writes = cast(Writes, SimpleNamespace(finish=seen))
    story = Story("demo", plan, datetime.now(UTC), writes=writes, taken_up=taken_up)
    found = story.measure()
    assert found is not None and found is story.seen
    assert (found.write_downtime, found.lost) == ((None, None) if taken_up else (0.4, 0))


@pytest.mark.parametrize("taken_up", [False, True])
def test_who_came_back_after_the_first_try_had_stopped_it_was_restarted_by_the_run(taken_up: bool) -> None:
    plan = Plan(("demo-2", "demo-0"), "demo-1", ("demo-1",), Method.POD, {"demo-2": 630, "demo-0": 630})
    story = Story("demo", plan, datetime.now(UTC), ("demo-1",), taken_up=taken_up)
    story.tell(Progress("restarted", "demo-2", "secondary", 1, 1, 9.0))
    assert "demo: 2 of 3 restarted" in story.summary() and story.restarted == ["demo-1", "demo-2"]
    story.complete()
    assert story.restarted == (["demo-1", "demo-0", "demo-2"] if taken_up else ["demo-1", "demo-2"])
    lines = story.summary().splitlines()
    assert lines[0] == f"demo: {3 if taken_up else 2} of 3 restarted (method pod)"
    assert lines.count("  demo-1 had been restarted before") == 1
    assert ("  demo-0 had been restarted before" in lines) is taken_up


@pytest.mark.parametrize(("ready", "said"), [(True, "1 ready Router led there"), (False, "no Router was ready")])
def test_only_routers_that_were_asked_are_said_to_lead_there(
    ready: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = "True" if ready else "False"
    pod = {
        "metadata": {"name": "demo-router-0"},
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": state}]},
    }
    monkeypatch.setattr(switch_primary, "route", lambda *asked: SimpleNamespace(server="u1", error=""))
    old, new = (Member(f"u{n}", f"h{n}", 3306, "ONLINE", "SECONDARY", "9.7.4", f"demo-{n}", "") for n in (0, 1))
    kube = cast(Kube, SimpleNamespace(routers=lambda cluster: [pod]))
    run = switch_primary._Run(kube, "demo", Credentials("root", "x"), "run", Choice(old, new, ""), 5, 5)
    assert said in switch_primary.led(run._follow())
