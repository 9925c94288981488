"""Everything that a game day's result consists of, computed from what is in the bucket. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steps.game_day import score as scores
from steps.game_day.history import COUNTED, Comparison, Record, comparable, compare, record_of, stamp
from steps.game_day.plan import Entry, alike
from steps.game_day.score import Line
from steps.game_day.state import Child, Look, State
from steps.kube.workflows import FAILED
from steps.report.outcome import Outcome, count, seconds

SCHEMA = 1
"""Version of report.json; fields may be added without raising it."""

NOT_RUN = "NOT RUN"


@dataclass(frozen=True)
class Asked:
    """What the result is held against; see :mod:`steps.game_day.options`."""

    min_score: int = 0
    fail_on_regression: bool = False
    regression_percent: float = 50.0
    regression_floor_seconds: float = 1.0


@dataclass(frozen=True)
class Drill:
    """One drill and what it has given.

    Attributes:
        number: from 1.
        entry: what was asked for.
        child: its run; None where it was not started.
        report: its report.json, None where there is none.
        verdict: PASS, FAIL, INVALID, ABORTED or NOT RUN.
        sentence: its result.
        before: the look before it.
        after: the look after it.
        comparison: with earlier runs.
        lines: of the score.
    """

    number: int
    entry: Entry
    child: Child | None
    report: Mapping[str, Any] | None
    verdict: str
    sentence: str
    before: Look | None
    after: Look | None
    comparison: Comparison
    lines: Sequence[Line]

    @property
    def numbers(self) -> Mapping[str, Any]:
        """From its report: seconds and counts."""
        return (self.report or {}).get("numbers") or {}

    @property
    def points(self) -> str:
        """Points given of points possible."""
        return f"{sum(line.given for line in self.lines)} of {sum(line.of for line in self.lines)}"


@dataclass(frozen=True)
class Trend:
    """How a drill went over time.

    Attributes:
        label: the fault, and the parameters that its entry set.
        records: every run with the same parameters, the oldest first, those of this game day too.
        own: runs of this game day.
        comparison: of the last of them.
    """

    label: str
    records: Sequence[Record]
    own: frozenset[str]
    comparison: Comparison


@dataclass(frozen=True)
class Result:
    """A game day's result.

    Attributes:
        state: how it went.
        asked: what it is held against.
        drills: in their order.
        trends: one for each kind of drill.
        score: 0 to 100.
        outcome: PASS, FAIL, INVALID or ABORTED.
        sentence: the whole result in one sentence.
        reasons: what led to it, in sentences.
    """

    state: State
    asked: Asked
    drills: Sequence[Drill]
    trends: Sequence[Trend]
    score: int
    outcome: Outcome
    sentence: str
    reasons: Sequence[str]


def records_of(state: State, reports: Mapping[int, Mapping[str, Any] | None]) -> dict[int, Record]:
    """Return what the history keeps of each drill that has a report, by its number."""
    made = {}
    for number, report in reports.items():
        if report is not None:
            entry, child = state.entries[number - 1], state.children[number]
            made[number] = record_of(report, state.game_day, entry.like, child.report, state.cluster_uid)
    return made


def evaluate(
    state: State,
    reports: Mapping[int, Mapping[str, Any] | None],
    history: Mapping[str, Sequence[Record]],
    asked: Asked,
) -> Result:
    """Return the result.

    Args:
        state: how the game day went.
        reports: each drill's report.json by its number, None where there is none.
        history: records of each fault, the oldest first.
        asked: what it is held against.
    """
    own = records_of(state, reports)
    drills = [
        _drill(state, number, reports.get(number), own.get(number), history, asked)
        for number in range(1, len(state.entries) + 1)
    ]
    points = scores.score([one.lines for one in drills])
    last = state.looks.get(len(state.entries))
    failed, other = _failures(drills, points, asked, last), _others(state, drills)
    if failed:
        outcome = Outcome.FAIL
    elif state.stopped or any(one.verdict in (Outcome.ABORTED, NOT_RUN) for one in drills):
        outcome = Outcome.ABORTED
    elif any(one.verdict == Outcome.INVALID for one in drills):
        outcome = Outcome.INVALID
    else:
        outcome = Outcome.PASS
    reasons = [*failed, *other] or ["Every drill is a PASS, and the cluster was steady before and after each."]
    reasons += _regressions(drills) if not asked.fail_on_regression else []
    return Result(
        state,
        asked,
        drills,
        _trends(drills, own, history, state.cluster_uid),
        points,
        outcome,
        _sentence(outcome, drills, points),
        reasons,
    )


def _drill(
    state: State,
    number: int,
    report: Mapping[str, Any] | None,
    record: Record | None,
    history: Mapping[str, Sequence[Record]],
    asked: Asked,
) -> Drill:
    entry, child = state.entries[number - 1], state.children.get(number)
    comparison = Comparison(())
    if record is not None:
        known = history.get(entry.fault, ())
        before = comparable(
            known,
            entry.fault,
            entry.like,
            before=record.at,
            without=state.game_day,
            cluster_uid=state.cluster_uid,
        )
        downtime = record.downtime if record.counts else None
        comparison = compare(downtime, before, asked.regression_percent, asked.regression_floor_seconds)
    looks = state.looks.get(number - 1), state.looks.get(number)
    if report is not None and child is not None and report["verdict"] == Outcome.PASS and child.phase in FAILED:
        # What comes after the report has failed: the drill may not be undone.
        why = f"Its report says PASS, but its run has {child.phase.lower()}: {child.message or 'no message'}."
        report = {**report, "verdict": Outcome.FAIL, "sentence": why, "reasons": [why]}
    if report is not None:
        lines = scores.lines(report, looks[1], comparison)
        verdict, sentence = str(report["verdict"]), str(report.get("sentence") or "")
    elif child is not None:
        verdict = Outcome.ABORTED if state.stopped and number == max(state.children) else Outcome.INVALID
        sentence = f"It left no report ({child.phase or 'not over'}{': ' + child.message if child.message else ''})."
        lines = scores.not_run(sentence)
    else:
        verdict, sentence = NOT_RUN, f"Not run: {state.stopped or 'the game day had ended'}."
        lines = scores.not_run(sentence)
    return Drill(number, entry, child, report, verdict, sentence, *looks, comparison, lines)


def _failures(drills: Sequence[Drill], points: int, asked: Asked, last: Look | None) -> list[str]:
    found = [
        f"Drill {one.number} ({one.entry.label}) is a FAIL: {one.sentence}{_cause(one)}"
        for one in drills
        if one.verdict == Outcome.FAIL
    ]
    if last is not None and not last.steady:
        found.append(f"The cluster was not steady after the last drill: {'; '.join(last.lacking)}.")
    if asked.fail_on_regression:
        found += _regressions(drills)
    if points < asked.min_score:
        found.append(f"The score is {points}, at least {asked.min_score} was asked for.")
    return found


def _cause(one: Drill) -> str:
    """Return what the drill itself gives as its first reason, where its sentence does not say it already."""
    first = next(iter((one.report or {}).get("reasons") or []), "")
    return f" {first}" if first and first not in one.sentence else ""


def _regressions(drills: Sequence[Drill]) -> list[str]:
    return [
        f"Drill {one.number} ({one.entry.label}) has become slower: writes stopped for "
        f"{seconds(one.numbers['write_downtime_seconds'])}, the last {len(one.comparison.earlier)} runs have a "
        f"median of {seconds(one.comparison.median)}, and the worst {seconds(one.comparison.worst)}"
        f"{f', but for the last {one.comparison.lasting}, which were slower too' if one.comparison.lasting else ''}."
        for one in drills
        if one.comparison.regressed and one.comparison.median is not None and one.comparison.worst is not None
    ]


def _others(state: State, drills: Sequence[Drill]) -> list[str]:
    found = [f"It ended before its last drill: {state.stopped}."] if state.stopped else []
    return found + [
        f"Drill {one.number} ({one.entry.label}) is {one.verdict}: {one.sentence}"
        for one in drills
        if one.verdict not in (Outcome.PASS, Outcome.FAIL, NOT_RUN)
    ]


def _trends(
    drills: Sequence[Drill], own: Mapping[int, Record], history: Mapping[str, Sequence[Record]], cluster_uid: str
) -> list[Trend]:
    made: dict[tuple[str, tuple[tuple[str, str], ...]], Trend] = {}
    for drill in drills:
        entry = drill.entry
        key = entry.fault, tuple(sorted(entry.like.items()))
        mine = {own[one.number].run: own[one.number] for one in drills if one.number in own and _same(one.entry, entry)}
        known = [
            one
            for one in history.get(entry.fault, ())
            if alike(entry.fault, one.like, entry.like) and one.same_cluster(cluster_uid)
        ]
        records = sorted(
            [*(one for one in known if one.run not in mine), *mine.values()], key=lambda one: stamp(one.at)
        )
        made[key] = Trend(_like_label(entry), [one for one in records if one.counts], frozenset(mine), drill.comparison)
    return list(made.values())


def _same(one: Entry, other: Entry) -> bool:
    return one.fault == other.fault and alike(one.fault, one.like, other.like)


def _like_label(entry: Entry) -> str:
    """Return the fault with those of the entry's parameters that tell kinds of runs apart."""
    given = [f"{key}={value}" for key, value in entry.given.items() if key in entry.like]
    return f"{entry.fault} {' '.join(given)}".strip()


