"""Planning: into which ranges of its key a table is cut, so that readers share the work. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FEWEST_BYTES = 16
"""A row counts this many bytes at least: the statistics of a table that was just made say 0."""


@dataclass(frozen=True)
class KeyRange:
    """Keys from `low` to `high`, both in it, and how many rows are thought to be there."""

    low: int
    high: int
    rows: int

    @property
    def span(self) -> int:
        """Number of keys that it could hold."""
        return self.high - self.low + 1

    def halves(self) -> list[KeyRange]:
        """Return its two halves; of a single key, itself."""
        return split(self, 2)


def split(whole: KeyRange, parts: int) -> list[KeyRange]:
    """Return ranges of equal span (but for one key) that together are the whole, at most `parts`."""
    parts = max(1, min(parts, whole.span))
    edges = [whole.low + whole.span * number // parts for number in range(parts + 1)]
    rows = -(-whole.rows // parts)
    return [KeyRange(low, following - 1, rows) for low, following in zip(edges, edges[1:], strict=False)]


def rows_per_chunk(row_bytes: int, bytes_per_chunk: int) -> int:
    """Return how many rows make a chunk, by the statistics."""
    return max(1, bytes_per_chunk // max(row_bytes, FEWEST_BYTES))


def plan(
    whole: KeyRange, row_bytes: int, bytes_per_chunk: int, estimate: Callable[[KeyRange], int] | None = None
) -> list[KeyRange]:
    """Return the ranges of a table's chunks, in order.

    Args:
        whole: the table's smallest and largest key, and its rows by the statistics.
        row_bytes: bytes of a row, by the statistics.
        bytes_per_chunk: before compression.
        estimate: how many rows the server thinks are in a range. Where keys lie unevenly, ranges with more than
            twice the rows wanted are halved until they have not.
    """
    wanted = rows_per_chunk(row_bytes, bytes_per_chunk)
    pieces = split(whole, round(whole.rows / wanted))
    if estimate is None or len(pieces) == 1:
        return pieces
    planned: list[KeyRange] = []
    waiting = pieces[::-1]
    while waiting:
        piece = waiting.pop()
        rows = estimate(piece)
        if rows > 2 * wanted and piece.span > 1:
            waiting += piece.halves()[::-1]
        elif planned and planned[-1].rows + rows < wanted // 2:
            planned[-1] = KeyRange(planned[-1].low, piece.high, planned[-1].rows + rows)
        else:
            planned.append(KeyRange(piece.low, piece.high, rows))
    return planned
