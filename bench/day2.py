"""What do day-2 runbooks cost clients: rolling restarts and switches of the primary, again and again, under writes?

Against a running platform (``tiphys up``) with a cluster that nothing else is at. Each run is submitted as a person
would (``tiphys submit``); the next one begins when the group is whole and every pod is Ready. A run is wrong if it
failed, lost an acknowledged write, or could not tell. One line for each run, with the machine's load meanwhile; then
one JSON line with the figures of all. The exit code is 1 after a wrong run. Which runs were over ``--limit`` is only
told: how long things take is the machine's doing as well.

Usage: ``python bench/day2.py [--restarts 3] [--servers 0] [--switches 3] [--record FILE]``
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from chaos import commit
from chaos_parts.platform import Platform, Stuck

from steps.errors import StepError
from steps.kube.pods import is_ready
from tiphys.local.settings import Settings

KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "restart": ("rolling-restart", {}),
    "server": ("rolling-restart", {"method": "server"}),
    "switch": ("switch-primary", {}),
}
"""Kind of run: its template, and its parameters but for the cluster."""
LONGEST_RUN = 3600.0
LOOK_SECONDS = 1.0
FELT = re.compile(r"^ +(.+?) {2,}([0-9.]+) s, +([0-9.]+) s without a write$", re.MULTILINE)
"""A line of the summary of a rolling restart: what was done, how long it took, the longest time without a write."""
DOUBT = re.compile(r"lost, (\d+) in doubt")


@dataclass
class Run:
    """One run and what came of it.

    Attributes:
        kind: of `KINDS`.
        number: counts from 1 within its kind.
        name: of the workflow.
        ended: its phase.
        took: seconds from submission to its end.
        downtime: seconds of the longest time without an acknowledged write; None where nobody could tell.
        lost: acknowledged writes that are missing; None where nobody could tell.
        in_doubt: writes whose fate their client does not know; None where it is not told.
        parts: longest time without a write during each part of the run, by what was done.
        load: the machine's load average of one minute: before the run, and the highest within it.
        outputs: of the run.
        wrong: what is wrong with it; empty for a good one.
        commit: of the bench and the steps.
    """

    kind: str
    number: int
    name: str = ""
    ended: str = ""
    took: float = 0.0
    downtime: float | None = None
    lost: int | None = None
    in_doubt: int | None = None
    parts: dict[str, float] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    commit: str = ""

    def line(self) -> str:
        """Return the run in one line."""
        felt = "?" if self.downtime is None else f"{self.downtime:.3f} s"
        worst = max(self.parts.items(), key=lambda part: part[1], default=("", 0.0))[0]
        wrong = f"  WRONG: {'; '.join(self.wrong)}" if self.wrong else ""
        load = " to ".join(f"{one:.1f}" for one in self.load)
        return (
            f"{time.strftime('%H:%M:%S')} {self.kind:8} {self.number:3} {self.name:24} {felt:>8} without a write"
            f"{f' ({worst})' if worst else ''}, lost {_shown(self.lost)}, in doubt {_shown(self.in_doubt)}; "
            f"{self.ended} after {self.took:.0f} s, load {load}{wrong}"
        )


def _shown(number: int | None) -> str:
    return "?" if number is None else str(number)


def read(made: Run, outputs: Mapping[str, str]) -> None:
    """Fill in what a run's outputs say, and what is wrong with it."""
    made.outputs = dict(outputs)
    if text := outputs.get("write-downtime-seconds"):
        made.downtime = float(text)
    if text := outputs.get("lost-writes"):
        made.lost = int(text)
    # switch-primary tells them in its summary only.
    told = DOUBT.search(outputs.get("summary", ""))
    if text := outputs.get("in-doubt-writes") or (told[1] if told else ""):
        made.in_doubt = int(text)
    made.parts = {what: float(felt) for what, _, felt in FELT.findall(outputs.get("summary", ""))}
    if made.ended != "Succeeded":
        made.wrong.append(f"it ended {made.ended}")
    if made.lost:
        made.wrong.append(f"{made.lost} acknowledged writes are lost")
    if made.downtime is None or made.lost is None:
        made.wrong.append("it does not tell what clients felt")