def _sentence(outcome: Outcome, drills: Sequence[Drill], points: int) -> str:
    passed = sum(one.verdict == Outcome.PASS for one in drills)
    text = f"{passed} of {count(len(drills), 'drill')} passed, with a score of {points} of 100"
    # What was stopped or proves nothing has no number that could stand beside the others'.
    counted = [one.numbers for one in drills if one.verdict in COUNTED]
    if counted:
        stopped = [
            float(one["write_downtime_seconds"]) for one in counted if one.get("write_downtime_seconds") is not None
        ]
        lost = [int(one["lost_writes"]) for one in counted if one.get("lost_writes") is not None]
        fate = f"{count(sum(lost), 'acknowledged write')} {'was' if sum(lost) < 2 else 'were'} lost"
        text += f"; writes stopped for {seconds(max(stopped))} at most" if stopped else "; no downtime was measured"
        text += f", and {fate if lost else 'none were verified'}"
        if holes := len(counted) - min(len(stopped), len(lost)):
            text += f"; {count(holes, 'drill')} did not measure or verify all"
    if slower := sum(one.comparison.regressed for one in drills):
        text += f"; {count(slower, 'drill')} {'has' if slower == 1 else 'have'} become slower"
    return f"The game day was stopped before its end: {text}." if outcome is Outcome.ABORTED else f"{text}."


