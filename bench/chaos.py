"""Do drills leave nothing behind, whatever happens to them, and is no acknowledged write ever lost?

Against a running platform (``tiphys up``) with a cluster that is open to drills. Each round starts a drill, and at a
random moment of it, from its first step to its undoing, kills the process of the step that runs (``--kills``), or
stops (``--stops``), terminates (``--terminates``) or deletes (``--deletes``) the run. Where the run has ended and left
something, one reaper is started, as the CronWorkflow ``reap`` would at its next time, and within one reaper period
there must be: no cordon, annotation, intent, ConfigMap entry or NetworkPolicy of a drill, no stopped process, no
process or pod of the run, no lock, no ledger, and a whole group. ``--repeat crash:20`` runs drills without disturbing
them, sums lost writes and tells downtimes. ``--aways`` kills the API server, again and again for some seconds, when
the undoing begins.

One line for each round, then one JSON line; exit code 1 after a failure, whose state is kept below ``--dumps``.
``--seed 3 --round kill:7`` runs one round again: same drill, same moment as a share of the drill's duration.

Usage: ``python bench/chaos.py [--kills 3] [--stops 1] [--terminates 1] [--deletes 1] [--aways 1] [--repeat DRILL:N]``
"""

from __future__ import annotations

import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from chaos_parts.drills import FEW_CLIENTS, OUTAGES, Drill, drills, spread
from chaos_parts.platform import Platform, Stuck
from chaos_parts.processes import hold_down, kill, victims
from chaos_parts.traces import Traces, dump

from steps.errors import StepError
from steps.kube.errors import Unreachable
from tiphys.local.settings import Settings

PERIOD_SECONDS = 300.0
"""Of the CronWorkflow `reap`."""
AWAY_SECONDS = 6.0
TRIES = 6
"""How often another moment is drawn for a round whose drill was over before it."""
GENTLE = "repeat"
"""The kind of a round in which nobody disturbs the drill."""


@dataclass
class Round:
    """One round and what came of it.

    Attributes:
        kind: kill, stop, terminate, delete, away or repeat.
        number: counts from 1 within its kind.
        drill: name of the drill.
        seed: of the whole bench.
        run: name of the workflow.
        share: the moment as a share of the drill's usual duration.
        moment: the same in seconds after the submission; when it really was.
        hit: the step, and the newest event that it had logged.
        ended: phase of the run.
        took: seconds from submission to the run's end.
        left: what was left when the run had ended, before any reaper.
        reaper: phase of the reaper that was started then, if something was left.
        clean_after: seconds from the run's end until nothing was left.
        outputs: of the run.
        failures: what is wrong; empty for a good round.
        commit: of the bench and the steps.
    """

    kind: str
    number: int
    drill: str
    seed: int
    run: str = ""
    share: float = 0.0
    moment: float = 0.0
    hit: str = ""
    ended: str = ""
    took: float = 0.0
    left: list[str] = field(default_factory=list)
    reaper: str = ""
    clean_after: float | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    commit: str = ""

    def line(self) -> str:
        """Return the round in one line."""
        head = f"{self.kind:9} {self.number:3} {self.drill:18} {self.run:24}"
        if self.kind == GENTLE:
            told = " ".join(
                f"{key}={self.outputs.get(key) or '?'}" for key in ("verdict", "lost-writes", "write-downtime-seconds")
            )
        else:
            told = f"at {self.moment:5.1f} s {self.hit:44} left {len(self.left)}, reaper {self.reaper or 'not needed'}"
        clean = "never" if self.clean_after is None else f"{self.clean_after:.1f} s"
        failed = f"  FAILED: {'; '.join(self.failures)}" if self.failures else ""
        return f"{time.strftime('%H:%M:%S')} {head} {told}; {self.ended} after {self.took:.0f} s, clean {clean}{failed}"


class TooLate(Exception):
    """The drill was over before its moment came, after `took` seconds."""

    def __init__(self, took: float) -> None:
        super().__init__(took)
        self.took = took


