"""What the page of a drill's report shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.drill.charts import STATES, charts
from steps.drill.clock import STALL_SECONDS
from steps.drill.ledger import ANSWER_SECONDS, CONNECT_SECONDS
from steps.drill.outages import OUTAGE_SECONDS
from steps.drill.result import Result
from steps.drill.sampler import MEMBER_SECONDS, POD_SECONDS
from steps.drill.slowness import milliseconds
from steps.drill.timeline import NEVER_LOST
from steps.drill.users import ANSWER_SECONDS as APP_SECONDS
from steps.drill.users import INTERVAL_SECONDS
from steps.report import page
from steps.report.outcome import MARKS, seconds
from steps.report.page import Tile

SPANS = {"before": "before the fault", "during": "from the fault to the end of it", "after": "afterwards"}
"""The spans of the application's requests, and what the page calls them."""
WIDE, NARROW = 960.0, 380.0
"""Widths of the drawings: one for desks and paper, one for phones, so that text is legible on both."""


@dataclass(frozen=True)
class Row:
    """One moment in the list of phases, with the bar of the phase that led to it, in per cent of the whole."""

    number: int
    title: str
    at: str
    length: str
    note: str
    offset: float = 0.0
    width: float = 0.0
    key: str = ""


def render(result: Result) -> str:
    """Return the page."""
    return page.render(Path(__file__).with_name("report.html.j2"), context(result))


def context(result: Result) -> dict[str, Any]:
    """Return what the template shows."""
    from markupsafe import Markup

    m, v = result.measurement, result.verification
    states = {band.state for row in result.bands.values() for band in row}
    return {
        "result": result,
        "m": m,
        "v": v,
        "verdict": result.verdict.outcome.value,
        "sentence": result.verdict.sentence,
        "program": m.versions.get("Tiphys", ""),
        "mark": MARKS[result.verdict.outcome],
        "tiles": tiles(result),
        "rows": rows(result),
        "segments": segments(result),
        "unseen": [moment for moment in result.timeline.moments if moment.at is None],
        "advice": result.advice,
        "gain": lambda value: f"about {seconds(value)}" if value else "",
        # Our own drawings; every word in them is escaped where it is drawn.
        "wide": Markup(charts(result, WIDE)),
        "narrow": Markup(charts(result, NARROW)),
        "states": [(key, name) for key, name in STATES.items() if key in states],
        "parameters": {key.replace("_", "-"): value for key, value in m.parameters.items()},
        "limits": limits(result),
        "span_names": SPANS,
        "milliseconds": milliseconds,
        "missing": Counter(pod for lost in v.lost for pod in lost.missing_on) if v else Counter(),
        "seconds": seconds,
    }


def tiles(result: Result) -> list[Tile]:
    """Return the numbers at the top."""
    m, v = result.measurement, result.verification
    budget, allowed = float(m.parameters["max_write_downtime_seconds"]), int(m.parameters["max_lost_writes"])
    over, more = result.writes.longest > budget, result.writes.total - result.writes.longest >= 1.0
    made = [
        Tile(
            "Write downtime",
            seconds(result.writes.longest) + ("+" if result.writes.open else ""),
            f"budget {seconds(budget)}" + (f"; all outages {seconds(result.writes.total)}" if more else ""),
            "bad" if over else "good",
        ),
        Tile(
            "Lost writes",
            str(len(v.lost)) if v else "?",
            f"of {v.acknowledged:,} acknowledged; {allowed} allowed" if v else "not verified",
            "" if v is None else "bad" if len(v.lost) > allowed else "good",
        ),
    ]
    if result.reads is not None:
        worst = (
            f"one client {seconds(result.worst_reader)}" if result.worst_reader - result.reads.longest >= 1.0 else ""
        )
        made.append(Tile("Read downtime", seconds(result.reads.longest), worst or "on the Router's read-only port"))
    if result.app is not None:
        made.append(
            Tile(
                "Application downtime",
                seconds(result.app.downtime.longest) + ("+" if result.app.downtime.open else ""),
                f"{result.app.failed} of {result.app.requests} requests failed",
            )
        )
    note = f"{v.in_doubt_present} there, {v.in_doubt_absent} not" if v else "not verified"
    made.append(
        Tile("Writes in doubt", str(result.in_doubt), note if result.in_doubt else "every client knows its fate")
    )
    made.append(
        Tile("New primary", result.new_primary or "none", f"before: {result.pods.get(m.target.leader, m.target.pod)}")
    )
    whole = next(moment for moment in result.timeline.moments if moment.key == "whole")
    if whole.at is not None:
        note = f"until {m.expected} of {m.expected} members were ONLINE"
        made.append(Tile("Full redundancy", seconds(whole.at - (m.injected_at or 0.0)), note))
    else:
        never_lost = whole.note == NEVER_LOST
        made.append(Tile("Full redundancy", "kept" if never_lost else "not seen", whole.note if never_lost else ""))
    return made


