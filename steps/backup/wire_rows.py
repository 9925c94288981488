"""Reading a result set off the wire as finished lines: LuaJIT takes the packets apart, Python moves buffers.

The server sends the columns as they are, which costs it a third of what joining them does, and a row of any length goes
through buffers of fixed size. The code in ``rows.lua`` does what a Python loop would need fifteen times the time for.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from steps.errors import StepError

PIECE = 64 * 1024
"""Bytes that are taken off the socket at once; TLS gives 16 KiB."""
BLOCK = 512 * 1024
"""A block of lines is handed on when it has this many bytes."""
MOST = 3
"""Bytes that one byte of a packet becomes at most: a NULL is one, and a backslash, an N and a tab are written."""
SLACK = 64

ESCAPED, PLAIN, BASE64 = 0, 1, 2
"""How a column is written: text with escapes, text that needs none (numbers, times), bytes in Base64. ``rows.lua`` has
the same numbers."""


@dataclass(frozen=True)
class Block:
    """Finished lines; of a row larger than a block, the piece that ends it counts it.

    Attributes:
        data: valid until the next block is asked for.
        rows: that end in it.
    """

    data: bytes | memoryview
    rows: int


_own = threading.local()


def _lua() -> Any:
    """Return this thread's LuaJIT, whose compiled code serves one result set after the other, and its function."""
    if not hasattr(_own, "lua"):
        from lupa.luajit21 import LuaRuntime

        lua = LuaRuntime(encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False)
        _own.lua = lua, lua.execute(files("steps.backup").joinpath("rows.lua").read_bytes())
    return _own.lua


class Lines:
    """Turns the packets of one result set into lines.

    Args:
        kinds: of each column, as ESCAPED, PLAIN or BASE64.
    """

    def __init__(self, kinds: Sequence[int]) -> None:
        lua, make = _lua()
        self._feed, self._text = make(lua.table_from(list(kinds)))
        # The slack lets the code copy eight bytes at a time beyond a field's end.
        self._in, self._out = bytearray(PIECE + SLACK), bytearray(BLOCK + MOST * PIECE + SLACK)
        self._from, self._to = (ctypes.addressof(ctypes.c_char.from_buffer(buffer)) for buffer in (self._in, self._out))
        self._kept = 0
        self.length = self.rows = self.ended = 0

    @property
    def room(self) -> memoryview:
        """Where the next bytes of the connection belong."""
        return memoryview(self._in)[self._kept : PIECE]

    @property
    def text(self) -> bytes:
        """The packet after the rows."""
        return bytes(self._text())

    def took(self, count: int) -> None:
        """Work on `count` new bytes in `room`.

        Raises:
            StepError: they are no rows.
        """
        from lupa.luajit21 import LuaError

        total = self._kept + count
        try:
            used, self.length, rows, self.ended = self._feed(self._from, total, self._to, self.length)
        except LuaError as error:
            what = str(error).split("\n")[0]
            raise StepError(f"The server's rows cannot be read: {what}. Report this, with the table.") from error
        self.rows += int(rows)
        self._kept = total - used
        self._in[: self._kept] = self._in[used:total]

    def block(self) -> Block:
        """Return the lines so far, and begin again."""
        made = Block(memoryview(self._out)[: self.length], self.rows)
        self.length = self.rows = 0
        return made


def blocks_of(connection: Any, sql: str, kinds: Sequence[int]) -> Iterator[Block]:
    """Yield the rows of a statement as blocks of lines.

    Args:
        connection: of :mod:`steps.mysql.driver`; no other statement may run on it before the end.
        sql: a SELECT of as many columns as `kinds`.
        kinds: how each column is written.

    Raises:
        mysql.connector.Error: the server says no, or is gone.
        StepError: what it sends are no rows.
    """
    lines = Lines(kinds)
    for count in connection.raw_rows(sql, lambda: lines.room):
        lines.took(count)
        if lines.ended:
            if lines.length:
                yield lines.block()
            connection.raw_rows_end(lines.text)
            return
        if lines.length >= BLOCK:
            yield lines.block()
