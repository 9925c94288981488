"""The drill's drawings: latency and errors of writes and reads, and the members' states, on one axis of time."""

from __future__ import annotations

from collections.abc import Sequence

from steps.drill.attempts import Attempt, Outcome
from steps.drill.felt import as_attempts
from steps.drill.outages import Downtime
from steps.drill.result import Result
from steps.drill.slowness import Slow, milliseconds
from steps.drill.svg import Drawing, Scale, counts, highest, number, rows_without_overlap, ticks

LOW_MS, HIGH_MS = 0.5, 5000.0
POINT_SECONDS = 0.02
ERROR_BIN_SECONDS = 0.1
STATES = {
    "PRIMARY": "primary",
    "SECONDARY": "secondary",
    "RECOVERING": "recovering",
    "UNREACHABLE": "unreachable",
    "ABSENT": "not in the group",
    "OFFLINE": "offline",
    "ERROR": "error",
    "UNKNOWN": "not known",
}
"""States of a member's band, and what they are called in the legend."""


def charts(result: Result, width: float) -> str:
    """Return one SVG of `width` units: writes, reads and members above a common axis of seconds since the fault."""
    m = result.measurement
    fault_at = m.injected_at or 0.0
    first = max(0.0, m.steady_from, fault_at - 5.0)
    gutter = 50.0
    time = Scale(first - fault_at, m.ended_at - fault_at, gutter, width - 8)
    drawing = Drawing(width, f"Latency, errors and member states of drill {m.run}")
    y = _badges(drawing, result, time, fault_at)
    top = y
    y = _latency(drawing, "Writes", m.of_kind("write"), result.writes, time, y, fault_at, result.slow_writes)
    if result.reads is not None:
        y = _latency(drawing, "Reads", m.of_kind("read"), result.reads, time, y + 14, fault_at)
    if result.app is not None:
        told = [as_attempts(m.requests)]
        y = _latency(drawing, "Application", told, result.app.downtime, time, y + 14, fault_at, what="good answer")
    y = _members(drawing, result, time, y + 20, fault_at)
    for moment in result.timeline.moments:
        if moment.at is not None:
            x = time(moment.at - fault_at)
            drawing.line(x, top - 2, x, y, "mark")
    y = _axis(drawing, time, y + 4)
    return drawing.render(y)


def _badges(drawing: Drawing, result: Result, time: Scale, fault_at: float) -> float:
    """Draw a numbered badge for each moment seen; the numbers are those of the list of phases."""
    seen = sorted((moment.at, index) for index, moment in enumerate(result.timeline.moments) if moment.at is not None)
    places = [time(at - fault_at) for at, _ in seen]
    lanes = rows_without_overlap(places, 18, 4)
    for (_, index), x, lane in zip(seen, places, lanes, strict=True):
        y = 10 + lane * 18
        drawing.line(x, y, x, 10 + (max(lanes) + 1) * 18, "mark")
        drawing.badge(x, y, str(index + 1), "badge-dot")
    return 10 + (max(lanes, default=0) + 1) * 18.0 + 6


