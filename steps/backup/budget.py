"""How much memory a backup may use, and what follows from it: connections, and the size of an upload's parts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from steps.errors import BadParameters

MIB = 1024 * 1024
FIXED_MIB = 116
"""What the step needs before it reads a row: Python, boto3, the client libraries, one connection (measured)."""
READER_MIB = 5
"""What one connection needs beside its upload: buffers of rows, LuaJIT, zstd (measured)."""
COPIES = 3
"""A part is in memory so often at most: as it grows, as it is taken out, and as it is encrypted."""
SMALLEST_PART, LARGEST_PART = 5 * MIB, 16 * MIB
"""S3 takes no smaller part but the last; larger ones are not faster."""


@dataclass(frozen=True)
class Budget:
    """What a backup may take.

    Attributes:
        readers: connections that read rows.
        part_bytes: size of an upload's first parts.
    """

    readers: int
    part_bytes: int


def budget(memory_mib: int, wanted: int) -> Budget:
    """Return what a backup may take: as many connections as wanted, if the smallest parts leave room for them.

    Raises:
        BadParameters: not even one connection has room.
    """
    free = memory_mib - FIXED_MIB
    readers = min(wanted, free * MIB // (READER_MIB * MIB + COPIES * SMALLEST_PART))
    if readers < 1:
        need = FIXED_MIB + READER_MIB + COPIES * SMALLEST_PART // MIB
        raise BadParameters(f"memory={memory_mib} MiB is too little for one connection: give it {need} or more.")
    part = (free * MIB // readers - READER_MIB * MIB) // COPIES
    return Budget(readers, min(part, LARGEST_PART))
