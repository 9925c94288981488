"""What clients felt, as values: nothing that was not looked at counts as safe."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from steps.drill.observing import Seen, Writes
from steps.drill.outages import Downtime
from steps.drill.verification import Lost, Verification
from steps.kube.client import Kube
from steps.mysql import switch_primary
from steps.mysql.connection import Credentials
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


@pytest.mark.parametrize("taken_up", [False, True])
def test_a_restart_that_was_cut_off_gives_no_number_for_the_whole(taken_up: bool) -> None:
    """Cut off while the writes were looked for, the second try finds nothing to restart and no downtime at all."""
    plan = Plan(("demo-2",), "demo-0", (), Method.POD, {"demo-2": 630})
    writes = cast(Writes, SimpleNamespace(finish=seen))
    story = Story("demo", plan, datetime.now(UTC), writes=writes, taken_up=taken_up)
    found = story.measure()
    assert found is not None and found is story.seen
    assert (found.write_downtime, found.lost) == ((None, None) if taken_up else (0.4, 0))


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