def _latency(
    drawing: Drawing,
    title: str,
    clients: Sequence[Sequence[Attempt]],
    downtime: Downtime,
    time: Scale,
    top: float,
    fault_at: float,
    slow: Sequence[Slow] = (),
    what: str = "",
) -> float:
    """Draw the latency of what succeeded (logarithmic), bands for outages and slow stretches, errors below."""
    height, strip = 130.0, 26.0
    drawing.text(time.start, top + 10, f"{title}: latency", "strong")
    head = top + 18
    latency = Scale(LOW_MS, HIGH_MS, head + height, head, log=True)
    for value, label in ((1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, "1 s")):
        y = latency(value)
        drawing.line(time.start, y, time.end, y, "grid")
        drawing.text(time.start - 5, y + 3.5, label, "small", "end")
    for stretch in slow:
        left, right = time(stretch.start - fault_at), time(stretch.end - fault_at)
        words = f"slow: {milliseconds(stretch.median)}"
        hint = f"{words} (median) for {stretch.length:.1f} s, instead of {milliseconds(stretch.normal)}"
        drawing.box(left, head, right - left, height, "slow", hint)
        if right - left > 74:
            drawing.text((left + right) / 2, head + 14, words, "warn strong", "middle")
    for outage in downtime.outages or ([downtime.worst] if downtime.worst else []):
        left, right = time(outage.start - fault_at), time(outage.end - fault_at)
        hint = f"no {what or f'acknowledged {title.lower()[:-1]}'} for {outage.downtime:.2f} s"
        drawing.box(left, head, right - left, height + strip + 16, "outage", hint)
        if right - left > 60:
            drawing.text((left + right) / 2, head + 14, f"{outage.downtime:.2f} s", "bad strong", "middle")
    done = [a for attempts in clients for a in attempts if a.end is not None]
    good = [
        (a.start - fault_at, (a.end - a.start) * 1000)
        for a in done
        if a.outcome is Outcome.ACKNOWLEDGED and a.end is not None and a.start - fault_at >= time.low
    ]
    drawing.dots([(time(at), latency(value)) for at, value in highest(good, POINT_SECONDS)], "dot ok-stroke")
    base = head + height + strip + 12
    refused = counts((a.start - fault_at for a in done if a.outcome is Outcome.REFUSED), ERROR_BIN_SECONDS)
    doubtful = [a for attempts in clients for a in attempts if a.outcome is Outcome.IN_DOUBT]
    doubt = counts((a.start - fault_at for a in doubtful), ERROR_BIN_SECONDS)
    most = max([*refused.values(), *doubt.values(), 1])
    errors = Scale(0, most, base, base - strip)
    drawing.line(time.start, base, time.end, base, "grid")
    drawing.text(time.start - 5, base + 1, "0", "small", "end")
    drawing.text(time.start - 5, base - strip + 7, str(most), "small", "end")
    if not refused and not doubt:
        drawing.text(time.start, base - 5, "no errors", "small")
    for bins, css in ((refused, "bar bad-stroke"), (doubt, "bar warn-stroke")):
        columns = [
            (time((key + 0.5) * ERROR_BIN_SECONDS), errors(value), base)
            for key, value in bins.items()
            if (key + 0.5) * ERROR_BIN_SECONDS >= time.low
        ]
        drawing.bars(columns, css)
    drawing.text(time.end, base - strip - 3, "errors in 0.1 s", "small", "end")
    return base + 6


def _members(drawing: Drawing, result: Result, time: Scale, top: float, fault_at: float) -> float:
    """Draw a band for each member: its state as the majority saw it."""
    drawing.text(time.start, top, "Members, as the majority sees them", "strong")
    y = top + 10
    for server, row in result.bands.items():
        pod = result.pods.get(server, server)
        drawing.text(time.start, y + 10, pod, "small")
        for band in row:
            left, right = time(band.start - fault_at), time(band.end - fault_at)
            if band.end - fault_at < time.low or right <= left:
                continue
            seconds = f"{band.start - fault_at:+.1f} s to {band.end - fault_at:+.1f} s"
            drawing.box(
                left, y + 15, right - left, 15, f"state-{band.state}", f"{pod}: {STATES[band.state]}, {seconds}"
            )
            if right - left > 74:
                drawing.text(left + 6, y + 26, STATES[band.state], f"on-{band.state} small")
        y += 36
    return y


def _axis(drawing: Drawing, time: Scale, top: float) -> float:
    """Draw the axis of seconds since the fault."""
    drawing.line(time.start, top, time.end, top, "axis")
    for value in ticks(time.low, time.high, 12 if drawing.width > 600 else 5):
        x = time(value)
        drawing.line(x, top, x, top + 4, "axis")
        drawing.text(x, top + 16, number(value), "small", "middle")
    drawing.text(time.end, top + 30, "seconds since the fault", "small", "end")
    return top + 36
