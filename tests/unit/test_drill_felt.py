"""What an application's users felt, as numbers, in the reports, and when a drill ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from drill_story import FAULT_AT, WHOLE_AT, measurement, verified

from steps.drill.felt import Felt, felt, to_json
from steps.drill.measurement import Measurement, load, save
from steps.drill.page import render
from steps.drill.report import write
from steps.drill.result import evaluate
from steps.drill.result import to_json as report_of
from steps.drill.users import Request

URL = "http://shop/"


def asked(until: float, outage: tuple[float, float], *, every: float = 0.1, took: float = 0.02) -> list[Request]:
    """A request every 100 ms; those that end in the outage fail at once."""
    made = []
    for number in range(int(until / every)):
        start = number * every
        down = outage[0] <= start + took < outage[1]
        made.append(Request(start, start + 0.001, 503) if down else Request(start, start + took, 200))
    return made


def story(requests: list[Request], until: float = 20.0) -> Felt:
    return felt(URL, requests, 5.0, 8.0, until)


def test_the_longest_time_without_a_good_answer_is_the_downtime() -> None:
    told = story(asked(20.0, (6.0, 9.0)))
    assert told.downtime.longest == pytest.approx(3.0, abs=0.11)
    assert told.failed == told.kinds["HTTP 503"] == 30 and told.unanswered == 0
    assert told.first_error is not None and told.first_error.start == pytest.approx(6.0, abs=0.1)
    assert not told.downtime.open and "30 requests of" in told.sentence()
    assert told.spans["before"].failed == told.spans["after"].failed == 0
    assert told.spans["during"].failed == 30, "up to the end of the outage, though the group was whole before"


def test_an_outage_without_an_end_counts_up_to_now_and_so_do_requests_without_an_answer() -> None:
    good = [each for each in asked(20.0, (99, 99)) if each.start < 6.0]
    waiting = [Request(6.0 + number * 0.1, None) for number in range(140)]
    told = story(good + waiting)
    assert told.downtime.open and told.downtime.longest == pytest.approx(14.0, abs=0.2)
    assert told.unanswered == 140 and told.failed == 0 and told.slowest == pytest.approx(14.0)
    assert told.kinds == {"not answered yet": 140} and "still had none when the measuring ended" in told.sentence()
    assert told.spans["during"].p50 == pytest.approx(0.02)


def test_failures_beside_good_answers_are_no_downtime_and_are_counted() -> None:
    requests = [each._replace(status=500) if n % 2 else each for n, each in enumerate(asked(20.0, (99, 99)))]
    told = story(requests)
    assert told.downtime.longest < 0.3 and not told.downtime.outages
    assert told.failed == pytest.approx(told.requests / 2, abs=1)


def test_percentiles_are_of_good_answers_and_none_without_any() -> None:
    took = [Request(1.0, 1.0 + number / 100, 200) for number in range(1, 101)]
    span = felt(URL, took, 3.0, 3.0, 4.0).spans["before"]
    assert [span.p50, span.p95, span.p99] == pytest.approx([0.5, 0.95, 0.99])
    nothing = felt(URL, [], 3.0, 3.0, 4.0)
    assert nothing.spans["after"].p99 is None and nothing.downtime.open and nothing.requests == 0


def test_what_was_under_way_when_the_fault_came_belongs_to_it() -> None:
    told = story([Request(4.0, 4.1, 200), Request(4.9, 6.0, 500)])
    assert told.failed == 1 and told.spans["before"].requests == 1


def with_application(**changes: Any) -> Measurement:
    parameters = {**measurement().parameters, "app_url": URL}
    made = measurement(parameters=parameters, **changes)
    made.requests = asked(made.ended_at, (FAULT_AT + 0.5, WHOLE_AT + 1))
    return made


def test_the_application_is_told_in_every_report(tmp_path: Path) -> None:
    m = with_application()
    save(m, tmp_path / "m.gz")
    again = load(tmp_path / "m.gz").requests
    assert [r.kind for r in again] == [r.kind for r in m.requests]
    assert [r.start for r in again] == pytest.approx([r.start for r in m.requests], abs=1e-5)
    found = evaluate(load(tmp_path / "m.gz"), verified(m))
    assert found.app is not None and found.verdict.outcome == "PASS"
    machine = report_of(found)
    assert machine["numbers"]["app_downtime_seconds"] == machine["application"]["downtime_seconds"] > 20
    assert json.dumps(to_json(found.app, FAULT_AT)) == json.dumps(machine["application"])
    assert any("application's users had no good answer for" in reason for reason in found.verdict.reasons)
    made = write(found, tmp_path)
    assert made.app_downtime_seconds == machine["numbers"]["app_downtime_seconds"]
    page = (tmp_path / "report.html").read_text()
    assert "Application: latency" in page and "no good answer for" in page and "afterwards" in page
    assert "Application downtime" in page
    ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])


def test_without_an_application_nothing_is_said_of_one(tmp_path: Path) -> None:
    found = evaluate(measurement(), verified(measurement()))
    assert found.app is None and report_of(found)["application"] is None
    assert write(found, tmp_path).app_downtime_seconds is None
    assert "pplication's users" not in render(found) and "Application downtime" not in render(found)


def test_a_file_from_before_has_no_application(tmp_path: Path) -> None:
    from steps.drill.measurement import from_json
    from steps.drill.measurement import to_json as plain

    values = plain(measurement())
    values.pop("requests")
    assert from_json(values).requests == []