class Bench:
    """All rounds against one platform.

    Args:
        platform: it, with a cluster.
        seed: of every choice.
        dumps: where the state after a failure is kept.
    """

    def __init__(self, platform: Platform, seed: int, dumps: Path) -> None:
        self._platform, self._seed, self._dumps = platform, seed, dumps
        self._traces, self._commit = Traces(platform), commit()
        self.durations: dict[str, float] = {}
        self._clean_now = False

    def disturbed(self, kind: str, number: int, drill: Drill) -> Round:
        """Run a drill and disturb it at a random moment of its usual duration, which an undisturbed one has told."""
        for attempt in range(TRIES):
            chosen = random.Random(f"{self._seed}/{kind}/{number}/{attempt}")
            share = chosen.random() if kind != "away" else 0.0
            made = Round(kind, number, drill.name, self._seed, share=round(share, 4))
            try:
                return self._round(made, drill, share * self.durations[drill.name], chosen)
            except TooLate as late:
                self.durations[drill.name] = late.took  # the machine is less busy than it was
        made.failures.append(f"the drill was over before its moment came, {TRIES} times")
        return made

    def undisturbed(self, number: int, drill: Drill) -> Round:
        """Run a drill to its end; it must pass, and leave nothing with no reaper's help."""
        made = self._round(Round(GENTLE, number, drill.name, self._seed), drill, None, random.Random(0))
        if not made.failures:
            self.durations[drill.name] = made.took
        return made

    def _round(self, made: Round, drill: Drill, moment: float | None, chosen: random.Random) -> Round:
        platform, made.commit = self._platform, self._commit
        try:
            if not self._clean_now:
                platform.until("a clean place before the round", lambda: not self._traces.of(), pause=0.5)
            self._clean_now = False
            if drill.drains:
                spread(platform)
            began = time.monotonic()
            given = {**drill.parameters, **(FEW_CLIENTS if moment is not None else {})}
            made.run = platform.submit(drill.template, {"cluster": platform.cluster, **given})
            if moment is not None:
                while time.monotonic() < began + moment:
                    time.sleep(min(0.5, max(0.0, began + moment - time.monotonic())))
                    if platform.over(made.run):
                        raise TooLate(time.monotonic() - began)
                made.hit = self._disturb(made, began, chosen)
                made.moment = round(time.monotonic() - began, 2)
            platform.until(f"{made.run} ends", lambda: platform.over(made.run))
            ended = time.monotonic()
            made.ended, made.took = platform.phase(made.run), round(ended - began, 2)
            made.outputs = platform.outputs(made.run)
            self._clean(made, ended)
        except (Stuck, StepError) as error:
            made.failures.append(str(error))
        if made.failures:
            where = dump(platform, self._dumps / f"{made.kind}-{made.number}-{made.run}", made.run, asdict(made))
            made.failures.append(f"see {where}")
        return made

    def _disturb(self, made: Round, began: float, chosen: random.Random) -> str:
        """Do it, and return what it hit."""
        platform, kind, run = self._platform, made.kind, made.run
        if kind == "away":
            while not (found := [one for one in victims(platform, run) if one.step == "drill-undo"]):
                if platform.over(run):
                    raise TooLate(time.monotonic() - began)
                time.sleep(0.05)
            return f"{found[0].step}: API server killed {hold_down(platform, 'apiserver', AWAY_SECONDS)} times"
        if kind != "kill":
            found = victims(platform, run)
            if platform.over(run):
                raise TooLate(time.monotonic() - began)
            if kind == "delete":
                platform.kube.delete("workflows", run)
            else:
                platform.tiphys(kind, run)
            return f"{found[0].step}: {found[0].after}" if found else "between two steps"
        waited = ""
        while True:
            if found := victims(platform, run):
                victim = chosen.choice(found)
                if kill(platform, victim):
                    return f"{waited}{victim.step}: {victim.after or 'starting'}"
            elif platform.over(run):
                raise TooLate(time.monotonic() - began)
            else:
                waited = "before "  # nothing ran at the moment itself: the next one is killed as it starts
                time.sleep(0.02)

    def _clean(self, made: Round, ended: float) -> None:
        """Look what is left, let a reaper run, and wait until nothing is."""
        platform = self._platform
        made.left = left = self._traces.of(made.run)
        if (lost := made.outputs.get("lost-writes") or "0") != "0":
            made.failures.append(f"{lost} acknowledged writes are said to be lost")
        if made.kind == GENTLE:
            verdict = made.outputs.get("verdict")
            made.failures += [f"verdict {verdict or 'none'}"] if verdict != "PASS" else []
            made.failures += [f"an undisturbed drill left: {'; '.join(left)}"] if left else []
        elif left:
            reaper = platform.reap()
            platform.until(f"{reaper} ends", lambda: platform.over(reaper))
            made.reaper = platform.phase(reaper)
            left = self._traces.of(made.run)
        while left and time.monotonic() - ended < PERIOD_SECONDS:
            time.sleep(0.5)
            left = self._traces.of(made.run)
        if left:
            made.failures.append(f"left after {PERIOD_SECONDS:.0f} s: {'; '.join(left)}")
        else:
            made.clean_after = round(time.monotonic() - ended, 1)
            self._clean_now = True


