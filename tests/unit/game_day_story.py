"""A game day as values: its state, its drills' reports, and runs before it."""

from __future__ import annotations

from typing import Any

from steps.game_day import plan
from steps.game_day.history import Record
from steps.game_day.state import Child, Look, State

STARTED = "2026-11-25T10:00:00+00:00"


def look(*lacking: str) -> Look:
    return Look(STARTED, not lacking, 1.2, "3/3 ONLINE, primary demo-0; 2 of 2 Routers ready", list(lacking))


def report(number: int, fault: str, downtime: float | None = 0.4, **changes: Any) -> dict[str, Any]:
    made = {
        "verdict": "PASS",
        "sentence": f"When it happened, writes stopped for {downtime} s and no acknowledged write was lost.",
        "run": plan.child_name("gd", number, fault),
        "namespace": "tiphys",
        "cluster": "demo",
        "fault": fault,
        "started_at": f"2026-11-25T10:{number:02d}:00.000+00:00",
        "numbers": {
            "write_downtime_seconds": downtime,
            "lost_writes": 0,
            "acknowledged_writes": 1200,
            "full_redundancy_seconds": None,
        },
        "parameters": {"max_write_downtime_seconds": 30.0, "max_lost_writes": 0},
        "measuring": {"end": "recovered", "end_reason": "the group is whole"},
        "versions": {"MySQL": "9.7.4"},
    }
    return made | changes


def state(drills: str, *, ran: int | None = None, **changes: Any) -> State:
    """A game day whose first `ran` drills ran (all where None), steady all the time."""
    entries = plan.read(drills, allow_outage=True)
    ran = len(entries) if ran is None else ran
    children = {
        number: Child(
            plan.child_name("gd", number, entries[number - 1].fault), f"uid-{number}", "Succeeded", "", "r", "p"
        )
        for number in range(1, ran + 1)
    }
    looks = {number: look() for number in range(ran + 1)}
    made = State("gd", "tiphys", "demo", STARTED, entries, looks, children, "", "2026-11-25T10:09:00+00:00")
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def record(number: int, fault: str, downtime: float | None, **changes: Any) -> Record:
    """A run `number` weeks into 2026."""
    like = plan.read(fault)[0].like
    values: dict[str, Any] = {
        "run": f"old-{number}",
        "game_day": f"gd-{number}",
        "namespace": "tiphys",
        "cluster": "demo",
        "fault": fault,
        "at": f"2026-{number // 4 + 1:02d}-{number % 4 * 7 + 1:02d}T10:00:00+00:00",
        "verdict": "PASS",
        "like": like,
        "numbers": {"write_downtime_seconds": downtime, "lost_writes": 0},
        "report": f"runs/old-{number}/report.json",
    }
    return Record(**(values | changes))
