"""What is known of a game day while it goes on, kept in the bucket: a step that starts again goes on from it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from steps.backup.objects import Bucket, NoObject
from steps.game_day.plan import Entry

FILE = "game-day.json"
SCHEMA = 1


@dataclass
class Look:
    """Whether the cluster was steady, before a drill or after the last.

    Attributes:
        at: ISO time of the last look.
        steady: what it amounts to.
        waited_seconds: until it was, or until patience ended.
        seen: the group and the Routers in words.
        lacking: what kept it from being steady at the last look.
    """

    at: str
    steady: bool
    waited_seconds: float
    seen: str
    lacking: list[str] = field(default_factory=list)


@dataclass
class Child:
    """The run of one drill.

    Attributes:
        run: its name.
        uid: of its Workflow.
        phase: as Argo names it, at the last look.
        message: of the Workflow, or why it was stopped.
        report: key of its report.json, empty where there is none.
        page: key of its report.html.
    """

    run: str
    uid: str
    phase: str = ""
    message: str = ""
    report: str = ""
    page: str = ""


@dataclass
class State:
    """A game day so far.

    Attributes:
        game_day: name of its workflow.
        namespace: of the cluster.
        cluster: its name.
        started_at: ISO time.
        entries: the drills in their order.
        looks: by number of the drill after which the look was; 0 is before the first.
        children: by number of the drill, from 1.
        stopped: why it ended before its last drill; empty where it did not.
        ended_at: ISO time, empty while it goes on.
        cluster_uid: of the cluster: another one of the same name has a history of its own.
    """

    game_day: str
    namespace: str
    cluster: str
    started_at: str
    entries: list[Entry]
    looks: dict[int, Look] = field(default_factory=dict)
    children: dict[int, Child] = field(default_factory=dict)
    stopped: str = ""
    ended_at: str = ""
    cluster_uid: str = ""


def now() -> str:
    """Return the time as it is written here."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def folder(game_day: str) -> str:
    """Return the game day's folder in the bucket."""
    return os.environ.get("TIPHYS_ARTIFACT_FOLDER") or f"runs/{game_day}"


def to_json(state: State) -> bytes:
    """Return the file."""
    return (json.dumps({"schema": SCHEMA, **asdict(state)}, indent=1) + "\n").encode()


def from_json(content: bytes) -> State:
    """Return the state of a file."""
    values: dict[str, Any] = json.loads(content)
    values.pop("schema")
    values["entries"] = [Entry(**one) for one in values["entries"]]
    values["looks"] = {int(number): Look(**one) for number, one in values["looks"].items()}
    values["children"] = {int(number): Child(**one) for number, one in values["children"].items()}
    return State(**values)


def load(bucket: Bucket, game_day: str) -> State | None:
    """Return what is known of a game day, None where nothing is."""
    try:
        return from_json(bucket.get(f"{folder(game_day)}/{FILE}"))
    except NoObject:
        return None


def save(bucket: Bucket, state: State) -> None:
    """Keep the state."""
    bucket.put(f"{folder(state.game_day)}/{FILE}", to_json(state))
