"""Verdict, advice, report: everything that is made from a measurement and its verification."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import drill_story as story
import pytest
from drill_story import measurement, verified

from steps.drill import measurement as files
from steps.drill.advice import advise
from steps.drill.attempts import Attempt, Outcome
from steps.drill.clock import Stall
from steps.drill.junit import to_xml
from steps.drill.ledger import ClientRecord
from steps.drill.measurement import Measurement
from steps.drill.page import render
from steps.drill.report import write
from steps.drill.result import Result, evaluate, to_json
from steps.drill.svg import Scale, highest, rows_without_overlap, ticks
from steps.drill.timeline import Moment, Timeline, phases
from steps.drill.verification import Copy, Verification, compare, load, save


def result(of: Measurement | None = None, **losing: object) -> Result:
    of = of or measurement()
    return evaluate(of, verified(of, **losing))  # type: ignore[arg-type]


def budget(seconds: float, lost: int = 0) -> dict[str, object]:
    return {**measurement().parameters, "max_write_downtime_seconds": seconds, "max_lost_writes": lost}


def test_a_failover_within_its_budgets_passes() -> None:
    found = result()
    assert found.verdict.outcome == "PASS"
    assert found.writes.longest == pytest.approx(story.BACK_AT - story.FAULT_AT, abs=0.05)
    assert found.lost == 0 and found.in_doubt == 2 and found.new_primary == "demo-1"
    assert found.reads is not None and found.reads.longest < 0.05
    assert "no acknowledged write was lost" in found.verdict.sentence


def test_an_answer_to_a_client_that_has_given_up_ends_no_outage(tmp_path: Path) -> None:
    """Seen after a quorum loss: writes that hung were answered after 8, 11 and 40 s, and no other for 70 s."""
    m = measurement()
    writes = next(client for client in m.clients if client.kind == "write").attempts
    hung = next(n for n, each in enumerate(writes) if each.end and story.FAULT_AT < each.end < story.BACK_AT)
    for late, downtime in ((False, 6.0), (True, story.BACK_AT - story.FAULT_AT)):
        answered = (story.FAULT_AT + story.BACK_AT) / 2
        writes[hung] = writes[hung]._replace(end=answered, outcome=Outcome.ACKNOWLEDGED, late=late)
        files.save(m, tmp_path / "m.gz")
        found = evaluate(files.load(tmp_path / "m.gz"), verified(m))
        assert found.writes.longest == pytest.approx(downtime, abs=0.6)
        assert found.measurement.writes(Outcome.ACKNOWLEDGED) == m.writes(Outcome.ACKNOWLEDGED)


def test_a_broken_budget_fails() -> None:
    found = result(measurement(parameters=budget(5.0)))
    assert found.verdict.outcome == "FAIL"
    assert any("the budget is 5.00 s" in reason for reason in found.verdict.reasons)


def test_a_lost_write_fails_whatever_else_happened() -> None:
    for changes in ({}, {"end": "aborted", "end_reason": "x"}, {"proof": None, "end": "not-landed"}):
        m = measurement(**changes)
        found = evaluate(m, verified(m, lose={(0, 3)}))
        assert (found.verdict.outcome, found.lost) == ("FAIL", 1), changes
        assert any("1 acknowledged write lost" in reason for reason in found.verdict.reasons)


def test_a_write_that_one_secondary_lacks_is_lost() -> None:
    found = result(lose={(1, 7)}, on="demo-2")
    assert found.verification is not None
    assert [(lost.client, lost.sequence, lost.missing_on) for lost in found.verification.lost] == [(1, 7, ["demo-2"])]
    assert found.verdict.outcome == "FAIL"


def test_losses_within_the_budget_pass() -> None:
    m = measurement(parameters=budget(30, lost=1))
    assert evaluate(m, verified(m, lose={(0, 3)})).verdict.outcome == "PASS"


def test_no_proof_is_invalid_and_an_abort_is_aborted() -> None:
    assert result(measurement(proof=None, end="not-landed")).verdict.outcome == "INVALID"
    aborted = result(measurement(end="aborted", end_reason="the kill switch was thrown"))
    assert aborted.verdict.outcome == "ABORTED"
    assert any("kill switch" in reason for reason in aborted.verdict.reasons)


def test_redundancy_that_does_not_come_back_fails() -> None:
    assert result(measurement(end="timeout", end_reason="2/3 ONLINE")).verdict.outcome == "FAIL"


def test_a_member_that_could_not_be_checked_fails() -> None:
    m = measurement()
    written = m.writes(Outcome.ACKNOWLEDGED)
    copies = [
        Copy("demo-1", "uuid-b", "PRIMARY", "ONLINE", True, 0.1, len(written)),
        Copy("demo-0", "uuid-a", "SECONDARY", "ONLINE", False, 0.0, 0, "it did not catch up"),
    ]
    verification = compare(m, copies, {"demo-1": written}, 3)
    assert len(verification.unchecked) == 2
    found = evaluate(m, verification)
    assert found.verdict.outcome == "FAIL"
    assert any("did not catch up" in reason for reason in found.verdict.reasons)


def test_missing_data_never_passes() -> None:
    assert evaluate(measurement(), None).verdict.outcome == "INVALID"
    m = measurement()
    m.clients[0].died = "TypeError: x"
    assert result(m).verdict.outcome == "INVALID"
    assert result(measurement(clients=[])).verdict.outcome in ("INVALID", "FAIL")


def test_a_stall_matters_only_where_it_could_have_broken_the_budget() -> None:
    stall = [Stall(6.0, 10.0)]
    within = result(measurement(stalls=stall))
    assert within.verdict.outcome == "PASS", "a stall makes an outage look longer, never shorter"
    assert "stood still 1 times" in render(within)
    assert result(measurement(stalls=stall, parameters=budget(10.0))).verdict.outcome == "INVALID"
    assert result(measurement(stalls=stall, parameters=budget(5.0))).verdict.outcome == "FAIL"


def test_in_doubt_writes_are_told_apart_and_never_lost() -> None:
    m = measurement()
    doubtful = m.writes(Outcome.IN_DOUBT)
    one = next(iter(sorted(doubtful)))
    everything = m.writes(Outcome.ACKNOWLEDGED) | {one}
    copies = [Copy("demo-1", "uuid-b", "PRIMARY", "ONLINE", True, 0.1, len(everything))]
    found = compare(m, copies, {"demo-1": everything}, 1)
    assert (found.in_doubt, found.in_doubt_present, found.in_doubt_absent, len(found.lost)) == (2, 1, 1, 0)
    refused = next(iter(m.writes(Outcome.REFUSED)))
    assert compare(m, copies, {"demo-1": everything | {refused}}, 1).refused_present == 1


def test_an_open_outage_is_told_as_such() -> None:
    m = measurement()
    for client in m.clients:
        client.attempts = [a for a in client.attempts if a.end is not None and a.end < 6.0]
    found = evaluate(m, verified(m))
    assert found.writes.open
    assert found.writes.longest == pytest.approx(story.END - story.FAULT_AT, abs=0.05)
    assert found.verdict.sentence == (
        "When the primary's mysqld was killed, writes stopped and were still stopped 22.0 s later, when the measuring "
        "ended; no acknowledged write was lost."
    )


def test_the_sentences_of_a_drill_that_was_stopped_read_well() -> None:
    m = measurement(end="aborted", end_reason="the kill switch was thrown", ended_at=9.5, proof=None)
    for client in m.clients:
        client.attempts = [a for a in client.attempts if a.end is not None and a.end < 9.5]
    found = evaluate(m, verified(m))
    assert found.verdict.sentence == (
        "The drill was stopped before its end: writes stopped and were still stopped 5.50 s later, when the measuring "
        "ended; no acknowledged write was lost."
    )
    assert "It was stopped before there was proof that the fault had landed." in found.verdict.reasons
    assert evaluate(m, None).verdict.sentence.endswith("what became of the acknowledged writes was not verified.")
    closed = result(measurement(end="aborted", end_reason="x")).verdict.sentence
    assert closed.startswith("The drill was stopped before its end; until then writes stopped for 11.0 s and no")


def test_an_open_outage_after_a_longer_one_is_not_taken_for_it() -> None:
    m = measurement()
    for client in m.clients:
        client.attempts = [a for a in client.attempts if a.end is not None and a.end < 23.0]
    assert "writes stopped for up to 11.0 s and were stopped again when" in result(m).verdict.sentence


def test_advice_names_the_setting_the_gain_and_the_price() -> None:
    advice = result().advice
    expel = advice[0]
    assert "group_replication_member_expel_timeout = 0" in expel.change
    assert "lets it go at the group's first look" in expel.finding and "15 s" not in expel.finding
    assert expel.gain_seconds == pytest.approx(4.0, abs=0.2) and expel.price
    assert any("unreachable_majority_timeout" in item.change for item in advice)
    gains = [item.gain_seconds or 0.0 for item in advice]
    assert gains == sorted(gains, reverse=True)
    settings = {**measurement().settings, "group_replication_member_expel_timeout": "0"}
    tuned = result(measurement(settings=settings)).advice
    assert not any("expel" in item.change for item in tuned), "what is set already is not advised"


def test_advice_explains_what_an_expel_timeout_costs_beyond_its_own_seconds() -> None:
    moments = tuple(
        Moment(key, "", at) for key, at in (("injected", 0.0), ("landed", 0.1), ("unreachable", 5.1), ("left", 21.1))
    )
    story = Timeline(moments, phases(moments))
    (found,) = advise("crash", story, {"group_replication_member_expel_timeout": "5"}, 21.5, 21.5)
    for words in ("waited 16.0 s", "explains 5 s; the other 11.0 s", "every 15 s", "go at the first look"):
        assert words in found.finding, found.finding
    assert found.gain_seconds == pytest.approx(15.0)
    assert advise("crash", story, {"group_replication_member_expel_timeout": "0"}, 21.5, 21.5) == ()


def test_advice_against_a_slow_router_depends_on_its_ttl() -> None:
    m = measurement()
    late = story.BACK_AT + 3
    for client in m.clients:
        client.attempts = [
            a for a in client.attempts if a.outcome is not Outcome.ACKNOWLEDGED or not story.FAULT_AT < a.start < late
        ]
        first = next((n for n, a in enumerate(client.attempts) if a.start >= late), None)
        if first is not None:
            client.attempts[first] = client.attempts[first]._replace(connected=client.attempts[first].start)
    quick = [item.title for item in evaluate(m, verified(m)).advice]
    assert "Let the members tell the Router about changes" in quick
    m.settings = {**m.settings, "router_ttl": "5"}
    assert "Let the Router look more often" in [item.title for item in evaluate(m, verified(m)).advice]


class Checker(HTMLParser):
    """Collects what an HTML file would fetch, and whether its elements close."""

    VOID = {"meta", "rect", "line", "circle", "path", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetches: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.fetches += [str(value) for key, value in attributes if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.fetches += [str(value) for key, value in attributes if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and tag != "li":
            while self.open and self.open[-1] == "li":
                self.open.pop()
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_whole_fetches_nothing_and_escapes_every_value() -> None:
    m = measurement(cluster='<img src=x onerror="x">', plan="<script>alert(1)</script>")
    m.end_reason = "<b>x</b>"
    m.members = [s._replace(pod=s.pod.replace("demo-0", "<i>")) for s in m.members]
    page = render(evaluate(m, verified(m, lose={(0, 3)})))
    checker = Checker()
    checker.feed(page)
    assert not checker.fetches and checker.scripts == 0
    assert checker.open == []
    assert "url(" not in page and "@import" not in page
    assert "&lt;script&gt;" in page and "<i>" not in re.sub(r'<i (class|style)="[^>]*>', "", page)
    assert page.count("<svg") == 2 and "prefers-color-scheme: dark" in page


def test_the_drawings_stay_within_their_frames() -> None:
    page = render(result())
    for width, drawing in zip((960.0, 380.0), re.findall(r"<svg.*?</svg>", page, re.DOTALL), strict=True):
        ElementTree.fromstring(drawing)
        _, _, w, h = map(float, re.search(r'viewBox="([^"]+)"', drawing)[1].split())  # type: ignore[index]
        assert w == width
        for x in re.findall(r' (?:x|x1|x2|cx)="([-\d.]+)"', drawing):
            assert 0 <= float(x) <= w
        for y in re.findall(r' (?:y|y1|y2|cy)="([-\d.]+)"', drawing):
            assert 0 <= float(y) <= h


@pytest.mark.parametrize("changes", [{"proof": None, "end": "not-landed"}, {"clients": []}, {"members": []}])
def test_a_poor_measurement_still_makes_a_page(changes: dict[str, object]) -> None:
    m = measurement(**changes)
    assert "</html>" in render(evaluate(m, None))
    assert "</html>" in render(evaluate(m, verified(m)))


def test_junit_has_a_case_for_each_budget() -> None:
    suite = ElementTree.fromstring(to_xml(result()))[0]
    assert suite.get("failures") == suite.get("errors") == "0"
    assert int(suite.get("tests", 0)) == len(suite) == 6
    failed = ElementTree.fromstring(to_xml(result(measurement(parameters=budget(5.0)), lose={(0, 1)})))[0]
    assert failed.get("failures") == "2"
    assert [c.get("name") for c in failed if c.find("failure") is not None] == [
        "writes stop for at most 5 s",
        "at most 0 acknowledged writes are lost",
    ]
    invalid = ElementTree.fromstring(to_xml(result(measurement(proof=None, end="not-landed"))))[0]
    assert invalid.get("errors") == "1" and invalid.get("failures") == "0"
    assert int(invalid.get("skipped", 0)) == 2


def test_the_reports_numbers_agree_in_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPHYS_ARTIFACT_FOLDER", "runs/x")
    found = result(lose={(0, 3)})
    outputs = write(found, tmp_path)
    assert outputs.report == "runs/x/report.html" and outputs.verdict == "FAIL" and outputs.lost_writes == 1
    machine = json.loads(outputs.json.read_text())
    assert machine == json.loads(json.dumps(to_json(found)))
    assert machine["verdict"] == "FAIL" and machine["numbers"]["lost_writes"] == 1
    assert machine["numbers"]["write_downtime_seconds"] == outputs.write_downtime_seconds
    assert [moment["key"] for moment in machine["timeline"]][0] == "injected"


def test_without_readers_there_is_no_read_downtime() -> None:
    m = measurement(clients=[ClientRecord(0, "write", story.attempts(0))])
    found = evaluate(m, verified(m))
    assert found.reads is None and to_json(found)["numbers"]["read_downtime_seconds"] is None
    assert "Read downtime" not in render(found)


def test_a_verification_survives_its_file(tmp_path: Path) -> None:
    verification = verified(measurement(), lose={(0, 3)})
    path = tmp_path / "v.json"
    save(verification, path)
    assert load(path) == verification
    assert isinstance(load(path), Verification)


def test_scales_ticks_and_bins() -> None:
    scale = Scale(1, 100, 0, 200, log=True)
    assert (scale(1), scale(10), scale(100), scale(1000)) == (0, 100, 200, 200)
    assert ticks(-3, 12, 5) == [0, 5, 10]
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert highest([(0.001, 5), (0.015, 9), (0.021, 1)], 0.02) == [(0.015, 9), (0.021, 1)]
    assert rows_without_overlap([0, 5, 30, 31, 32], 18, 2) == [0, 1, 0, 1, 1]


def test_the_worst_client_is_told_from_the_service() -> None:
    m = measurement()
    slow: list[Attempt] = [a for a in m.clients[0].attempts if not story.BACK_AT - 1 < a.start < story.BACK_AT + 4]
    m.clients[0].attempts = slow
    found = evaluate(m, verified(m))
    assert found.worst_client > found.writes.longest + 3
    assert any(item.title == "Give clients a short timeout" for item in found.advice)