def to_json(result: Result) -> dict[str, Any]:
    """Return report.json: a stable schema for machines.

    Keys: ``schema``, ``kind``, ``verdict``, ``score``, ``sentence``, ``reasons``; ``run``, ``namespace``, ``cluster``,
    ``started_at``, ``ended_at``, ``stopped``; ``drills`` (number, fault, drill, run, verdict, sentence, numbers, steady
    before and after, score lines, comparison, report); ``looks``; ``trends`` (label, runs); ``parameters``.
    """
    state = result.state
    return {
        "schema": SCHEMA,
        "kind": "game-day",
        "verdict": result.outcome,
        "score": result.score,
        "sentence": result.sentence,
        "reasons": list(result.reasons),
        "run": state.game_day,
        "namespace": state.namespace,
        "cluster": state.cluster,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "stopped": state.stopped,
        "drills": [
            {
                "number": one.number,
                "drill": one.entry.label,
                "fault": one.entry.fault,
                "run": one.child.run if one.child else "",
                "verdict": one.verdict,
                "sentence": one.sentence,
                "numbers": dict(one.numbers),
                "steady_before": one.before.steady if one.before else None,
                "steady_after": one.after.steady if one.after else None,
                "score": [asdict(line) for line in one.lines],
                "comparison": asdict(one.comparison),
                "report": one.child.report if one.child else "",
            }
            for one in result.drills
        ],
        "looks": {str(number): asdict(look) for number, look in state.looks.items()},
        "trends": [
            {
                "drill": trend.label,
                "median": trend.comparison.median,
                "limit": trend.comparison.limit,
                "runs": [
                    {
                        "run": one.run,
                        "at": one.at,
                        "verdict": one.verdict,
                        "write_downtime_seconds": one.downtime,
                        "own": one.run in trend.own,
                    }
                    for one in trend.records
                ],
            }
            for trend in result.trends
        ],
        "parameters": asdict(result.asked),
    }
