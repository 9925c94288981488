"""Which backups are kept: what holds for any backups and any rules, and examples that a person can follow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.backup.retention import Candidate, Rules, decide
from steps.errors import BadParameters

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NONE = Rules(0, 0, 0, 0)

moments = st.one_of(
    st.datetimes(datetime(2025, 10, 1), datetime(2026, 11, 21)).map(lambda at: at.replace(tzinfo=UTC)),
    # Close together, so that days, weeks and months have several, and two may share a moment.
    st.integers(0, 80).map(lambda hours: NOW - timedelta(hours=6 * hours)),
)
numbers = st.integers(0, 6)
rules = st.builds(Rules, numbers, numbers, numbers, numbers, st.sampled_from([0, 0, 5, 40]), st.sampled_from([0, 0, 4]))


@st.composite
def backups(draw: st.DrawFn) -> list[Candidate]:
    found = draw(
        st.lists(st.tuples(moments, st.sampled_from(["", "", "PASS", "FAIL"]), st.integers(0, 9)), max_size=40)
    )
    return [Candidate(f"b{n}", at, verdict, read == 0) for n, (at, verdict, read) in enumerate(found)]


def kept(found: list[Candidate], asked: Rules) -> set[str]:
    return {one.name for one in decide(found, asked, NOW) if one.keep}


def newest_first(found: list[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda one: (one.moment, one.name), reverse=True)


@settings(max_examples=100, deadline=None)
@given(backups(), rules)
def test_the_last_good_ones_and_what_is_read_always_stay(found: list[Candidate], asked: Rules) -> None:
    stay = kept(found, asked)
    for wanted in (lambda one: True, lambda one: one.verdict == "PASS", lambda one: one.verdict != "FAIL"):
        fitting = [one.name for one in newest_first(found) if wanted(one)]
        assert set(fitting[:1]) <= stay
    assert {one.name for one in found if one.read} <= stay


@settings(max_examples=100, deadline=None)
@given(backups(), backups(), rules)
def test_copies_of_a_part_take_no_place_of_a_whole_one(
    whole: list[Candidate], parts: list[Candidate], asked: Rules
) -> None:
    others = [replace(one, name=f"part-{one.name}", selection="include=shop.orders") for one in parts]
    assert kept([*whole, *others], asked) == kept(whole, asked) | kept(others, asked)


@settings(max_examples=100, deadline=None)
@given(backups(), rules)
def test_every_backup_is_decided_about_once_with_a_reason(found: list[Candidate], asked: Rules) -> None:
    made = decide(found, asked, NOW)
    assert [one.name for one in made] == [one.name for one in newest_first(found)]
    assert all(one.reasons and all(one.reasons) for one in made)


@settings(max_examples=100, deadline=None)
@given(backups(), rules)
def test_doing_it_again_removes_nothing(found: list[Candidate], asked: Rules) -> None:
    stay = kept(found, asked)
    left = [one for one in found if one.name in stay]
    assert kept(left, asked) == stay


@settings(max_examples=60, deadline=None)
@given(backups(), rules, st.sampled_from(["keep_last", "keep_daily", "keep_weekly", "keep_monthly"]))
def test_a_rule_that_keeps_more_removes_nothing_more(found: list[Candidate], asked: Rules, rule: str) -> None:
    asked = replace(asked, max_count=0)
    if getattr(asked, rule) or (asked.keep_last or asked.keep_daily or asked.keep_weekly or asked.keep_monthly):
        assert kept(found, asked) <= kept(found, replace(asked, **{rule: getattr(asked, rule) + 1}))


@settings(max_examples=60, deadline=None)
@given(backups(), rules)
def test_the_newest_days_weeks_and_months_have_one_that_has_not_failed(found: list[Candidate], asked: Rules) -> None:
    asked = replace(asked, max_age_days=0, max_count=0)
    stay = [one for one in found if one.name in kept(found, asked) and one.verdict != "FAIL"]
    good = [one for one in found if one.verdict != "FAIL"]
    for form, count in (("%Y-%m-%d", asked.keep_daily), ("%G-%V", asked.keep_weekly), ("%Y-%m", asked.keep_monthly)):
        periods = sorted({f"{one.moment:{form}}" for one in good}, reverse=True)[:count]
        for period in periods:
            last = max(one.moment for one in good if f"{one.moment:{form}}" == period)
            assert last in {one.moment for one in stay}


@settings(max_examples=60, deadline=None)
@given(backups(), rules)
def test_limits_hold_but_for_what_is_never_removed(found: list[Candidate], asked: Rules) -> None:
    never = {"the newest", "the newest verified with PASS", "the newest that no verification failed", "being read"}
    stay = [one for one in decide(found, asked, NOW) if one.keep]
    safe = {one.name for one in stay if never & set(one.reasons)}
    if asked.max_count:
        assert len(stay) <= max(asked.max_count, len(safe))
    if asked.max_age_days:
        oldest = NOW - timedelta(days=asked.max_age_days)
        assert all(one.moment >= oldest for one in found if one.name in {s.name for s in stay} - safe)


@given(backups())
def test_without_rules_and_limits_nothing_is_removed(found: list[Candidate]) -> None:
    assert kept(found, NONE) == {one.name for one in found}


def daily(days: int) -> list[Candidate]:
    return [Candidate(f"{NOW - timedelta(days=n):%m-%d}", NOW - timedelta(days=n)) for n in range(days)]


def test_a_year_of_nights_by_the_defaults() -> None:
    stay = [one for one in decide(daily(365), Rules(), NOW) if one.keep]
    assert [one.name for one in stay] == [
        *("11-21", "11-20", "11-19", "11-18", "11-17", "11-16", "11-15"),
        *("11-08", "11-01"),
        *("10-31", "09-30", "08-31", "07-31", "06-30"),
    ]
    assert stay[0].reasons[0] == "the newest"
    assert stay[0].reasons[-4:] == ("last 1 of 3", "daily 2026-11-21", "weekly 2026-W47", "monthly 2026-11")
    assert stay[6].reasons == ("daily 2026-11-15", "weekly 2026-W46")
    assert stay[-1].reasons == ("monthly 2026-06",)


def test_one_that_failed_takes_no_place_of_a_good_one() -> None:
    good = Candidate("good", NOW - timedelta(days=1, hours=5))
    bad = Candidate("bad", NOW - timedelta(days=1), "FAIL")
    today = Candidate("today", NOW)
    assert kept([good, bad, today], Rules(0, 2, 0, 0)) == {"good", "bad", "today"}


def test_removal_says_what_took_it_away() -> None:
    made = {one.name: one for one in decide(daily(20), Rules(0, 10, 0, 0, 5, 0), NOW)}
    assert made["11-13"].reasons == ("older than max-age-days=5",)
    assert made["11-04"].reasons == ("no rule keeps it",)
    made = {one.name: one for one in decide(daily(20), Rules(0, 10, 0, 0, 0, 4), NOW)}
    assert made["11-15"].reasons == ("more than max-count=4",)


def test_rules_come_from_a_text() -> None:
    assert Rules().with_text("keep-daily=14, max-count=3\nkeep-monthly=0", "here") == Rules(3, 14, 4, 0, 0, 3)
    assert Rules().with_text("", "here") == Rules()
    for wrong in ("keep-dayly=1", "keep-daily", "keep-daily=-1", "keep-daily=x", "cluster=demo", "keep-daily=1;x"):
        with pytest.raises(BadParameters, match="the annotation has"):
            Rules().with_text(wrong, "the annotation")