def summary(rounds: Iterable[Round], seed: int) -> dict[str, Any]:
    """Return the figures of all rounds."""
    rounds = list(rounds)
    hit = [made for made in rounds if made.kind != GENTLE]
    gentle = [made for made in rounds if made.kind == GENTLE]
    slowest = sorted((made.clean_after for made in hit if made.clean_after is not None), reverse=True)
    return {
        "bench": "chaos",
        "commits": Counter(made.commit for made in rounds),
        "seed": seed,
        "rounds": Counter(made.kind for made in rounds),
        "drills": Counter(f"{made.kind} {made.drill}" for made in rounds),
        "hit": Counter(f"{made.kind} {made.hit.partition(':')[0]}" for made in hit),
        "left_to_the_reaper": sum(bool(made.left) for made in hit),
        "seconds_until_clean": {"median": statistics.median(slowest), "worst": slowest[0]} if slowest else None,
        "undisturbed": {name: _figures([one for one in gentle if one.drill == name]) for name in _names(gentle)},
        "failures": [asdict(made) for made in rounds if made.failures],
    }


def _names(rounds: Iterable[Round]) -> list[str]:
    return list(dict.fromkeys(made.drill for made in rounds))


def _figures(rounds: list[Round]) -> dict[str, Any]:
    told = [made.outputs.get("write-downtime-seconds") for made in rounds]
    downtimes = [float(text) for text in told if text]
    lost = [made.outputs.get("lost-writes") for made in rounds]
    return {
        "drills": len(rounds),
        "verdicts": Counter(made.outputs.get("verdict") or "none" for made in rounds),
        "lost_writes": sum(int(text) for text in lost if text),
        "lost_writes_unknown": sum(not text for text in lost),
        "write_downtime_seconds": (
            {"median": statistics.median(downtimes), "worst": max(downtimes)} if downtimes else None
        ),
    }


def plan(wanted: dict[str, int], repeats: list[tuple[str, int]], names: list[str]) -> list[tuple[str, int, str]]:
    """Return the rounds in turns (kind, number, drill), so that a bench that is cut short has seen all kinds."""
    listed = []
    for kind, count in wanted.items():
        listed += [(number / count, kind, number, names[(number - 1) % len(names)]) for number in range(1, count + 1)]
    for name, count in repeats:
        listed += [(number / count, GENTLE, number, name) for number in range(1, count + 1)]
    return [(kind, number, name) for _, kind, number, name in sorted(listed, key=lambda one: one[0])]


def _repeat(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, int]]:
    made = []
    for value in values:
        name, _, count = value.rpartition(":")
        if not name or not count.isdigit() or not int(count):
            raise click.BadParameter(f"{value!r}: expected FAULT:N, such as crash:20")
        made.append((name, int(count)))
    return made


