"""How drills went before: one small object for each, in the bucket, written once and never changed.

``history/NAMESPACE/CLUSTER/FAULT/TIME-RUN.json``: a listing of a fault's folder is in the order of time.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from steps.backup.objects import AlreadyThere, Bucket, NoObject
from steps.game_day.plan import alike
from steps.log import log

SCHEMA = 1
PREFIX = "history/"
KEPT_DAYS = 730
"""How far back is looked; older objects stay where they are."""
MOST = 40
"""Runs of a fault that are read, the newest: a chart shows no more."""
BASELINE = 5
"""Runs that a new one is compared with."""
FEWEST = 3
"""With fewer runs before it, a run is not compared: one of them may be anything."""
COUNTED = ("PASS", "FAIL")
"""Verdicts of runs that say how long writes stop; the others prove nothing."""


@dataclass(frozen=True)
class Record:
    """One drill, as the history keeps it.

    Attributes:
        run: of the drill.
        game_day: that it was of.
        namespace: of the cluster.
        cluster: its name.
        fault: its name.
        at: ISO time of its start.
        verdict: PASS, FAIL, INVALID or ABORTED.
        like: parameters that comparable runs share, with their values.
        numbers: from the drill's report: seconds and counts, None for what was not measured.
        report: key of its report.json.
        versions: of the programs.
        cluster_uid: tells clusters of one name apart; empty where that was not noted.
    """

    run: str
    game_day: str
    namespace: str
    cluster: str
    fault: str
    at: str
    verdict: str
    like: Mapping[str, str]
    numbers: Mapping[str, float | None]
    report: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    cluster_uid: str = ""

    @property
    def downtime(self) -> float | None:
        """Seconds without an acknowledged write; None where that was not measured."""
        return self.numbers.get("write_downtime_seconds")

    def same_cluster(self, uid: str) -> bool:
        """Tell whether it may be of the cluster with this uid: one that was made anew is another one."""
        return not uid or self.cluster_uid in ("", uid)

    @property
    def counts(self) -> bool:
        """Whether it says how long writes stop."""
        return self.verdict in COUNTED and self.downtime is not None


NUMBERS = (
    "write_downtime_seconds",
    "total_write_downtime_seconds",
    "read_downtime_seconds",
    "full_redundancy_seconds",
    "worst_client_seconds",
    "acknowledged_writes",
    "in_doubt_writes",
    "lost_writes",
)
"""What of a report's numbers is kept."""


def record_of(
    report: Mapping[str, Any], game_day: str, like: Mapping[str, str], key: str, cluster_uid: str = ""
) -> Record:
    """Return the record of a drill's report.json."""
    numbers = report.get("numbers") or {}
    return Record(
        run=str(report["run"]),
        game_day=game_day,
        namespace=str(report["namespace"]),
        cluster=str(report["cluster"]),
        fault=str(report["fault"]),
        at=str(report["started_at"]),
        verdict=str(report["verdict"]),
        like=dict(like),
        numbers={name: numbers.get(name) for name in NUMBERS},
        report=key,
        versions=report.get("versions") or {},
        cluster_uid=cluster_uid,
    )


def folder(namespace: str, cluster: str, fault: str) -> str:
    """Return where the drills of a fault are kept."""
    return f"{PREFIX}{namespace}/{cluster}/{fault}/"


def stamp(at: str) -> str:
    """Return an ISO time as it begins a key: in UTC, and so in the order of time."""
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y%m%dT%H%M%SZ}"


def key_of(record: Record) -> str:
    """Return where a record is kept."""
    return f"{folder(record.namespace, record.cluster, record.fault)}{stamp(record.at)}-{record.run}.json"


def write(bucket: Bucket, record: Record) -> None:
    """Keep a record; one that is there already stays as it is."""
    content = (json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1, sort_keys=True) + "\n").encode()
    try:
        bucket.put_new(key_of(record), content)
    except AlreadyThere:
        log("history-kept", key=key_of(record), why="it is there already")


def read(bucket: Bucket, namespace: str, cluster: str, fault: str, now: datetime) -> list[Record]:
    """Return the newest records of a fault, the oldest of them first; one that cannot be read is left out.

    Args:
        bucket: where they are.
        namespace: of the cluster.
        cluster: its name.
        fault: its name.
        now: with a time zone.
    """
    place = folder(namespace, cluster, fault)
    since = f"{place}{now.astimezone(UTC) - timedelta(days=KEPT_DAYS):%Y%m%d}"
    keys = sorted(key for key in bucket.keys(place, after=since) if key.endswith(".json"))[-MOST:]
    found = [one for key in keys if (one := _read(bucket, key)) is not None]
    return sorted(found, key=lambda one: stamp(one.at))


def _read(bucket: Bucket, key: str) -> Record | None:
    try:
        values = json.loads(bucket.get(key))
        known = {name: values[name] for name in Record.__dataclass_fields__ if name in values}
        made = Record(**known)
        stamp(made.at)
        return made
    except NoObject:
        return None  # removed since the listing
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log("history-not-read", key=key, why=f"{type(error).__name__}: {error}")
        return None


def comparable(
    records: Sequence[Record], fault: str, like: Mapping[str, str], *, before: str, without: str, cluster_uid: str = ""
) -> list[Record]:
    """Return the runs that another one may be compared with, the oldest first.

    Args:
        records: of the same cluster and fault.
        fault: its name.
        like: the parameters that they must share with it.
        before: ISO time of its start.
        without: the game day that it is of.
        cluster_uid: of its cluster.
    """
    return [
        one
        for one in records
        if one.counts
        and one.game_day != without
        and one.same_cluster(cluster_uid)
        and alike(fault, one.like, like)
        and stamp(one.at) < stamp(before)
    ]


@dataclass(frozen=True)
class Comparison:
    """A run against those before it.

    Attributes:
        earlier: downtimes of the runs that it is compared with, in seconds, the oldest first.
        median: of them; None where there are too few.
        worst: of them, but for those regressions that came last, one after the other.
        limit: above which it is a regression; None where it is not compared.
        regressed: whether it is.
        lasting: regressions that came directly before it.
    """

    earlier: tuple[float, ...]
    median: float | None = None
    worst: float | None = None
    limit: float | None = None
    regressed: bool = False
    lasting: int = 0


def compare(downtime: float | None, before: Sequence[Record], percent: float, floor: float) -> Comparison:
    """Compare a run with the last ones before it.

    It is a regression where it is longer than the median by `percent`, by more than `floor` seconds, and longer than
    the worst of them too: what has happened now and then is no news. What has become slower and stays so is: a
    regression is no excuse for the one that follows it, until the median has followed.

    Args:
        downtime: of the run, in seconds; None where it was not measured.
        before: comparable runs, the oldest first.
        percent: of the median.
        floor: in seconds.
    """
    lasting, past = 0, list[float]()
    for value in [float(one.downtime) for one in before if one.downtime is not None]:
        lasting = lasting + 1 if _against(value, past, lasting, percent, floor).regressed else 0
        past.append(value)
    return _against(downtime, past, lasting, percent, floor)


def _against(downtime: float | None, past: Sequence[float], lasting: int, percent: float, floor: float) -> Comparison:
    earlier = tuple(past)[-BASELINE:]
    if len(earlier) < FEWEST:
        return Comparison(earlier)
    median = statistics.median(earlier)
    worst = max(earlier[: max(0, len(earlier) - lasting)], default=median)
    limit = max(median * (1 + percent / 100), median + floor, worst)
    return Comparison(earlier, median, worst, limit, downtime is not None and downtime > limit, lasting)
