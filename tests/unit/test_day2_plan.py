"""The bench of day-2 runbooks: what it reads of a run, and what it sums up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SUMMARY = """demo: 3 of 3 restarted (method pod)
  demo-2 restarted (secondary)              64.5 s,  0.554 s without a write
  primary demo-0 -> demo-1                   1.3 s,  1.060 s without a write
longest time without a write: 1.062 s"""


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def made(number: int, ended: str = "Succeeded", load: float = 1.0, **outputs: str) -> Any:
    from day2 import Run, read

    run = Run("restart", number, f"rolling-restart-{number}", ended, took=60.0 + number, load=[0.5, load])
    read(run, {key.replace("_", "-"): value for key, value in outputs.items()})
    return run


def test_a_run_says_what_clients_felt_in_each_part_and_what_is_wrong_with_it() -> None:
    good = made(1, write_downtime_seconds="1.062", lost_writes="0", in_doubt_writes="2", summary=SUMMARY)
    assert (good.downtime, good.lost, good.in_doubt, good.wrong) == (1.062, 0, 2, [])
    assert good.parts == {"demo-2 restarted (secondary)": 0.554, "primary demo-0 -> demo-1": 1.06}
    assert "1.062 s without a write (primary demo-0 -> demo-1), lost 0, in doubt 2" in good.line()
    switch = "demo: primary demo-0 -> demo-1\n  writes: 618 acknowledged, 0 lost, 4 in doubt"
    assert made(9, write_downtime_seconds="0.3", lost_writes="0", summary=switch).in_doubt == 4
    assert made(2, write_downtime_seconds="0.5", lost_writes="3").wrong == ["3 acknowledged writes are lost"]
    cut_off = made(3, "Failed", write_downtime_seconds="", lost_writes="")
    assert cut_off.wrong == ["it ended Failed", "it does not tell what clients felt"] and cut_off.downtime is None


def test_figures_count_what_was_over_the_limit_and_what_nobody_knows() -> None:
    from day2 import summary

    runs = [
        made(1, load=4.0, write_downtime_seconds="0.5", lost_writes="0", in_doubt_writes="1"),
        made(2, load=8.0, write_downtime_seconds="2.5", lost_writes="0"),
        made(3, "Failed", load=6.0),
    ]
    told = summary(runs, 2.0)
    restart = told["restart"]
    assert restart["write_downtime_seconds"] == {"median": 1.5, "max": 2.5, "min": 0.5}
    assert restart["over_limit"] == {"limit_seconds": 2.0, "runs": 1}
    assert (restart["runs"], restart["downtime_unknown"], restart["lost_writes_unknown"]) == (3, 1, 1)
    assert restart["lost_writes"] == 0 and restart["in_doubt_writes"] == 1 and restart["load"]["max"] == 8.0
    assert [run["number"] for run in told["wrong"]] == [3]


def test_a_bench_that_is_cut_short_has_seen_all_kinds_and_goes_on_where_it_was(tmp_path: Path) -> None:
    import json
    from dataclasses import asdict

    from day2 import known, turns

    runs = turns({"restart": 20, "server": 0, "switch": 10})
    assert len(runs) == 30 and Counter(kind for kind, _ in runs[:15]) == {"restart": 10, "switch": 5}
    record = tmp_path / "runs.jsonl"
    assert known(record) == [] == known(None)
    one = made(7, write_downtime_seconds="0.5", lost_writes="0")
    record.write_text(json.dumps(asdict(one)) + "\n")
    assert known(record) == [one]