def _known(record: Path | None, seed: int) -> list[Round]:
    if record is None or not record.exists():
        return []
    return [made for line in record.read_text().splitlines() if (made := Round(**json.loads(line))).seed == seed]


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=lambda: Settings.load().home, help="The platform.")
@click.option("--cluster", default="demo", show_default=True, help="An InnoDBCluster that is open to drills.")
@click.option("--kills", type=click.IntRange(0), default=3, show_default=True, help="Rounds with a killed step.")
@click.option("--stops", type=click.IntRange(0), default=1, show_default=True, help="Rounds with a stopped run.")
@click.option("--terminates", type=click.IntRange(0), default=1, show_default=True, help="With a terminated run.")
@click.option("--deletes", type=click.IntRange(0), default=1, show_default=True, help="With a deleted Workflow.")
@click.option(
    "--aways", type=click.IntRange(0), default=1, show_default=True, help="Without an API server for a while."
)
@click.option("--repeat", "repeats", multiple=True, callback=_repeat, metavar="DRILL:N", help="N drills undisturbed.")
@click.option("--drills", "only", default="", help="Only these, by commas. [default: all that leave a majority]")
@click.option("--seed", type=int, default=1, show_default=True, help="Of drills' moments.")
@click.option("--round", "one", default="", metavar="KIND:NUMBER", help="Only this round, such as kill:7.")
@click.option("--minutes", type=click.FloatRange(0), default=0.0, help="Begin no round after as long. [default: any]")
@click.option("--record", type=click.Path(path_type=Path), help="A file of rounds: appended to, and gone on from.")
@click.option("--dumps", type=click.Path(path_type=Path), default="/tmp/tiphys-chaos", show_default=True)
def main(
    home: Path,
    cluster: str,
    kills: int,
    stops: int,
    terminates: int,
    deletes: int,
    aways: int,
    repeats: list[tuple[str, int]],
    only: str,
    seed: int,
    one: str,
    minutes: float,
    record: Path | None,
    dumps: Path,
) -> None:
    """Disturb drills of a running platform and see that they leave nothing behind."""
    for one_that_ends in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
        signal.signal(one_that_ends, signal.default_int_handler)
    began = time.monotonic()
    platform = Platform(home, cluster)
    known = drills(platform)
    names = [name for name in only.split(",") if name] or [name for name in known if name not in OUTAGES]
    for name in [*names, *(name for name, _ in repeats)]:
        if name not in known:
            raise click.ClickException(f"no drill {name!r}; there are: {', '.join(known)}")
    wanted = {"kill": kills, "stop": stops, "terminate": terminates, "delete": deletes, "away": aways}
    todo = plan({kind: count for kind, count in wanted.items() if count}, repeats, names)
    if one:
        wish, _, digits = one.partition(":")
        again = int(digits)
        todo = [(wish, again, names[(again - 1) % len(names)])]
    bench = Bench(platform, seed, dumps)
    done = _known(record, seed)
    bench.durations = {made.drill: made.took for made in done if made.kind == GENTLE and not made.failures}
    had = {(made.kind, made.number, made.drill) for made in done}

    def keep(made: Round) -> None:
        done.append(made)
        print(made.line(), flush=True)
        if record:
            with record.open("a") as file:
                file.write(json.dumps(asdict(made)) + "\n")

    try:
        for kind, number, name in todo:
            if not one and (kind, number, name) in had:
                continue
            if minutes and time.monotonic() - began > minutes * 60:
                break
            drill = known[name]
            if kind == GENTLE:
                keep(bench.undisturbed(number, drill))
                continue
            if name not in bench.durations:
                keep(bench.undisturbed(0, drill))
            if name in bench.durations:
                keep(bench.disturbed(kind, number, drill))
    except (KeyboardInterrupt, Unreachable) as error:
        print(f"ended early: {error!r}", file=sys.stderr)
    told = summary(done, seed)
    print(json.dumps(told))
    sys.exit(1 if told["failures"] else 0)


def commit() -> str:
    """Return the commit of this work tree."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
