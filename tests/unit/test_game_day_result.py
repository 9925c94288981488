"""Score, verdict, regression, page and XML of a game day: functions of what was kept."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from game_day_story import look, record, report, state
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.game_day import junit, page
from steps.game_day.history import FEWEST, comparable, compare
from steps.game_day.result import Asked, Result, evaluate, to_json
from steps.report.outcome import Outcome

TWO = "switchover, crash"


def result(
    drills: str = TWO, reports: Any = None, history: Any = None, asked: Asked | None = None, **changes: Any
) -> Result:
    known = state(drills, **changes)
    if reports is None:
        reports = {number: report(number, known.entries[number - 1].fault) for number in known.children}
    return evaluate(known, reports, history or {}, asked or Asked())


def test_all_well_is_a_pass_with_all_points() -> None:
    found = result()
    assert (found.outcome, found.score) == (Outcome.PASS, 100)
    assert "2 of 2 drills passed" in found.sentence and "no acknowledged write was lost" in found.sentence
    assert sum(line.of for one in found.drills for line in one.lines) == 180


@pytest.mark.parametrize(
    ("second", "outcome", "said"),
    [
        (report(2, "crash", 45.0, verdict="FAIL"), Outcome.FAIL, "is a FAIL"),
        (report(2, "crash", verdict="INVALID"), Outcome.INVALID, "is INVALID"),
        (report(2, "crash", verdict="ABORTED"), Outcome.ABORTED, "is ABORTED"),
        (None, Outcome.INVALID, "left no report"),
    ],
)
def test_what_is_no_pass_costs_points_and_is_said(second: Any, outcome: Outcome, said: str) -> None:
    found = result(reports={1: report(1, "switchover"), 2: second})
    assert found.outcome is outcome and found.score < 95
    assert said in " ".join(found.reasons)
    lost = [line for line in found.drills[1].lines if line.given < line.of]
    assert lost and all(line.why for line in lost)


def test_a_drill_that_failed_is_told_with_its_reason() -> None:
    why = "Writes stopped for 45.0 s; the budget is 30.0 s."
    failed = report(2, "crash", 45.0, verdict="FAIL", reasons=[why, "12 writes in doubt."])
    reasons = " ".join(result(reports={1: report(1, "switchover"), 2: failed}).reasons)
    assert why in reasons and "in doubt" not in reasons


def test_a_lost_write_outweighs_an_abort() -> None:
    lost = report(
        2, "crash", verdict="FAIL", numbers={"write_downtime_seconds": 1.0, "lost_writes": 2, "acknowledged_writes": 9}
    )
    found = result(
        reports={1: report(1, "switchover", verdict="ABORTED"), 2: lost}, stopped="the kill switch is thrown"
    )
    assert found.outcome is Outcome.FAIL and "2 acknowledged writes were lost" in found.sentence
    (line,) = (one for one in found.drills[1].lines if "lost" in one.title)
    assert (line.given, line.of) == (0, 30) and "2 lost of 9" in line.why


@pytest.mark.parametrize("key", ["write_downtime_seconds", "lost_writes"])
def test_what_was_not_measured_gives_nothing_and_stays_in_the_sum(key: str) -> None:
    hole = report(2, "crash")
    hole["numbers"] = hole["numbers"] | {key: None}
    found = result(reports={1: report(1, "switchover"), 2: hole})
    assert found.score < 100 and sum(line.of for one in found.drills for line in one.lines) == 180
    assert any(
        line.given == 0 and line.of == 30 and line.why in ("not measured", "not verified")
        for line in found.drills[1].lines
    )


def test_drills_that_were_not_run_cost_all_their_points() -> None:
    found = result(ran=1, stopped="the game day was stopped")
    assert (found.outcome, found.score) == (Outcome.ABORTED, 50)
    assert found.drills[1].verdict == "NOT RUN" and "the game day was stopped" in found.drills[1].lines[0].why


def test_a_cluster_that_is_not_steady_at_the_end_fails() -> None:
    known = state(TWO)
    known.looks[2] = look("the group is not whole: 2/3 ONLINE")
    found = evaluate(known, {1: report(1, "switchover"), 2: report(2, "crash")}, {}, Asked())
    assert found.outcome is Outcome.FAIL and "not steady after the last drill" in found.reasons[0]
    assert any(line.given == 0 and "2/3 ONLINE" in line.why for line in found.drills[1].lines)


def test_a_score_that_is_asked_for_is_kept_to() -> None:
    reports = {1: report(1, "switchover"), 2: report(2, "crash", 31.0)}
    assert result(reports=reports, asked=Asked(min_score=90)).outcome is Outcome.PASS
    assert result(reports=reports, asked=Asked(min_score=100)).outcome is Outcome.FAIL


def slow(downtime: float = 9.0, before: tuple[float, ...] = (5.0, 5.2, 5.1, 4.9, 5.3), **asked: Any) -> Result:
    history = {"crash": [record(number, "crash", value) for number, value in enumerate(before)]}
    return result("crash", {1: report(1, "crash", downtime)}, history, Asked(**asked))


def test_a_regression_costs_points_and_fails_only_where_asked() -> None:
    quiet, loud = slow(), slow(fail_on_regression=True)
    assert quiet.outcome is Outcome.PASS and loud.outcome is Outcome.FAIL and quiet.score == loud.score == 90
    for found in (quiet, loud):
        assert "has become slower" in " ".join(found.reasons) and found.drills[0].comparison.median == 5.1
    assert slow(7.0).score == 100, "within half more than the median"


def test_small_differences_are_noise() -> None:
    assert slow(0.31, (0.1, 0.1, 0.1, 0.1, 0.1)).score == 100, "three times as long, and still only 0.2 s more"
    assert slow(1.2, (0.1, 0.1, 0.1, 0.1, 0.1)).score == 90
    assert slow(9.0, (5.0, 5.0, 9.5, 5.0, 5.0)).score == 100, "it has happened in the last five runs"


def test_a_regression_that_lasts_is_one_until_the_median_has_followed() -> None:
    usual = (5.0, 5.2, 5.1, 4.9, 5.3)
    assert [slow(9.0, usual + (9.0,) * more).drills[0].comparison.regressed for more in range(4)] == [True] * 3 + [
        False
    ]
    (said,) = slow(9.0, (*usual, 9.0)).reasons[1:]
    assert "worst 5.30 s, but for the last 1" in said
    assert slow(9.0, (5.0, 9.5, 5.0, 5.0, 5.0, 5.0)).score == 100, "in the last five, and no regression at its time"


def test_a_drill_whose_run_failed_after_its_report_is_no_pass() -> None:
    """As where it could not be undone: its report was a PASS by then."""
    known = state(TWO)
    known.children[1].phase, known.children[1].message = "Failed", "drill-undo: no primary"
    found = evaluate(known, {1: report(1, "switchover"), 2: report(2, "crash")}, {}, Asked())
    assert found.outcome is Outcome.FAIL and "drill-undo: no primary" in found.reasons[0]
    assert found.score < 100 and found.sentence.startswith("1 of 2 drills passed")


def test_the_sentence_tells_what_was_not_measured() -> None:
    hole = report(2, "crash", verdict="FAIL", numbers={"write_downtime_seconds": None, "lost_writes": None})
    assert "1 drill did not measure or verify all" in result(reports={1: report(1, "switchover"), 2: hole}).sentence
    alone = result("crash", {1: {**hole, "run": "gd-01-crash"}}).sentence
    assert "no downtime was measured, and none were verified" in alone


def test_a_cluster_that_was_made_anew_begins_a_new_history() -> None:
    history = {"crash": [record(number, "crash", 1.0, cluster_uid="older") for number in range(5)]}
    assert result("crash", {1: report(1, "crash", 9.0)}, history, cluster_uid="older").score == 90
    found = result("crash", {1: report(1, "crash", 9.0)}, history, cluster_uid="newer")
    assert found.score == 100 and [one.cluster_uid for one in found.trends[0].records] == ["newer"]
    known = {"crash": [record(number, "crash", 1.0) for number in range(5)]}
    assert result("crash", {1: report(1, "crash", 9.0)}, known, cluster_uid="newer").score == 90, "not noted: the same"


def test_too_few_runs_are_no_history_and_no_fault() -> None:
    found = slow(60.0, (1.0, 1.0))
    (line,) = (one for one in found.drills[0].lines if "slower" in one.title)
    assert (
        (line.given, line.of) == (0, 0) and "2 runs before it" in line.why and found.drills[0].comparison.limit is None
    )


def test_only_runs_of_the_same_kind_before_it_are_compared() -> None:
    like = record(1, "crash", 1.0).like
    others = [
        record(1, "crash", 1.0),
        record(2, "crash", 1.0, like={**like, "writers": "8"}),
        record(3, "crash", 1.0, verdict="ABORTED"),
        record(4, "crash", 1.0, verdict="INVALID"),
        record(5, "crash", None),
        record(6, "crash", 1.0, game_day="gd"),
        record(7, "crash", 1.0, at="2027-01-01T00:00:00+00:00"),
        record(8, "crash", 8.0, verdict="FAIL"),
    ]
    found = comparable(others, "crash", like, before="2026-11-25T10:00:00+00:00", without="gd")
    assert [one.run for one in found] == ["old-1", "old-8"]


def test_a_parameter_that_came_later_or_has_gone_keeps_no_run_from_being_compared() -> None:
    like = dict(record(1, "crash", 1.0).like)
    older = record(
        2, "crash", 1.0, like={key: value for key, value in like.items() if key != "writers"} | {"gone": "1"}
    )
    assert comparable([older], "crash", like, before="2026-11-25T10:00:00+00:00", without="gd") == [older]
    other = like | {"writers": "8"}
    assert comparable([older], "crash", other, before="2026-11-25T10:00:00+00:00", without="gd") == []


downtimes = st.lists(st.floats(0, 600), max_size=12)


@given(downtimes, st.floats(0, 600), st.integers(1, 1000), st.floats(0, 600))
def test_a_regression_is_longer_than_all_that_it_is_compared_with(
    before: list[float], now: float, percent: int, floor: float
) -> None:
    found = compare(now, [record(n, "crash", value) for n, value in enumerate(before)], percent, floor)
    assert found.earlier == tuple(before[-5:])
    if len(found.earlier) < FEWEST:
        assert not found.regressed and found.limit is None
    else:
        assert found.median is not None and found.limit is not None
        counted = found.earlier[: max(0, len(found.earlier) - found.lasting)]
        assert found.limit >= max(*counted, found.median, found.median + floor)
        assert found.regressed == (now > found.limit)


kinds = st.tuples(
    st.sampled_from(["PASS", "FAIL", "INVALID", "ABORTED", "none"]),
    st.none() | st.floats(0, 300),
    st.none() | st.integers(0, 5),
    st.booleans(),
)


@settings(max_examples=60)
@given(st.lists(kinds, min_size=1, max_size=5), st.integers(0, 5), st.booleans())
def test_a_score_is_of_100_and_every_lost_point_has_its_reason(drills: list[Any], ran: int, stopped: bool) -> None:
    ran = min(ran, len(drills))
    known = state(
        ", ".join(["crash"] * len(drills)), ran=ran, stopped="somebody did" if stopped or ran < len(drills) else ""
    )
    reports: dict[int, Any] = {}
    for number, (verdict, downtime, lost, steady) in enumerate(drills[:ran], 1):
        known.looks[number] = look(*([] if steady else ["a member is gone"]))
        numbers = {"write_downtime_seconds": downtime, "lost_writes": lost, "acknowledged_writes": 7}
        reports[number] = None if verdict == "none" else report(number, "crash", verdict=verdict, numbers=numbers)
    found = evaluate(known, reports, {}, Asked())
    assert 0 <= found.score <= 100
    lines = [line for one in found.drills for line in one.lines]
    assert all(0 <= line.given <= line.of and line.why for line in lines)
    assert (found.score == 100) == all(line.given == line.of for line in lines)
    assert found.score < 100 or all(one.verdict == "PASS" for one in found.drills)
    assert found.reasons and (found.outcome is Outcome.PASS) <= (
        all(one.verdict == "PASS" for one in found.drills) and not known.stopped
    )
    assert page.context(found, frozenset()) and junit.to_xml(found) and to_json(found)["score"] == found.score


def test_the_page_shows_drills_points_and_trends_and_escapes_what_others_wrote() -> None:
    evil = "<script>alert(1)</script>"
    history = {"crash": [record(n, "crash", 5.0 + n / 10, run=f"old-{n}{evil}") for n in range(6)]}
    reports = {1: report(1, "switchover", sentence=evil, verdict="FAIL"), 2: report(2, "crash", 9.5)}
    found = result(reports=reports, history=history)
    text = page.render(found, frozenset({1}))
    assert evil not in text and "&lt;script&gt;" in text
    assert 'href="drills/01-switchover.html"' in text and "drills/02-crash.html" not in text
    # Two drawings of seven runs: on desks and on phones.
    assert len(re.findall(r'class="earlier v-PASS"', text)) == 12 and len(re.findall(r'class="mine v-PASS"', text)) == 2
    assert "9.50 s now" in text and f"a score of {found.score}" in text
    for line in (line for one in found.drills for line in one.lines):
        assert line.title in text


def test_the_xml_has_a_case_for_each_drill() -> None:
    reports = {
        1: report(1, "switchover"),
        2: report(2, "crash", 45.0, verdict="FAIL"),
        3: report(3, "freeze", verdict="INVALID"),
    }
    found = result(
        "switchover, crash, freeze, delete-pod", reports, ran=3, stopped="it was stopped", asked=Asked(min_score=90)
    )
    suite = ElementTree.fromstring(junit.to_xml(found)).find("testsuite")
    assert suite is not None
    cases = {str(one.get("name")): [child.tag for child in one] for one in suite}
    assert cases == {
        "01 switchover": [],
        "02 crash": ["failure"],
        "03 freeze": ["error"],
        "04 delete-pod": ["skipped"],
        "the cluster is steady at the end": ["skipped"],
        "the score is at least 90": ["failure"],
    }
    slower = slow(fail_on_regression=True)
    assert b'type="REGRESSION"' in junit.to_xml(slower)