def perform(platform: Platform, kind: str, number: int) -> Run:
    """Do one run on a cluster that is whole, and return what came of it."""
    template, given = KINDS[kind]
    made = Run(kind, number, commit=commit())
    try:
        platform.until("the group is whole and every pod is ready", lambda: _is_calm(platform))
        made.load = [os.getloadavg()[0]] * 2
        began = time.monotonic()
        made.name = platform.submit(template, {"cluster": platform.cluster, **given})

        def over() -> bool:
            made.load[1] = max(made.load[1], os.getloadavg()[0])
            return platform.over(made.name)

        platform.until(f"{made.name} ends", over, seconds=LONGEST_RUN, pause=LOOK_SECONDS)
        made.ended, made.took = platform.phase(made.name), round(time.monotonic() - began, 1)
        read(made, platform.outputs(made.name))
    except (Stuck, StepError) as error:
        made.wrong.append(str(error))
    return made


def _is_calm(platform: Platform) -> bool:
    kube, name = platform.kube, platform.cluster
    return platform.topology().is_whole and all(map(is_ready, [*kube.servers(name), *kube.routers(name)]))


def summary(runs: Iterable[Run], limit: float) -> dict[str, Any]:
    """Return the figures of all runs."""
    runs = list(runs)
    kinds = dict.fromkeys(run.kind for run in runs)
    return {
        "bench": "day2",
        "commits": Counter(run.commit for run in runs),
        "cores": os.cpu_count(),
        **{kind: _figures([run for run in runs if run.kind == kind], limit) for kind in kinds},
        "wrong": [asdict(run) for run in runs if run.wrong],
    }


def _figures(runs: list[Run], limit: float) -> dict[str, Any]:
    told = [run.downtime for run in runs if run.downtime is not None]
    loads = [run.load[1] for run in runs if run.load]
    return {
        "runs": len(runs),
        "write_downtime_seconds": _spread(told),
        "over_limit": {"limit_seconds": limit, "runs": sum(one > limit for one in told)},
        "downtime_unknown": len(runs) - len(told),
        "lost_writes": sum(run.lost or 0 for run in runs),
        "lost_writes_unknown": sum(run.lost is None for run in runs),
        "in_doubt_writes": sum(run.in_doubt or 0 for run in runs),
        "seconds": _spread([run.took for run in runs if run.took]),
        "load": _spread(loads),
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": round(statistics.median(values), 3), "max": max(values), "min": min(values)}


def turns(wanted: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the runs in turns (kind, number), so that a bench that is cut short has seen all kinds."""
    listed = [(number / count, kind, number) for kind, count in wanted.items() for number in range(1, count + 1)]
    return [(kind, number) for _, kind, number in sorted(listed, key=lambda one: one[0])]


def known(record: Path | None) -> list[Run]:
    """Return the runs of a record."""
    if record is None or not record.exists():
        return []
    return [Run(**json.loads(line)) for line in record.read_text().splitlines()]


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=lambda: Settings.load().home, help="The platform.")
@click.option("--cluster", default="demo", show_default=True, help="An InnoDBCluster.")
@click.option("--restarts", type=click.IntRange(0), default=3, show_default=True, help="Rolling restarts of all pods.")
@click.option("--servers", type=click.IntRange(0), default=0, show_default=True, help="Of mysqld within its pods.")
@click.option("--switches", type=click.IntRange(0), default=3, show_default=True, help="Switches of the primary.")
@click.option("--limit", type=float, default=2.0, show_default=True, help="Seconds; runs over it are counted.")
@click.option("--minutes", type=click.FloatRange(0), default=0.0, help="Begin no run after as long. [default: any]")
@click.option("--record", type=click.Path(path_type=Path), help="A file of runs: appended to, and gone on from.")
def main(
    home: Path,
    cluster: str,
    restarts: int,
    servers: int,
    switches: int,
    limit: float,
    minutes: float,
    record: Path | None,
) -> None:
    """Restart and switch a cluster of a running platform again and again, and tell what clients felt."""
    for one_that_ends in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
        signal.signal(one_that_ends, signal.default_int_handler)
    began, platform, done = time.monotonic(), Platform(home, cluster), known(record)
    had = {(run.kind, run.number) for run in done}
    try:
        for kind, number in turns({"restart": restarts, "server": servers, "switch": switches}):
            if (kind, number) in had:
                continue
            if minutes and time.monotonic() - began > minutes * 60:
                break
            made = perform(platform, kind, number)
            done.append(made)
            print(made.line(), flush=True)
            if record:
                with record.open("a") as file:
                    file.write(json.dumps(asdict(made)) + "\n")
    except (KeyboardInterrupt, subprocess.SubprocessError) as error:
        print(f"ended early: {error!r}", file=sys.stderr)
    told = summary(done, limit)
    print(json.dumps(told))
    sys.exit(1 if told["wrong"] else 0)


if __name__ == "__main__":
    main()
