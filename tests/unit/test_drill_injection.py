"""A fault under way and the wait for its end, with a fault of these tests: what was refused is tried again."""

from __future__ import annotations

from typing import cast

import drill_story as story
import pytest
from platform_help import eventually
from test_drill_guards import facts

from steps.drill.attempts import Attempt, Outcome
from steps.drill.clock import Clock
from steps.drill.evidence import Target
from steps.drill.fault import Fault, Scene
from steps.drill.faults import FAULTS
from steps.drill.injection import Injection
from steps.drill.parameters import DrillParameters
from steps.drill.run import Drill
from steps.drill.site import Site
from steps.drill.users import Request
from steps.errors import Refused, Temporary
from steps.kube.client import Kube
from steps.mysql.connection import Credentials

SCENE = Scene(cast(Kube, None), "demo", Credentials("", ""), "run-1")


class Stubborn(Fault):
    """A fault that lasts, and that cannot be ended the first time."""

    name = "stubborn"
    lasts = True

    def __init__(self) -> None:
        self.stops = 0

    def inject(self, scene: Scene, target: Target) -> str | None:
        return "it is there"

    def stop(self, scene: Scene, target: Target) -> None:
        self.stops += 1
        if self.stops == 1:
            raise Temporary("no answer")


def test_a_fault_that_could_not_be_ended_in_time_is_ended_by_the_next_try() -> None:
    fault, measurement, clock = Stubborn(), story.measurement(released_at=None, holes=[]), Clock()
    injection = Injection(fault, SCENE, measurement, clock, hold_seconds=0.0)
    injection.begin(measurement.target)
    eventually(lambda: not injection.under_way)
    eventually(lambda: not injection.lasts(clock()))
    assert fault.stops == 2 and measurement.released_at is not None
    assert measurement.holes == ["ending the fault failed: no answer"]


@pytest.mark.parametrize(("fault", "seconds"), [("freeze", 700.0), ("crash", 100.0)])
def test_the_wait_for_recovery_does_not_count_how_long_a_fault_is_held(fault: str, seconds: float) -> None:
    parameters = DrillParameters(hold_seconds=600.0, timeout_seconds=100.0)
    drill = Drill(facts(), SCENE, FAULTS[fault], parameters)
    assert drill._wait_seconds(story.measurement().target) == seconds


def test_the_application_is_blamed_only_where_the_cluster_is_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(facts(), SCENE, FAULTS["crash"], DrillParameters(), site=Site("http://shop/"))
    assert drill._users is not None
    drill._users.requests += [Request(at / 10, at / 10, 503) for at in range(100)]
    good = [Attempt(at, at / 10, at / 10, Outcome.ACKNOWLEDGED) for at in range(100)]
    monkeypatch.setattr(drill, "_whole", lambda: True)
    with pytest.raises(Refused, match="http://shop/ does not answer well"):
        drill._require_application([good], 5.0, 10.0)
    bad = [*good[:-1], good[-1]._replace(outcome=Outcome.REFUSED)]
    drill._require_application([good, bad], 5.0, 10.0)
    monkeypatch.setattr(drill, "_whole", lambda: False)
    drill._require_application([good], 5.0, 10.0)
