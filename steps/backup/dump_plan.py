"""Cutting a table into stretches of its primary key, so that readers share the work.

An integer that begins the key is cut into even ranges, by the server's estimates. Any other key (text, bytes, times,
decimals, several columns) is walked: the server counts off so many entries of the index and names the next one, as
MySQL Shell does it. A stretch is cut as soon as it is known, so others read while one still walks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from steps.backup.chunks import KeyRange, plan, rows_per_chunk
from steps.backup.dump_columns import text_of
from steps.backup.dump_keys import Keys, cuttable, read, written
from steps.backup.dump_rows import Source
from steps.mysql.connection import query, quoted

FEW_ROWS = 1000
"""Statistics that promise fewer rows are checked: those of a table that was just filled say 0."""


def stretches(
    connection: Any, source: Source, rows: int, row_bytes: int, bytes_per_chunk: int
) -> Iterator[tuple[Keys, int]]:
    """Yield the stretches of a table whose key can cut it, in order, each with its number of rows by the statistics.

    Args:
        connection: that sees the moment, so that the first and the last row of it are within.
        source: has a key.
        rows: of it, by the statistics.
        row_bytes: of it, by the statistics.
        bytes_per_chunk: before compression.
    """
    wanted = rows_per_chunk(row_bytes, bytes_per_chunk)
    if FEW_ROWS <= rows <= wanted:
        yield source.whole, rows
    elif source.key[0].integer and rows >= FEW_ROWS:
        yield from _ranges(connection, source, rows, row_bytes, bytes_per_chunk)
    else:
        yield from _walk(connection, source, source.whole, wanted)


def can_cut(source: Source) -> bool:
    """Whether a table can be cut: else one reader reads it all."""
    return bool(source.key) and cuttable(source.key[0])


def _ranges(
    connection: Any, source: Source, rows: int, row_bytes: int, bytes_per_chunk: int
) -> Iterator[tuple[Keys, int]]:
    key = quoted(source.key[0].name)
    low, high = query(connection, f"SELECT MIN({key}), MAX({key}) FROM {source.origin}")[0]
    if low is None:
        yield source.whole, 0
        return

    def keys_of(piece: KeyRange) -> Keys:
        return Keys((piece.low,), (piece.high,), partition=source.partition)

    def estimate(piece: KeyRange) -> int:
        # The traditional format has the estimate as a column of its own. Where an index is forced, nobody estimates.
        sql = f"EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {source.name}{source.where(keys_of(piece))}"
        return int(query(connection, sql)[0][9] or 0)

    wanted = rows_per_chunk(row_bytes, bytes_per_chunk)
    for piece in plan(KeyRange(int(low), int(high), rows), row_bytes, bytes_per_chunk, estimate):
        if piece.span == 1 and piece.rows > 2 * wanted and len(source.key) > 1:
            yield from _walk(connection, source, keys_of(piece), wanted)
        else:
            yield keys_of(piece), piece.rows


def _walk(connection: Any, source: Source, bounds: Keys, wanted: int) -> Iterator[tuple[Keys, int]]:
    """Cut a stretch by the whole key, whatever its columns are; one of an unknown order is not cut."""
    left = bounds
    names = ", ".join(written(column) for column in source.key)
    while all(cuttable(column) for column in source.key):
        sql = f"SELECT {names} FROM {source.origin}{source.where(left)}{source.order} LIMIT {wanted}, 1"
        found = query(connection, sql)
        if not found:
            break
        edge = tuple(read(column, text_of(value)) for column, value in zip(source.key, found[0], strict=True))
        yield replace(left, high=edge, inclusive=False), wanted
        left = replace(left, low=edge)
    yield left, wanted