def rows(result: Result) -> list[Row]:
    """Return the moments that were seen in order of time, each with the phase before it."""
    fault_at = result.measurement.injected_at or 0.0
    numbered = {moment.key: (index + 1, moment) for index, moment in enumerate(result.timeline.moments)}
    phases = result.timeline.phases
    end = max((phase.end for phase in phases), default=fault_at)
    span = max(end - fault_at, 1e-6)
    _, first = numbered["injected"]
    made = [Row(1, first.title, "0.00 s", "", first.note, key="injected")]
    for phase in phases:
        index, moment = numbered[phase.key]
        offset, width = (phase.start - fault_at) / span * 100, phase.length / span * 100
        at = f"+{phase.end - fault_at:.2f} s"
        made.append(Row(index, moment.title, at, seconds(phase.length), moment.note, offset, width, phase.key))
    return made


def segments(result: Result) -> list[Row]:
    """Return the phases up to the first acknowledged write as parts of one bar, in per cent of it."""
    fault_at = result.measurement.injected_at or 0.0
    until = result.timeline.at("first-write")
    if until is None:
        return []
    span = max(until - fault_at, 1e-6)
    parts = [phase for phase in result.timeline.phases if phase.end <= until]
    return [Row(0, p.title, "", seconds(p.length), "", 0.0, p.length / span * 100, p.key) for p in parts]


def limits(result: Result) -> list[str]:
    """Return what the measurement cannot tell, with the figures of this one."""
    m = result.measurement
    found = [
        f"Each client tries every {m.parameters['write_interval_ms']} ms; together they were acknowledged every "
        f"{result.writes.spacing * 1000:.1f} ms before the fault, and this spacing is taken off every downtime.",
        f"Members are looked at every {MEMBER_SECONDS * 1000:.0f} ms, pods every {POD_SECONDS * 1000:.0f} ms: a moment "
        "is when something was first seen, so it may have been that much earlier.",
        f"A client gives a connection {CONNECT_SECONDS} s and a statement {ANSWER_SECONDS} s. An application with "
        "longer timeouts may feel an outage for longer than this report says. An answer that came later than that "
        "counts for whether the write is lost, and ends no outage.",
        f"Interruptions under {OUTAGE_SECONDS} s are not counted as outages; the longest stretch is reported however "
        "short it is.",
        "The fault hit the cluster once, under the ledger's own load. More load, or another fault, may take longer.",
    ]
    if result.app is not None:
        found.append(
            f"The application at {result.app.url} was asked every {INTERVAL_SECONDS * 1000:.0f} ms, each time on a new "
            "connection and whether or not it had answered before. A good answer is a whole one within "
            f"{APP_SECONDS:g} s with a status of 200 to 399; redirects are not followed. Percentiles are of good ones."
        )
    if m.stalls:
        longest = max(stall.end - stall.start for stall in m.stalls)
        found.append(
            f"The measuring process stood still {len(m.stalls)} times for more than {STALL_SECONDS} s (longest "
            f"{longest:.2f} s); in that time it saw nothing, which can make an outage look longer, never shorter."
        )
    else:
        found.append(
            f"The measuring process never stood still for {STALL_SECONDS} s; its heartbeat was late by "
            f"{m.latest_beat * 1000:.0f} ms at most."
        )
    return found + [hole[0].upper() + hole[1:] + "." for hole in m.holes]
