"""How long does a step take to start? `step --help` and a bare Python, both in one run, as a ratio."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from tiphys.local.settings import step_program

TIMES = 15


def seconds(command: list[str]) -> float:
    """Run a command once; return the wall time in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Run both sides alternately and print one JSON line."""
    step, bare = [step_program(), "--help"], [sys.executable, "-c", "pass"]
    seconds(step), seconds(bare)
    pairs = [(seconds(step), seconds(bare)) for _ in range(TIMES)]
    ours, python = (statistics.median(side) for side in zip(*pairs, strict=True))
    figures = {
        "step_help_seconds": round(ours, 3),
        "python_seconds": round(python, 3),
        "ratio": round(ours / python, 1),
    }
    print(json.dumps({"bench": "start", "runs": TIMES, **figures}))


if __name__ == "__main__":
    main()
