"""The drawings of a game day's report: for each drill, how long writes stopped in every run so far."""

from __future__ import annotations

from datetime import datetime

from steps.drill.svg import Drawing, Scale, number, ticks
from steps.game_day.history import BASELINE, Record
from steps.game_day.result import Trend
from steps.report.outcome import seconds

HEIGHT = 118.0
MOST = 40
"""Runs in one drawing, the newest."""


def chart(trend: Trend, width: float) -> str:
    """Return one SVG of `width` units: a point for each run, the median of the runs before this one as a line."""
    records = list(trend.records)[-MOST:]
    drawing = Drawing(width, f"Write downtime of {trend.label}, run by run")
    left, right, top, bottom = 46.0, width - 14, 16.0, 16.0 + HEIGHT
    values = [float(one.downtime or 0) for one in records]
    limit = trend.comparison.limit
    high = max([*values, limit or 0.0, 0.1]) * 1.25
    y = Scale(0.0, high, bottom, top)
    for value in ticks(0.0, high, 4):
        drawing.line(left, y(value), right, y(value), "grid")
        drawing.text(
            left - 6, y(value) + 3.5, f"{number(value) if value >= 1 or not value else f'{value:g}'} s", "small", "end"
        )
    # One run stands in the middle; with more, the first is left and the last right.
    x = Scale(0, max(len(records) - 1, 1), left + 14, right - 14)
    places = [(x(index) if len(records) > 1 else (left + right) / 2, y(value)) for index, value in enumerate(values)]
    median = trend.comparison.median
    if median is not None and limit is not None:
        own = [place[0] for place, one in zip(places, records, strict=True) if one.run in trend.own]
        first = next((i for i, one in enumerate(records) if one.run in trend.own), len(records))
        begin = places[max(0, first - BASELINE)][0]
        drawing.box(begin - 8, y(limit), (max(own, default=right) - begin) + 16, bottom - y(limit), "allowed")
        drawing.line(begin - 8, y(median), max(own, default=right) + 8, y(median), "median")
    drawing.polyline(places, "course")
    for (px, py), one in zip(places, records, strict=True):
        mine = one.run in trend.own
        css = "mine" if mine else "earlier"
        drawing.point(px, py, 5.5 if mine else 3.5, f"{css} v-{one.verdict}", _hint(one))
        if mine:
            above = py - 10 > top + 4
            drawing.text(
                min(px, right - 16),
                py - 10 if above else py + 18,
                seconds(float(one.downtime or 0)),
                "strong",
                "middle",
            )
    if records:
        drawing.text(
            left + 14 if len(records) > 1 else (left + right) / 2,
            bottom + 16,
            _day(records[0]),
            "small",
            "start" if len(records) > 1 else "middle",
        )
    if len(records) > 1:
        drawing.text(right - 14, bottom + 16, _day(records[-1]), "small", "end")
    drawing.line(left, bottom, right, bottom, "axis")
    return drawing.render(bottom + 24)


def _day(record: Record) -> str:
    return f"{datetime.fromisoformat(record.at):%Y-%m-%d %H:%M}"


def _hint(record: Record) -> str:
    return f"{record.run}: {seconds(float(record.downtime or 0))}, {record.verdict}, {_day(record)} UTC"
