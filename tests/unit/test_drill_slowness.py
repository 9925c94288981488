"""Slow stretches: what counts as one, and where the report tells it."""

import json
import re
from pathlib import Path

import drill_story as story
import pytest
from drill_story import measurement, verified

from steps.drill.attempts import Attempt, Outcome
from steps.drill.measurement import Measurement
from steps.drill.page import render
from steps.drill.report import write
from steps.drill.result import evaluate
from steps.drill.slowness import Slow, sentence, slow_stretches
from steps.drill.timeline import Band

FAULT, END = 10.0, 40.0


def client(*pieces: tuple[float, float, float], outcome: Outcome = Outcome.ACKNOWLEDGED) -> list[Attempt]:
    """Attempts one after another: pieces of (from, to, seconds of latency)."""
    made: list[Attempt] = []
    for start, end, latency in pieces:
        at = start
        while at + latency <= end + 1e-9:
            made.append(Attempt(len(made), at, at + latency, outcome))
            at += max(latency, 0.02)
    return made


def found(*pieces: tuple[float, float, float], until: float = END) -> tuple[Slow, ...]:
    return slow_stretches([client((0.0, FAULT, 0.005), *pieces)], FAULT, until, {}, {})


def test_a_rejoin_that_slows_every_commit_is_one_stretch_with_its_figures() -> None:
    (slow,) = found((10.0, 20.0, 0.005), (20.0, 30.0, 0.2), (30.0, END, 0.005))
    assert slow.start == pytest.approx(20.0, abs=0.25) and slow.end == pytest.approx(30.0, abs=0.25)
    assert slow.median == pytest.approx(0.2) and slow.normal == pytest.approx(0.005) and not slow.open


def test_short_or_mild_slowness_is_none() -> None:
    assert found((10.0, END, 0.005)) == ()
    assert found((10.0, 20.0, 0.005), (20.0, 20.8, 0.2), (20.8, END, 0.005)) == (), "not longer than a second"
    assert found((10.0, END, 0.04)) == (), "eight times the normal, yet too quick for anybody to feel"
    usual = client((0.0, FAULT, 0.03), (10.0, END, 0.12))
    assert slow_stretches([usual], FAULT, END, {}, {}) == (), "four times what is normal there"


def test_a_lull_is_part_of_a_stretch_and_an_outage_is_not() -> None:
    assert len(found((10.0, 15.0, 0.2), (15.0, 15.5, 0.005), (15.5, 20.0, 0.2), (20.0, END, 0.005))) == 1
    apart = found((10.0, 15.0, 0.2), (25.0, 30.0, 0.2), (30.0, END, 0.005))
    assert [round(slow.end) for slow in apart] == [15, 30]
    assert len(found((10.0, 15.0, 0.2), (15.0, 20.0, 0.005), (20.0, 25.0, 0.2), (25.0, END, 0.005))) == 2


def test_what_is_still_slow_at_the_end_is_open_and_refusals_are_no_slowness() -> None:
    assert found((10.0, 30.0, 0.005), (30.0, END, 0.2))[0].open
    quick = client((0.0, FAULT, 0.005), (10.0, END, 0.005))
    refused = client((10.0, END, 0.3), outcome=Outcome.REFUSED)
    assert slow_stretches([quick, refused], FAULT, END, {}, {}) == ()
    assert slow_stretches([client((11.0, END, 0.3))], FAULT, END, {}, {}) == (), "nothing to compare with"


def test_the_sentence_tells_when_how_slow_and_what_went_on() -> None:
    bands = {
        "a": [Band("PRIMARY", 0.0, 10.0), Band("ABSENT", 10.0, 25.0), Band("RECOVERING", 25.0, 31.0)],
        "b": [Band("SECONDARY", 0.0, 10.0), Band("PRIMARY", 10.0, END)],
    }
    attempts = [client((0.0, FAULT, 0.005), (10.0, 20.0, 0.005), (20.0, 30.0, 0.204), (30.0, END, 0.005))]
    (slow,) = slow_stretches(attempts, FAULT, END, bands, {"a": "demo-2", "b": "demo-1"})
    told = sentence(slow, FAULT)
    assert re.fullmatch(
        r"From 10\.0 s to 20\.0 s after the fault writes were slow: 204 ms \(median\) instead of 5\.0 ms, "
        r"while demo-2 was out of the group and rejoined\.",
        told,
    ), told
    assert sentence(Slow(1.0, 3.0, 0.1, 0.01, True), 0.0).endswith("10 ms; they still were when the measuring ended.")


def slowed() -> Measurement:
    """The story's failover, with every write of the time in which the member rejoins at 200 ms."""
    m = measurement()
    for one in m.clients:
        if one.kind == "write":
            one.attempts = [
                a._replace(end=a.start + 0.2)
                if a.outcome is Outcome.ACKNOWLEDGED and story.JOINING_AT <= a.start < story.WHOLE_AT
                else a
                for a in one.attempts
            ]
    return m


def test_the_report_tells_it_beside_the_verdict_in_the_plot_and_for_programs(tmp_path: Path) -> None:
    m = slowed()
    result = evaluate(m, verified(m))
    assert result.verdict.outcome == "PASS", "slowness changes no verdict"
    told = [reason for reason in result.verdict.reasons if "writes were slow" in reason]
    assert len(told) == 1 and "while demo-0 rejoined" in told[0]
    page = render(result)
    assert told[0] in page and page.count('class="slow"') == 2 and ">slow: 200 ms</text>" in page
    machine = json.loads(write(result, tmp_path).json.read_text())
    (slow,) = machine["slow_writes"]
    assert slow["median_ms"] == pytest.approx(200, abs=1) and slow["normal_ms"] == pytest.approx(5, abs=0.1)
    assert slow["start"] == pytest.approx(story.JOINING_AT - story.FAULT_AT, abs=0.5)
    assert machine["numbers"]["slow_write_seconds"] == pytest.approx(story.WHOLE_AT - story.JOINING_AT, abs=0.7)


def test_a_drill_without_slowness_says_nothing_of_it() -> None:
    m = measurement()
    result = evaluate(m, verified(m))
    assert result.slow_writes == () and "writes were slow" not in render(result)
    assert 'class="slow"' not in render(result) and "</i>slow</span>" not in render(result)
