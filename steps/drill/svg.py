"""Small drawings as inline SVG: scales, ticks, dots, bars and bands. Colours are classes, so that CSS decides them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels.

    Attributes:
        low: the value at `start`.
        high: the value at `end`.
        start: pixel.
        end: pixel.
        log: whether the scale is logarithmic; then both values must be above zero.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; values beyond the ends are drawn at the ends."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low) if high > low else 0.0
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return round values from `low` to `high`, `about` as many as asked: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0 or about < 1:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def number(value: float) -> str:
    """Return a coordinate: one decimal, no trailing zero."""
    return f"{value:.1f}".removesuffix(".0")


@dataclass
class Drawing:
    """An SVG that grows from top to bottom.

    Attributes:
        width: in its own units.
        title: for those who do not see it.
        parts: what was drawn.
    """

    width: float
    title: str
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> None:
        """Write words; they are escaped."""
        self.parts.append(
            f'<text x="{number(x)}" y="{number(y)}" class="t {css}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """Draw a line."""
        self.parts.append(
            f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" class="{css}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, css: str, hint: str = "", round: float = 0) -> None:
        """Draw a rectangle; `hint` shows where the pointer rests."""
        inside = f"<title>{escape(hint)}</title>" if hint else ""
        corner = f' rx="{number(round)}"' if round else ""
        self.parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
            f'{corner} class="{css}">{inside}</rect>'
        )

    def dots(self, points: Iterable[tuple[float, float]], css: str) -> None:
        """Draw many dots as one path: short strokes with round ends."""
        path = "".join(f"M{number(x)} {number(y)}h0" for x, y in points)
        if path:
            self.parts.append(f'<path d="{path}" class="{css}"/>')

    def polyline(self, points: Iterable[tuple[float, float]], css: str) -> None:
        """Draw a line from point to point."""
        path = "L".join(f"{number(x)} {number(y)}" for x, y in points)
        if path:
            self.parts.append(f'<path d="M{path}" class="{css}"/>')

    def point(self, x: float, y: float, radius: float, css: str, hint: str) -> None:
        """Draw a round point; `hint` shows where the pointer rests."""
        at = f'cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"'
        self.parts.append(f'<circle {at} class="{css}"><title>{escape(hint)}</title></circle>')

    def bars(self, columns: Iterable[tuple[float, float, float]], css: str) -> None:
        """Draw many thin bars (x, top, bottom) as one path."""
        path = "".join(f"M{number(x)} {number(bottom)}V{number(top)}" for x, top, bottom in columns)
        if path:
            self.parts.append(f'<path d="{path}" class="{css}"/>')

    def badge(self, x: float, y: float, words: str, css: str) -> None:
        """Draw a short text in a circle."""
        self.parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="8" class="{css}"/>')
        self.text(x, y + 3.6, words, "badge", "middle")

    def render(self, height: float) -> str:
        """Return the SVG element."""
        return (
            f'<svg viewBox="0 0 {number(self.width)} {number(height)}" role="img" aria-label="{escape(self.title)}" '
            f'xmlns="http://www.w3.org/2000/svg"><title>{escape(self.title)}</title>{"".join(self.parts)}</svg>'
        )


def highest(points: Sequence[tuple[float, float]], bin_width: float) -> list[tuple[float, float]]:
    """Return the highest value of each bin, so that a long run is drawn with few dots and no peak is lost.

    Args:
        points: time and value, in any order.
        bin_width: in the times' unit.
    """
    bins: dict[int, tuple[float, float]] = {}
    for at, value in points:
        key = math.floor(at / bin_width)
        if key not in bins or value > bins[key][1]:
            bins[key] = (at, value)
    return [bins[key] for key in sorted(bins)]


def counts(times: Iterable[float], bin_width: float) -> dict[int, int]:
    """Return how many times fall into each bin, by the bin's number."""
    found: dict[int, int] = {}
    for at in times:
        key = math.floor(at / bin_width)
        found[key] = found.get(key, 0) + 1
    return found


def rows_without_overlap(places: Sequence[float], apart: float, rows: int) -> list[int]:
    """Return a row for each place (ascending) so that those in one row are `apart`; the last row takes the rest."""
    last = [-math.inf] * rows
    chosen = []
    for place in places:
        row = next((index for index in range(rows) if place - last[index] >= apart), rows - 1)
        last[row] = place
        chosen.append(row)
    return chosen
