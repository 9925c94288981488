"""Calendars as values: schedules, intervals, days left out, and where a start begins; and the Sensor's Lua."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from eventsources.calendar import WEEKLY_GAME_DAY
from eventsources.calendar import build as build_event_source
from sensors.calendar import build as build_sensor
from tiphys.local.events.calendar import go_time, parse, parse_go_time, parse_schedule
from tiphys.local.events.check import check
from tiphys.local.events.triggers import Refusal, fire

BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def random_field(rng: random.Random, least: int, most: int) -> str:
    low = rng.randint(least, most)
    high = rng.randint(low, most)
    # Not a range of one value: croniter takes it for "any".
    spans = [f"{low}-{high}", f"{low}-{high}/2", f"{low},{high}"] if low < high else [str(low)]
    return rng.choice(["*", "*", "*/3", f"*/{rng.randint(2, 9)}", str(low), *spans])


def test_schedules_have_the_moments_that_another_reader_finds() -> None:
    rng = random.Random(86)
    for _ in range(400):
        text = " ".join(random_field(rng, *span) for span in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6)))
        after = at("2026-01-01") + timedelta(seconds=rng.randint(0, 30_000_000))
        found = parse_schedule(text).following(after, UTC_ZONE)
        assert found == croniter(text, after).get_next(datetime), f"{text!r} after {after}"


@pytest.mark.parametrize(
    ("text", "after", "following"),
    [
        ("30 2 * * *", "2026-03-28T12:00", "2026-03-30 02:30:00 +0200 CEST"),  # 02:30 on the 29th does not exist
        ("30 2 * * *", "2026-10-25T00:30", "2026-10-25 02:30:00 +0100 CET"),  # the second 02:30 of that night
        ("0 0 * * *", "2026-03-28T12:00", "2026-03-29 00:00:00 +0100 CET"),
        ("0 10 * jan-feb WED", "2026-11-21T12:00", "2027-01-06 10:00:00 +0100 CET"),
        ("0 10 29 2 *", "2026-11-21T12:00", "2028-02-29 10:00:00 +0100 CET"),
        ("0 0 1 * 0", "2026-11-21T12:00", "2026-11-22 00:00:00 +0100 CET"),  # either day is enough
        ("50/5 * * * ?", "2026-11-21T12:51", "2026-11-21 13:55:00 +0100 CET"),
        ("* * * * *", "2026-11-21T12:00:59.5", "2026-11-21 13:01:00 +0100 CET"),
    ],
)
def test_a_schedule_is_meant_in_its_time_zone(text: str, after: str, following: str) -> None:
    assert go_time(parse({"schedule": text, "timezone": "Europe/Berlin"}).following(at(after))) == following


def test_an_interval_keeps_to_whole_seconds() -> None:
    calendar = parse({"interval": "1h30m"})
    assert go_time(calendar.following(at("2026-11-21T12:00:00.7"))) == "2026-11-21 13:30:00 +0000 UTC"


def test_days_are_left_out_as_the_time_zone_counts_them() -> None:
    spec = {"schedule": "30 0 * * *", "timezone": "Europe/Berlin", "exclusionDates": ["EXDATE:20261224T120000Z"]}
    # 00:30 of the 24th in Berlin is still the 23rd in UTC.
    following = parse(spec).following(at("2026-12-23T12:00"))
    assert go_time(following) == "2026-12-25 00:30:00 +0100 CET"


@pytest.mark.parametrize(
    ("persistence", "last", "begins"),
    [
        ({}, "2026-11-20T06:00", "2026-11-21T12:00"),
        ({"catchup": {"enabled": False}}, "2026-11-20T06:00", "2026-11-21T12:00"),
        ({"catchup": {"enabled": True}}, None, "2026-11-21T12:00"),
        ({"catchup": {"enabled": True}}, "2026-11-20T06:00", "2026-11-20T06:00"),
        ({"catchup": {"enabled": True, "maxDuration": "1h"}}, "2026-11-20T06:00", "2026-11-21T11:00"),
        ({"catchup": {"enabled": True, "maxDuration": "1h"}}, "2026-11-21T11:30", "2026-11-21T11:30"),
    ],
)
def test_where_a_start_begins(persistence: dict[str, Any], last: str | None, begins: str) -> None:
    kept = {"persistence": {"configMap": {"name": "kept"}, **persistence}} if persistence else {}
    calendar = parse({"schedule": "0 6 * * *", **kept})
    assert calendar.begin(at("2026-11-21T12:00"), last and at(last)) == at(begins)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("schedule", {}),
        ("schedule", {"schedule": "* * * * *", "interval": "1s"}),
        ("schedule", {"schedule": "@daily"}),
        ("schedule", {"schedule": "0 * * * * *"}),
        ("schedule", {"schedule": "60 * * * *"}),
        ("schedule", {"schedule": "* * * * 7"}),
        ("schedule", {"schedule": "* * * * 5-1"}),
        ("schedule", {"schedule": "*/0 * * * *"}),
        ("schedule", {"schedule": "* * L * *"}),
        ("schedule", {"schedule": "* * * mon *"}),
        ("schedule", {"schedule": "1- * * * *"}),
        ("schedule", {"schedule": "0 0 30 2 *"}),
        ("interval", {"interval": "500ms"}),
        ("interval", {"interval": "1.5s"}),
        ("interval", {"interval": "-5s"}),
        ("interval", {"interval": "5 s"}),
        ("interval", {"interval": 5}),
        ("timezone", {"schedule": "* * * * *", "timezone": "Europe/Atlantis"}),
        ("timezone", {"schedule": "* * * * *", "timezone": "../../etc/passwd"}),
        ("exclusionDates", {"interval": "1s", "exclusionDates": ["2026-12-24"]}),
        ("exclusionDates", {"interval": "1s", "exclusionDates": ["EXDATE:2026-12-24"]}),
        ("persistence.configMap.name", {"interval": "1s", "persistence": {"catchup": {"enabled": True}}}),
        ("persistence.configMap.claim", {"interval": "1s", "persistence": {"configMap": {"name": "a", "claim": "b"}}}),
        ("persistence.catchup.maxDuration", {"interval": "1s", "persistence": {"catchup": {"maxDuration": "soon"}}}),
        ("persistence.volume", {"interval": "1s", "persistence": {"volume": {}}}),
        ("filter", {"interval": "1s", "filter": {"expression": "true"}}),
        ("recurrence", {"interval": "1s", "recurrence": []}),
    ],
)
def test_what_is_not_honoured_is_named_with_its_path(field: str, spec: dict[str, Any]) -> None:
    if field == "persistence.catchup.maxDuration":
        spec["persistence"]["configMap"] = {"name": "kept"}
    faults = check({"kind": "EventSource", "spec": {"calendar": {"daily": spec}}})
    assert any(fault.startswith(f"spec.calendar.daily.{field}:") for fault in faults), faults


def test_a_malformed_calendar_is_refused_and_not_tripped_over() -> None:
    for spec in ("daily", ["a"], {"daily": "x"}, {"daily": {"interval": "1s", "persistence": "x"}}):
        assert check({"kind": "EventSource", "spec": {"calendar": spec}})


def test_times_go_and_come_as_go_writes_them() -> None:
    for zone in ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata"):
        moment = at("2026-11-21T12:00:00.000241").astimezone(ZoneInfo(zone))
        assert parse_go_time(go_time(moment)) == moment
    # Argo's own documentation, docs/eventsources/calendar-catch-up.md, has one that fired a little later.
    text = "2020-10-19 22:50:00.0003192 +0000 UTC m=+683.567066901"
    assert parse_go_time(text) == at("2020-10-19T22:50:00.000319")
    with pytest.raises(ValueError, match="is no time"):
        parse_go_time("yesterday")


def run_of(event_time: object) -> str:
    """Return the name of the run that an event of the pack's calendar starts."""
    sensor = copy.deepcopy(build_sensor())
    sensor["metadata"]["namespace"] = "tiphys"
    (fired,) = fire([sensor], "calendar", WEEKLY_GAME_DAY, {"eventTime": event_time})
    assert fired.workflow["spec"] == {"workflowTemplateRef": {"name": "start-game-days"}}, "it names no target"
    name: str = fired.workflow["metadata"]["name"]
    return name


def test_a_run_is_named_after_the_minute_in_utc() -> None:
    rng = random.Random(6)
    for _ in range(60):
        zone = ZoneInfo(rng.choice(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Auckland"]))
        moment = at("1999-12-31") + timedelta(seconds=rng.random() * 2e9)
        text = go_time(moment.astimezone(zone)) + rng.choice(["", " m=+683.567066901"])
        assert run_of(text) == f"start-game-days-{moment:%Y%m%d-%H%M}", text


@pytest.mark.parametrize("time", [None, 5, "", "yesterday", "2026-11-21T12:00:00Z", {"a": "b"}])
def test_a_time_that_cannot_be_read_starts_nothing(time: object) -> None:
    with pytest.raises(Refusal, match="nothing at occasion"):
        run_of(time)


def test_the_packs_calendar_is_honoured() -> None:
    source = build_event_source()
    assert check(source) == [] and check(build_sensor()) == []
    calendar = parse(source["spec"]["calendar"][WEEKLY_GAME_DAY])
    assert calendar.following(at("2026-11-21T12:00")) == at("2026-11-25T10:00")
