"""The readers' work: tables to be cut, and chunks to be read, the largest first, each done by one connection."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from threading import Condition
from typing import Any

from steps.backup.dump_keys import Keys
from steps.backup.dump_plan import can_cut, stretches
from steps.backup.dump_rows import Block, Source, read
from steps.backup.dump_writer import Writer
from steps.backup.layout import Chunk
from steps.errors import StepError
from steps.mysql.connection import translated


class Stopped(StepError):
    """Another thread failed."""


@dataclass(frozen=True)
class TableTask:
    """A table or partition that nobody has begun; `rows` and `row_bytes` are of the statistics."""

    source: Source
    base: str
    rows: int
    row_bytes: int

    @property
    def weight(self) -> int:
        """Bytes, about."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class ChunkTask:
    """A chunk whose rows are known by their keys."""

    source: Source
    chunk: Chunk
    keys: Keys
    weight: int


Task = TableTask | ChunkTask


class Work:
    """Tasks for several threads; a task may bring new ones.

    Attributes:
        stopped: whether a thread failed, and the others are to end.
    """

    def __init__(self, tasks: list[TableTask]) -> None:
        self._number = count()
        self._waiting: list[tuple[int, int, Task]] = []
        self._cutting = 0
        self._changed = Condition()
        self.stopped = False
        for task in tasks:
            self.add(task)

    def add(self, task: Task) -> None:
        """Put a task in its place."""
        with self._changed:
            heapq.heappush(self._waiting, (-task.weight, next(self._number), task))
            self._changed.notify()

    def take(self) -> Task | None:
        """Return the largest task; None when all are done, or somebody failed. A table taken must be `cut`."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or self._waiting or not self._cutting)
            if self.stopped or not self._waiting:
                return None
            task = heapq.heappop(self._waiting)[2]
            self._cutting += isinstance(task, TableTask)
            return task

    def cut(self) -> None:
        """Say that a table brings no more tasks."""
        with self._changed:
            self._cutting -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End all threads at their next block."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()


class Reader:
    """One connection's part of the work.

    Args:
        connection: that sees the moment.
        work: shared by all readers.
        writer: where rows go.
        bytes_per_chunk: before compression, about.
        pace: is told of the bytes of every block, and may wait.
        where: what is read, for messages.
    """

    def __init__(
        self, connection: Any, work: Work, writer: Writer, bytes_per_chunk: int, pace: Callable[[int], None], where: str
    ) -> None:
        self.connection, self.work, self.writer = connection, work, writer
        self.bytes_per_chunk, self.pace, self.where = bytes_per_chunk, pace, where

    def run(self) -> None:
        """Do tasks until there are none; an error stops the other readers as well.

        Raises:
            Temporary: the server or the bucket is away.
            StepError: rows cannot be read.
        """
        import mysql.connector

        task: Task | None = None
        try:
            while (task := self.work.take()) is not None:
                if isinstance(task, ChunkTask):
                    self.writer.chunk(task.chunk, self._rows(task.source, task.keys), _known(task.source, task.keys))
                elif can_cut(task.source):
                    self._cut(task)
                else:
                    self.work.cut()
                    whole = task.source.whole
                    rows, known = self._rows(task.source, whole), _known(task.source, whole)
                    self.writer.chunks(task.base, rows, self.bytes_per_chunk, known)
        except mysql.connector.Error as error:
            self.work.stop()
            what = f"{self.where}, table {task.source.title}" if task else self.where
            raise translated(error, what, "of the backup") from error
        except BaseException:
            self.work.stop()
            raise

    def _cut(self, task: TableTask) -> None:
        found = stretches(self.connection, task.source, task.rows, task.row_bytes, self.bytes_per_chunk)
        number, (keys, rows) = 0, next(found)
        for following, more in found:
            if self.work.stopped:
                raise Stopped("Another connection of this backup failed.")
            self.work.add(ChunkTask(task.source, Chunk(task.base, number, False), keys, rows * task.row_bytes))
            number, keys, rows = number + 1, following, more
        self.work.add(ChunkTask(task.source, Chunk(task.base, number, True), keys, rows * task.row_bytes))
        self.work.cut()

    def _rows(self, source: Source, keys: Keys) -> Iterator[Block]:
        for block in read(self.connection, source, keys):
            if self.work.stopped:
                raise Stopped("Another connection of this backup failed.")
            self.pace(len(block.data))
            yield block


def _known(source: Source, keys: Keys) -> Keys | None:
    """Return what the manifest says of the rows: nothing where they come in no order."""
    return keys if source.key else None
