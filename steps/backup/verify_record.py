"""What the steps of a verification tell each other and the report: one JSON file for each step."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from steps.backup.verify_queries import Answer, Question
from steps.errors import BadParameters

SCHEMA = 1
"""Version of these files."""

ORDER, OBJECTS, SCRATCH = "order.json", "objects.json", "scratch.json"
RESTORATION, CHECKS = "restoration.json", "checks.json"

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What is to be verified, and how: made once at the start.

    Attributes:
        run: name of the workflow.
        namespace: of the cluster and of the scratch cluster.
        cluster: whose backup it is.
        backup: its name.
        place: ``s3://bucket/prefix``.
        mode: objects or full.
        started_at: ISO time.
        program: version of this program.
        problem: why tiphys.json cannot be read; empty where it can. What follows is empty then.
        moment: ISO time that the backup holds.
        age_seconds: from the moment to the start.
        rows: in the backup, None where its maker did not count them.
        tables: number of tables.
        bytes: of all its objects.
        files: number of its objects, tiphys.json not counted.
        server_version: of the source.
        method: what made it: tiphys or operator.
        encrypted: whether its files are encrypted.
        keyless: tables without a primary key.
        scratch: name of the scratch cluster.
        servers: of the scratch cluster.
        parallel: connections, and objects read at the same time.
        timeout_seconds: how long the scratch cluster may take to come up.
        query_seconds: how long each question may take.
        max_rto: budget in seconds, None for none.
        max_age: likewise for the age.
        queries_from: ConfigMap of the questions, empty where there is none.
        questions: the user's.
    """

    run: str
    namespace: str
    cluster: str
    backup: str
    place: str
    mode: str
    started_at: str
    program: str = ""
    problem: str = ""
    moment: str = ""
    age_seconds: float = 0.0
    rows: int | None = None
    tables: int = 0
    bytes: int = 0
    files: int = 0
    server_version: str = ""
    method: str = ""
    encrypted: bool = False
    keyless: tuple[str, ...] = ()
    scratch: str = ""
    servers: int = 1
    parallel: int = 4
    timeout_seconds: int = 900
    query_seconds: float = 60.0
    max_rto: float | None = None
    max_age: float | None = None
    queries_from: str = ""
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class Damage:
    """A file or a table that is not as it should be, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return (self.why if self.why.startswith(f"{self.what} ") else f"{self.what} {self.why}").rstrip(".")


@dataclass(frozen=True)
class Objects:
    """The objects in S3, compared with tiphys.json.

    Attributes:
        files: that were looked at.
        bytes: that were read.
        seconds: that it took.
        damaged: what is missing or not as written.
        strangers: objects of the folder that tiphys.json does not name.
    """

    files: int
    bytes: int
    seconds: float
    damaged: tuple[Damage, ...] = ()
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scratch:
    """The scratch cluster: ISO times of when it was asked for and when it was ready."""

    name: str
    requested_at: str
    ready_at: str
    server_version: str
    servers: int


@dataclass(frozen=True)
class Restoration:
    """The restore.

    Attributes:
        started_at: ISO time of its last attempt.
        ended_at: likewise.
        rows: that it brought.
        error: why it failed, empty where it did not.
        refused: whether it refused to begin: then that is no fault of the backup's.
    """

    started_at: str
    ended_at: str
    rows: int = 0
    error: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Table:
    """One restored table.

    Attributes:
        name: schema and table.
        rows: that are there.
        expected: that the backup says, None where it does not.
        chunks: of the backup.
        same: chunks whose bytes came out of the table again, to the last one.
        uncompared: chunks that could not be compared, because the backup does not say which rows they held.
        check: what CHECK TABLE said.
        bad: what is wrong; empty where nothing is.
        seconds: that comparing, counting and checking took, connections added up.
    """

    name: str
    rows: int
    expected: int | None
    chunks: int
    same: int
    uncompared: int
    check: str
    bad: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Kind:
    """Objects of one kind: number in the dump, number found again, and what is wrong."""

    kind: str
    expected: int
    found: int
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checks:
    """Everything that was asked of the restored data."""

    started_at: str
    ended_at: str
    tables: tuple[Table, ...] = ()
    kinds: tuple[Kind, ...] = ()
    answers: tuple[Answer, ...] = ()


def now() -> str:
    """Return the time as it is written here."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one ISO time to another."""
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)


def dump(record: Any) -> bytes:
    """Return a record as JSON."""
    document = {"schema": SCHEMA, **dataclasses.asdict(record)}
    return (json.dumps(document, indent=1, default=str, ensure_ascii=False) + "\n").encode()


def parse(kind: type[T], content: bytes, file: str) -> T:
    """Read a record.

    Raises:
        BadParameters: it is none of this kind and version.
    """
    try:
        values = json.loads(content)
        if (schema := values.pop("schema", None)) != SCHEMA:
            raise BadParameters(f"{file} has schema {schema}, this program reads {SCHEMA}: use its own version.")
        made: T = _built(kind, values)
        return made
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadParameters(f"{file} is not what the step before writes: {type(error).__name__} {error}") from error


def load(kind: type[T], path: Path) -> T:
    """Read a record from a file; see `parse`."""
    return parse(kind, path.read_bytes(), str(path))


def _built(hint: Any, value: Any) -> Any:
    """Return a value of JSON as what a type hint says: dataclasses, tuples of them, optional ones."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return hint(**{key: _built(hints[key], item) for key, item in value.items()})
    if typing.get_origin(hint) is tuple:
        return tuple(_built(typing.get_args(hint)[0], item) for item in value)
    if isinstance(hint, types.UnionType):
        return None if value is None else _built(typing.get_args(hint)[0], value)
    return value
