"""The verdict on a backup and its three reports, from made-up findings."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from steps.backup import verify_page
from steps.backup.verify_queries import Answer, Question
from steps.backup.verify_record import (
    Checks,
    Damage,
    Kind,
    Objects,
    Order,
    Restoration,
    Scratch,
    Table,
    dump,
    load,
)
from steps.backup.verify_report import note
from steps.backup.verify_verdict import Result, bytes_of, judge, length
from steps.errors import BadParameters

ORDER = Order(
    run="verify-1",
    namespace="tiphys",
    cluster="demo",
    backup="demo-20261121-030000",
    place="s3://tiphys/backups/demo-20261121-030000/",
    mode="full",
    started_at="2026-11-21T04:00:00.000+00:00",
    program="0.1.0",
    moment="2026-11-21T03:00:00+00:00",
    age_seconds=3600.0,
    rows=300,
    tables=2,
    bytes=5000,
    files=20,
    scratch="verify-demo-123456",
    max_rto=60.0,
    max_age=7200.0,
    queries_from="demo-verify-queries",
    questions=(Question("day", "SELECT 1", date(2026, 11, 21)),),
)
OBJECTS = Objects(20, 5000, 0.5)
SCRATCH = Scratch(ORDER.scratch, "2026-11-21T04:00:10.000+00:00", "2026-11-21T04:00:20.000+00:00", "9.7.4", 1)
RESTORATION = Restoration("2026-11-21T04:00:21.000+00:00", "2026-11-21T04:00:50.500+00:00", 300)
TABLES = (Table("s.one", 200, 200, 3, 3, 0, "OK"), Table("s.two", 100, 100, 1, 1, 0, "OK"))
CHECKS = Checks(
    "2026-11-21T04:00:51.000+00:00",
    "2026-11-21T04:01:00.500+00:00",
    TABLES,
    (Kind("tables", 2, 2), Kind("views", 1, 1), Kind("events", 0, 0)),
    (Answer("day", "SELECT 1", "2026-11-21", "2026-11-21", "", 0.01),),
)
ALL: dict[str, Any] = {"objects": OBJECTS, "scratch": SCRATCH, "restoration": RESTORATION, "checks": CHECKS}


def judged(order: Order = ORDER, *, stopped: bool = False, **changed: Any) -> Result:
    return judge(order, **{**ALL, **changed}, ended_at="2026-11-21T04:01:02.000+00:00", stopped=stopped)


def with_table(**changed: Any) -> Checks:
    return dataclasses.replace(CHECKS, tables=(dataclasses.replace(TABLES[0], **changed), TABLES[1]))


def test_all_well_is_a_pass_with_its_times() -> None:
    result = judged()
    assert (result.outcome, result.sound, result.problems) == ("PASS", True, ())
    assert result.rto_seconds == 40.5
    assert [(p.key, p.seconds, p.in_rto) for p in result.phases] == [
        ("ready", 10.0, True),
        ("loaded", 30.5, True),
        ("checked", 10.0, False),
    ]
    assert result.sentence == "demo-20261121-030000 restores: 300 rows were back and usable after 40 s"
    assert any("the bytes of 4 of 4 chunks" in note for note in result.notes)
    assert any("2 tables, 1 view" in note for note in result.notes)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"objects": dataclasses.replace(OBJECTS, damaged=(Damage("s@one@0.tsv.zst", "is missing"),))},
            "s@one@0.tsv.zst is missing.",
        ),
        ({"restoration": dataclasses.replace(RESTORATION, error="no"), "checks": None}, "The backup does not restore"),
        ({"checks": with_table(bad=("199 rows are there",))}, "s.one: 199 rows are there."),
        (
            {"checks": dataclasses.replace(CHECKS, kinds=(Kind("views", 1, 0, ("views that are not there: v",)),))},
            "views that are not there: v.",
        ),
    ],
)
def test_damage_is_a_fail_that_names_it_and_is_not_sound(changed: dict[str, Any], said: str) -> None:
    result = judged(**changed)
    assert (result.outcome, result.sound) == ("FAIL", False)
    assert any(said in problem for problem in result.problems)
    assert said.rstrip(".") in result.sentence


def test_broken_budgets_and_wrong_answers_fail_a_backup_that_is_sound() -> None:
    wrong = dataclasses.replace(CHECKS, answers=(Answer("n", "SELECT 1", ">= 2", "1", "the value is 1", 0.1),))
    result = judged(dataclasses.replace(ORDER, max_rto=40.0, max_age=3599.0), checks=wrong)
    assert (result.outcome, result.sound) == ("FAIL", True)
    assert result.problems == (
        "Query “n”: the value is 1; expected: >= 2.",
        "The data was usable after 40 s, the budget is 40 s (max-rto).",
        "What the backup holds was 60 min old, the budget is 59 min 59 s (max-age): a newer backup is missing.",
    )
    assert "1 of 1 queries is not answered as expected (n)" in result.sentence


def test_a_budget_that_is_just_kept_is_kept() -> None:
    assert judged(dataclasses.replace(ORDER, max_rto=40.5, max_age=3600.0)).outcome == "PASS"


@pytest.mark.parametrize(
    ("reached", "said"),
    [
        ([], "its files were not all read"),
        (["objects"], "the scratch cluster verify-demo-123456 did not become ready"),
        (["objects", "scratch"], "the restore did not end"),
        (["objects", "scratch", "restoration"], "the restored data was not checked"),
    ],
)
def test_what_did_not_come_to_its_end_proves_nothing(reached: list[str], said: str) -> None:
    missing = {key: None for key in ALL if key not in reached}
    result, stopped = judged(**missing), judged(**missing, stopped=True)
    assert (result.outcome, stopped.outcome, result.sound) == ("INVALID", "ABORTED", None)
    assert said in result.sentence and stopped.problems == (f"The run was stopped: {said}.",)


def test_a_restore_that_was_refused_proves_nothing() -> None:
    result = judged(restoration=dataclasses.replace(RESTORATION, error="it is newer.", refused=True), checks=None)
    assert (result.outcome, result.sound) == ("INVALID", None)
    assert result.problems == ("The run did not come to its end: the restore was refused: it is newer.",)


def test_damage_that_was_found_before_a_stop_is_still_a_fail() -> None:
    damaged = dataclasses.replace(OBJECTS, damaged=(Damage("@.sql", "is missing"),))
    missing = {"scratch": None, "restoration": None, "checks": None}
    result = judged(objects=damaged, **missing, stopped=True)
    assert (result.outcome, result.problems) == ("FAIL", ("@.sql is missing.",))


def test_a_file_whose_fault_begins_with_its_name_is_named_once() -> None:
    why = "tiphys.json is no JSON: line 2. Take another one."
    damaged = dataclasses.replace(OBJECTS, damaged=(Damage("tiphys.json", why),))
    order = dataclasses.replace(ORDER, problem=why, moment="")
    missing = {"scratch": None, "restoration": None, "checks": None}
    for objects in (damaged, None):
        result = judged(order, objects=objects, **missing)
        assert result.problems == (why,)
        assert note(result, "r")["rpoSeconds"] is None, "nobody knows how old it is"


def test_the_files_alone_can_be_verified() -> None:
    order = dataclasses.replace(ORDER, mode="objects", questions=(), max_rto=None)
    result = judged(order, scratch=None, restoration=None, checks=None)
    assert (result.outcome, result.rto_seconds) == ("PASS", None)
    assert any("whether it restores is not known" in note for note in result.notes)
    assert (
        judge(dataclasses.replace(order, problem="is no JSON"), None, None, None, None, ended_at="").outcome == "FAIL"
    )


def test_chunks_that_could_only_be_counted_are_named() -> None:
    order = dataclasses.replace(ORDER, keyless=("s.one",))
    result = judged(order, checks=with_table(same=0, uncompared=3))
    assert result.outcome == "PASS"
    assert any(note.startswith("Not compared byte by byte") and "s.one" in note for note in result.notes)
    assert any("invisible-key=true" in note for note in result.notes)


def test_the_note_beside_the_backups_says_what_others_read() -> None:
    made = note(judged(), "runs/x/report.html")
    assert {key: made[key] for key in ("backup", "verdict", "at", "rtoSeconds", "rpoSeconds", "run", "report")} == {
        "backup": "demo-20261121-030000",
        "verdict": "PASS",
        "at": "2026-11-21T04:01:02.000+00:00",
        "rtoSeconds": 40.5,
        "rpoSeconds": 3600.0,
        "run": "verify-1",
        "report": "runs/x/report.html",
    }


def test_the_page_escapes_what_it_shows_and_fetches_nothing() -> None:
    evil = "<script>alert(1)</script>"
    answers = (Answer(evil, f"SELECT '{evil}'", evil, evil, evil, 0.0),)
    checks = dataclasses.replace(CHECKS, answers=answers, tables=(Table(f"s.{evil}", 1, 2, 1, 0, 0, "OK", (evil,)),))
    damaged = dataclasses.replace(OBJECTS, damaged=(Damage(evil, evil),))
    page = verify_page.render(judged(objects=damaged, checks=checks))
    assert "<script" not in page and page.count("&lt;script&gt;") > 6
    assert "http" not in page.replace("http-equiv", "") and 'src="' not in page


@pytest.mark.parametrize("missing", [[], ["checks"], ["checks", "restoration", "scratch"], list(ALL)])
def test_every_form_can_be_written_however_far_the_run_came(missing: list[str]) -> None:
    result = judged(**dict.fromkeys(missing))
    page = verify_page.render(result)
    assert result.sentence in page and ORDER.backup in page
    document = json.loads(json.dumps(verify_page.to_json(result), default=str))
    assert document["verdict"] == result.outcome and document["schema"] == 1
    suite = ElementTree.fromstring(verify_page.to_xml(result)).find("testsuite")
    assert suite is not None and (suite.get("errors") == "0") == (result.outcome == "PASS")


def test_junit_has_a_case_for_each_table_and_query_and_budget() -> None:
    result = judged(dataclasses.replace(ORDER, max_rto=10.0), checks=with_table(bad=("differs \x01 here",)))
    suite = ElementTree.fromstring(verify_page.to_xml(result)).find("testsuite")
    assert suite is not None
    cases = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}
    assert {name for name, failure in cases.items() if failure is not None} == {
        "table s.one is as it was",
        "the data is usable within 10 s",
    }
    assert {"every file of tiphys.json is as written", "query day", "what the backup holds is at most 7200 s old"} <= {
        *cases
    }
    assert (suite.get("failures"), suite.get("tests")) == ("2", str(len(cases)))


@pytest.mark.parametrize("record", [ORDER, OBJECTS, SCRATCH, RESTORATION, CHECKS])
def test_records_come_back_from_their_files(record: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(dump(record))
    found = load(type(record), tmp_path / "x.json")
    if record is ORDER:
        assert found.questions[0].expect == "2026-11-21"
        found = dataclasses.replace(found, questions=ORDER.questions)
    assert found == record
    (tmp_path / "x.json").write_text('{"schema": 2}')
    with pytest.raises(BadParameters, match="schema 2"):
        load(type(record), tmp_path / "x.json")


def test_lengths_and_sizes_read_well() -> None:
    assert [length(value) for value in (0.004, 4.25, 59.6, 200, 5 * 3600 + 720, 7200, 200_000)] == [
        "4 ms",
        "4.2 s",
        "60 s",
        "3 min 20 s",
        "5 h 12 min",
        "2 h",
        "2 d 7 h",
    ]
    assert [bytes_of(value) for value in (999, 1500, 2_500_000)] == ["999 bytes", "1.5 kB", "2.5 MB"]
