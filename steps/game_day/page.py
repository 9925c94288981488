"""What the page of a game day's report shows."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steps.drill.page import NARROW, WIDE
from steps.game_day.history import BASELINE, FEWEST
from steps.game_day.result import NOT_RUN, Drill, Result, Trend
from steps.game_day.trends import chart
from steps.report import page
from steps.report.outcome import MARKS, Outcome, count, seconds
from steps.report.page import Tile

FOLDER = "drills"
"""Beside the page: the drills' own pages."""


@dataclass(frozen=True)
class Shown:
    """A trend as the page shows it."""

    label: str
    told: str
    tone: str
    wide: Any
    narrow: Any


def page_name(drill: Drill) -> str:
    """Return the file of a drill's own page, beside the game day's."""
    return f"{FOLDER}/{drill.number:02d}-{drill.entry.fault}.html"


def render(result: Result, pages: frozenset[int]) -> str:
    """Return the page.

    Args:
        result: of the game day.
        pages: numbers of the drills whose own page lies beside this one.
    """
    return page.render(Path(__file__).with_name("report.html.j2"), context(result, pages))


def context(result: Result, pages: frozenset[int]) -> dict[str, Any]:
    """Return what the template shows."""
    return {
        "result": result,
        "state": result.state,
        "verdict": result.outcome.value,
        "sentence": result.sentence,
        "program": version("tiphys"),
        "mark": MARKS[result.outcome],
        "marks": {**MARKS, NOT_RUN: "–"},
        "tiles": tiles(result),
        "links": {one.number: page_name(one) for one in result.drills if one.number in pages},
        "trends": [shown(trend) for trend in result.trends],
        "given": sum(line.given for one in result.drills for line in one.lines),
        "of": sum(line.of for one in result.drills for line in one.lines),
        "looks": sorted(result.state.looks.items()),
        "seconds": seconds,
        "baseline": BASELINE,
        "fewest": FEWEST,
    }


def tiles(result: Result) -> list[Tile]:
    """Return the numbers at the top."""
    drills, asked = result.drills, result.asked
    passed = sum(one.verdict == Outcome.PASS for one in drills)
    downtimes = [
        (float(one.numbers["write_downtime_seconds"]), one)
        for one in drills
        if one.numbers.get("write_downtime_seconds") is not None
    ]
    longest = max(downtimes, key=lambda pair: pair[0], default=None)
    lost = [one.numbers.get("lost_writes") for one in drills]
    known = [int(each) for each in lost if each is not None]
    steady = [look for look in result.state.looks.values() if look.steady]
    slower = [one for one in drills if one.comparison.regressed]
    compared = [one for one in drills if one.comparison.limit is not None]
    note = f"at least {asked.min_score} asked for" if asked.min_score else "of 100 points"
    unseen = len(drills) + 1 - len(result.state.looks)
    return [
        Tile("Score", str(result.score), note, "good" if result.score == 100 else "bad" if result.score < 50 else ""),
        Tile(
            "Drills passed", f"{passed} of {len(drills)}", _verdicts(drills), "good" if passed == len(drills) else "bad"
        ),
        Tile(
            "Longest write downtime",
            seconds(longest[0]) if longest else "?",
            f"in drill {longest[1].number}: {longest[1].entry.fault}" if longest else "nothing was measured",
        ),
        Tile(
            "Lost writes",
            str(sum(known)) if known else "?",
            "in all drills" if len(known) == len(drills) else f"{len(drills) - len(known)} drills were not verified",
            "bad" if sum(known) else "good" if known and len(known) == len(drills) else "",
        ),
        Tile(
            "Steady",
            f"{len(steady)} of {len(drills) + 1}",
            f"{unseen} looks were not made" if unseen else "looks before, between and after",
            "good" if len(steady) == len(drills) + 1 else "bad",
        ),
        Tile(
            "Slower than before",
            str(len(slower)) if compared else "?",
            f"of {len(compared)} that can be compared" if compared else f"fewer than {FEWEST} runs before",
            "bad" if slower else "good" if compared else "",
        ),
    ]


def _verdicts(drills: Any) -> str:
    counted: dict[str, int] = {}
    for one in drills:
        counted[str(one.verdict)] = counted.get(str(one.verdict), 0) + 1
    return ", ".join(f"{number} {verdict}" for verdict, number in counted.items())


def shown(trend: Trend) -> Shown:
    """Return a trend with its drawings and what they amount to."""
    from markupsafe import Markup

    comparison, own = trend.comparison, [one for one in trend.records if one.run in trend.own]
    if not trend.records:
        told, tone = "no run of it has given a number yet", ""
    elif comparison.median is None:
        told, tone = f"{count(len(comparison.earlier), 'run')} before this one, {FEWEST} are needed to compare", ""
    else:
        last = f"the last {len(comparison.earlier)} runs: median {seconds(comparison.median)}, "
        last += f"worst {seconds(comparison.worst or 0)}, limit {seconds(comparison.limit or 0)}"
        this = f"{seconds(float(own[-1].downtime or 0))} now; " if own else "not measured now; "
        told, tone = this + last, "bad" if comparison.regressed else "good"
    # Our own drawings; every word in them is escaped where it is drawn.
    drawn = [Markup(chart(trend, width)) if trend.records else "" for width in (WIDE, NARROW)]
    return Shown(trend.label, told, tone, *drawn)
