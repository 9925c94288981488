"""The bench that disturbs drills: which rounds it plans, and what it sums up. What it finds is a scenario test."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def test_a_plan_that_is_cut_short_has_seen_all_kinds_and_all_drills() -> None:
    from chaos import plan

    rounds = plan({"kill": 50, "stop": 20, "terminate": 20}, [("crash", 10)], ["a", "b", "c"])
    assert Counter(kind for kind, _, _ in rounds) == {"kill": 50, "stop": 20, "terminate": 20, "repeat": 10}
    drills = Counter(name for kind, _, name in rounds if kind == "kill")
    assert max(drills.values()) - min(drills.values()) <= 1
    half = Counter(kind for kind, _, _ in rounds[: len(rounds) // 2])
    assert half == {"kill": 25, "stop": 10, "terminate": 10, "repeat": 5}


def test_a_summary_tells_lost_writes_and_those_that_nobody_knows_of() -> None:
    from chaos import Round, summary

    rounds = [
        Round(
            "repeat", 1, "crash", 1, outputs={"lost-writes": "2", "write-downtime-seconds": "3.5", "verdict": "FAIL"}
        ),
        Round(
            "repeat", 2, "crash", 1, outputs={"lost-writes": "0", "write-downtime-seconds": "1.5", "verdict": "PASS"}
        ),
        Round("repeat", 3, "crash", 1, failures=["verdict none"]),
        Round("kill", 1, "crash", 1, hit="drill-measure: injected", left=["x"], clean_after=4.0),
        Round("stop", 1, "crash", 1, hit="between two steps", clean_after=2.0),
    ]
    told = summary(rounds, 1)
    crash = told["undisturbed"]["crash"]
    assert (crash["drills"], crash["lost_writes"], crash["lost_writes_unknown"]) == (3, 2, 1)
    assert crash["write_downtime_seconds"] == {"median": 2.5, "worst": 3.5}
    assert told["left_to_the_reaper"] == 1 and told["seconds_until_clean"] == {"median": 3.0, "worst": 4.0}
    assert [made["number"] for made in told["failures"]] == [3]
    assert told["hit"] == {"kill drill-measure": 1, "stop between two steps": 1}


def test_only_the_platforms_own_process_of_that_start_is_killed(tmp_path: Path) -> None:
    import os
    import subprocess

    from chaos_parts.platform import Platform
    from chaos_parts.processes import Victim, kill

    from tiphys.local.kubelet.processes import read_stat
    from tiphys.local.settings import PLATFORM_VARIABLE

    platform = Platform.__new__(Platform)
    platform.home = tmp_path.resolve()
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    marks = {"ours": {PLATFORM_VARIABLE: str(platform.home)}, "another's": {PLATFORM_VARIABLE: "/another"}}
    running = {
        whose: subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **mark}, start_new_session=True
        )
        for whose, mark in marks.items()
    }
    try:
        for process in running.values():
            assert process.stdout is not None and process.stdout.readline()
        ours, another = running["ours"], running["another's"]
        started = {whose: stat.started for whose, one in running.items() if (stat := read_stat(one.pid)) is not None}
        assert not kill(platform, Victim(another.pid, started["another's"], "", ""))
        assert not kill(platform, Victim(ours.pid, started["ours"] - 1, "", "")), "a later process of its number"
        assert ours.poll() is None and another.poll() is None
        assert kill(platform, Victim(ours.pid, started["ours"], "", "")) and ours.wait(20) == -9
        assert not kill(platform, Victim(ours.pid, started["ours"], "", "")), "it is gone"
    finally:
        for process in running.values():
            process.communicate(timeout=20)
