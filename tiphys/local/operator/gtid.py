"""GTID sets as values: which of two servers has seen more."""

from __future__ import annotations

import re
from collections.abc import Iterable

Intervals = tuple[tuple[int, int], ...]
_INTERVAL = re.compile(r"(\d+)(?:-(\d+))?")


class GtidSet:
    """A set of transactions, by source UUID (and tag, since MySQL 8.3)."""

    def __init__(self, parts: dict[str, Intervals]):
        self.parts = {key: value for key, value in parts.items() if value}

    @classmethod
    def parse(cls, text: str) -> GtidSet:
        """Read MySQL's notation, such as ``uuid:1-5:7,uuid2:tag:1``.

        Raises:
            ValueError: the text is no GTID set.
        """
        found: dict[str, list[tuple[int, int]]] = {}
        for piece in filter(None, (piece.strip() for piece in text.split(","))):
            source, *rest = piece.split(":")
            key = source.lower()
            for item in rest:
                if match := _INTERVAL.fullmatch(item.strip()):
                    first = int(match.group(1))
                    found.setdefault(key, []).append((first, int(match.group(2) or first)))
                else:
                    key = f"{source.lower()}:{item.strip().lower()}"
            if not rest:
                raise ValueError(f"{piece!r} is no GTID set")
        return cls({key: _joined(values) for key, values in found.items()})

    def union(self, other: GtidSet) -> GtidSet:
        """Return what is in either."""
        keys = {*self.parts, *other.parts}
        return GtidSet({key: _joined([*self.parts.get(key, ()), *other.parts.get(key, ())]) for key in keys})

    def contains(self, other: GtidSet) -> bool:
        """Whether every transaction of `other` is in this set."""
        return self.union(other).parts == self.parts

    def __len__(self) -> int:
        return sum(last - first + 1 for intervals in self.parts.values() for first, last in intervals)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(frozenset(self.parts.items()))

    def __repr__(self) -> str:
        return f"GtidSet({self.parts})"


def _joined(intervals: Iterable[tuple[int, int]]) -> Intervals:
    done: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if done and first <= done[-1][1] + 1:
            done[-1] = (done[-1][0], max(done[-1][1], last))
        else:
            done.append((first, last))
    return tuple(done)
