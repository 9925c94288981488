"""A chunk's rows as a stream: decompressed and checked while they flow, cut between rows into pieces."""

from __future__ import annotations

import hashlib
import io
import re
from typing import IO, Protocol, cast

import zstandard

from steps.backup.encryption import Undecipherable
from steps.backup.load_plan import ChunkFile
from steps.backup.source import Stream
from steps.errors import StepError

BLOCK = 128 * 1024
"""Bytes that are read at a time: a chunk in flight costs a few of these, whatever its size."""


class DamagedChunk(StepError):
    """A chunk is not what the dump says it is."""


class Readable(Protocol):
    """What the driver reads rows from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, nothing at the end."""
        ...


class _Hashed(io.RawIOBase):
    """Passes bytes on and counts them into a SHA-256."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream, self.sha256, self.size = stream, hashlib.sha256(), 0

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        part = self.stream.read(size if size > 0 else BLOCK)
        self.sha256.update(part)
        self.size += len(part)
        return part


class ChunkRows:
    """The rows of one chunk, decompressed; the end of the stream is told only if all of it was as expected."""

    def __init__(self, chunk: ChunkFile, stream: Stream) -> None:
        self.chunk, self.offset = chunk, 0
        self._raw = _Hashed(stream)
        # Largest window that is accepted: one frame may ask for no more memory than this.
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        raw = cast(IO[bytes], self._raw)
        self._rows = decompressor.stream_reader(raw, read_size=BLOCK, read_across_frames=True, closefd=False)

    def read(self, size: int = BLOCK, /) -> bytes:
        """Return up to `size` bytes of rows, nothing at the end.

        Raises:
            DamagedChunk: the bytes are no zstd, too few, too many, or not those that were written.
        """
        try:
            part: bytes = self._rows.read(size)
        except Undecipherable as error:
            raise DamagedChunk(str(error)) from error
        except zstandard.ZstdError as error:
            raise DamagedChunk(f"{self.chunk.file} cannot be decompressed: {error}. Take another backup.") from error
        self.offset += len(part)
        if not part or self.offset > self.chunk.data_bytes:
            self._check()
        return part

    def skip(self, size: int) -> None:
        """Pass over rows that are loaded already."""
        while size and (part := self.read(min(size, BLOCK))):
            size -= len(part)
        if size:
            raise DamagedChunk(f"{self.chunk.file} is shorter than when its first part was loaded. Start anew.")

    def _check(self) -> None:
        if self.offset != self.chunk.data_bytes:
            raise DamagedChunk(
                f"{self.chunk.file} holds {'at least ' * (self.offset > self.chunk.data_bytes)}{self.offset} bytes of "
                f"rows, the dump says {self.chunk.data_bytes}: it is cut off or replaced. Take another backup."
            )
        while self._raw.read(BLOCK):
            pass
        if self.chunk.sha256 and self._raw.sha256.hexdigest() != self.chunk.sha256:
            raise DamagedChunk(f"{self.chunk.file} is not what was written (its SHA-256 differs). Take another backup.")


class Pieces:
    """Cuts rows into pieces of about `limit` bytes, between rows only.

    ``next_piece`` starts a piece and ``read`` gives it out to its end; `size` is how much of it was given out.

    Args:
        rows: the stream: lines that end with a line feed, in which a backslash escapes the character that follows.
    """

    def __init__(self, rows: Readable) -> None:
        self._rows = rows
        self._ready = self._rest = b""
        self.size, self._limit, self._last = 0, 0, False

    def next_piece(self, limit: int) -> bool:
        """Start the next piece; False where no rows are left."""
        self.size, self._limit, self._last = 0, limit, False
        self._rest = self._rest or self._block()
        return bool(self._rest)

    def read(self, size: int = BLOCK, /) -> bytes:
        """Return up to `size` bytes of the piece, nothing at its end."""
        if not self._ready and not self._last:
            block, self._rest = self._rest or self._block(), b""
            if self.size + len(block) >= self._limit:
                # The end of a long row may be many blocks away: they pass as they come.
                end = self._end(block)
                self._last = end > 0 or not block
                block, self._rest = (block[:end], block[end:]) if end else (block, b"")
            self._ready = block
        given, self._ready = self._ready[:size], self._ready[size:]
        self.size += len(given)
        return given

    def _block(self) -> bytes:
        """Read a block that does not end between an escape and what it escapes."""
        block = self._rows.read(BLOCK)
        while _escapes(block) % 2 and (more := self._rows.read(1)):
            block += more
        return block

    def _end(self, block: bytes) -> int:
        """Return where the first line ends in the block with which the limit is reached, 0 where none does."""
        start = max(0, self._limit - self.size - 1)
        while start and block[start - 1 : start] == b"\\":
            start -= 1
        found = _LINE_END.search(block, start)
        return found.end() if found else 0


_LINE_END = re.compile(rb"(?<!\\)(?:\\\\)*\n")
"""A line feed behind an odd number of backslashes belongs to a value."""


def _escapes(block: bytes) -> int:
    return len(block) - len(block.rstrip(b"\\"))
