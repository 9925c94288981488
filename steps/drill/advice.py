"""What to change so that the next failover is faster: from the measured phases and the cluster's real settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steps.drill.timeline import Timeline

DETECTION_SECONDS = 5.0
"""Group replication calls a member UNREACHABLE after five seconds of silence; no setting changes that."""
PROMPT_EXPEL_SECONDS = 1.0
"""How long an expulsion takes with an expel timeout of 0. Measured on 9.7.4 with a killed primary: 1.0 s with 0, but
16.0 s with 1 and 16.2 s with 5."""
LOOK_SECONDS = 15.0
"""How often a group looks at its suspected members, after a first look right when the suspicion comes up: the period of
XCom's thread for suspicions, which no setting changes. The figures above are the first and the second look."""
ROUTER_TTL_SECONDS = 0.5
PLANNED_SECONDS = 0.6
"""What a planned switch of the primary typically costs in writes (measured through a Router with a ttl of 0.5 s)."""


@dataclass(frozen=True)
class Advice:
    """One thing to change, or to know.

    Attributes:
        title: what to do, in a few words.
        finding: what was measured, and which setting is behind it.
        change: the statement or setting to use; empty where nothing can be set.
        gain_seconds: expected gain in write downtime (or redundancy, as the finding says); None where it has none here.
        price: what it costs.
    """

    title: str
    finding: str
    change: str
    gain_seconds: float | None
    price: str


def advise(
    fault: str,
    timeline: Timeline,
    settings: Mapping[str, str],
    write_downtime: float,
    worst_client: float,
) -> tuple[Advice, ...]:
    """Return what to change, the largest expected gain first.

    Args:
        fault: name of the fault.
        timeline: of this drill.
        settings: of the cluster, by name (see :mod:`steps.drill.target`).
        write_downtime: in seconds.
        worst_client: the longest time that one single client was without an acknowledged write, in seconds.
    """
    lengths = {phase.key: phase.length for phase in timeline.phases}
    found = [
        *_expulsion(lengths, settings),
        *_planned(fault, write_downtime),
        *_election(lengths, settings),
        *_routing(lengths, settings),
        *_clients(lengths, write_downtime, worst_client),
        *_redundancy(lengths),
        *_isolation(settings),
    ]
    return tuple(sorted(found, key=lambda advice: -(advice.gain_seconds or 0.0)))


def _expulsion(lengths: Mapping[str, float], settings: Mapping[str, str]) -> list[Advice]:
    if "unreachable" not in lengths or "left" not in lengths:
        return []
    waited = lengths["left"]
    timeout = settings.get("group_replication_member_expel_timeout", "")
    if timeout in ("", "0") or waited < 2 * PROMPT_EXPEL_SECONDS:
        return []
    rest = waited - float(timeout)
    if rest > 2:
        why = (
            f" That setting explains {float(timeout):.0f} s; the other {rest:.1f} s come from how the group looks at "
            f"members it suspects: once about {PROMPT_EXPEL_SECONDS:.0f} s after it noticed, and then only every "
            f"{LOOK_SECONDS:.0f} s (measured on MySQL 9.7.4). At the first look a timeout above 0 is not over yet, so "
            "the member stays until a later look, whether the timeout is 1 or 5. A timeout of 0 lets it go at the "
            "first look."
        )
    else:
        why = " A timeout of 0 lets it go at the group's first look."
    return [
        Advice(
            title="Let the group expel a silent member at once",
            finding=(
                f"After the others noticed, the group waited {waited:.1f} s before it let the dead primary go: "
                f"group_replication_member_expel_timeout is {timeout} (seconds).{why}"
            ),
            change="SET PERSIST group_replication_member_expel_timeout = 0;  -- on every member",
            gain_seconds=waited - PROMPT_EXPEL_SECONDS,
            price=(
                f"A member that is silent for {DETECTION_SECONDS:.0f} s is expelled and has to rejoin, also when only "
                "the network hiccuped."
            ),
        )
    ]


def _planned(fault: str, write_downtime: float) -> list[Advice]:
    if fault != "delete-pod" or write_downtime < 2 * PLANNED_SECONDS:
        return []
    return [
        Advice(
            title="Move the primary away before its pod goes",
            finding=(
                f"The pod was deleted while it was primary, and writes stopped for {write_downtime:.1f} s. A planned "
                f"switch costs about {PLANNED_SECONDS} s."
            ),
            change="Run switch-primary before maintenance, drains and upgrades.",
            gain_seconds=write_downtime - PLANNED_SECONDS,
            price="One more step in the procedure; it does not help where a node dies unannounced.",
        )
    ]


def _election(lengths: Mapping[str, float], settings: Mapping[str, str]) -> list[Advice]:
    took = lengths.get("elected", 0.0)
    if took < 1.0:
        return []
    consistency = settings.get("group_replication_consistency", "")
    workers = settings.get("replica_parallel_workers", "?")
    if consistency not in ("", "EVENTUAL"):
        return [
            Advice(
                title="Do not hold back clients while the new primary catches up",
                finding=f"The election took {took:.1f} s; group_replication_consistency is {consistency}.",
                change="SET PERSIST group_replication_consistency = 'EVENTUAL';",
                gain_seconds=took - 0.5,
                price="For a moment after a failover clients may read what the old primary had not yet handed over.",
            )
        ]
    return [
        Advice(
            title="Keep the secondaries' backlog short",
            finding=(
                f"The election took {took:.1f} s: a new primary first applies what it has received "
                f"(replica_parallel_workers is {workers})."
            ),
            change="Split large transactions; raise replica_parallel_workers where cores are idle.",
            gain_seconds=took - 0.5,
            price="None in the group; the application has to commit more often.",
        )
    ]


def _routing(lengths: Mapping[str, float], settings: Mapping[str, str]) -> list[Advice]:
    took = lengths.get("routed", 0.0)
    if took < 1.0:
        return []
    ttl = settings.get("router_ttl", "")
    try:
        quick = float(ttl) <= ROUTER_TTL_SECONDS
    except ValueError:
        quick = False
    if quick:
        return [
            Advice(
                title="Let the members tell the Router about changes",
                finding=f"The Router needed {took:.1f} s to lead to the new primary; its ttl is {ttl} s already.",
                change="In the Router's configuration: [metadata_cache] use_gr_notifications=1",
                gain_seconds=None,
                price="One more connection (X protocol) from each Router to each member.",
            )
        ]
    known = f"its ttl is {ttl} s" if ttl else "its ttl is not published"
    return [
        Advice(
            title="Let the Router look more often",
            finding=f"The Router needed {took:.1f} s to lead to the new primary; {known}.",
            change=f"In the Router's configuration: [metadata_cache] ttl={ROUTER_TTL_SECONDS}, use_gr_notifications=1",
            gain_seconds=took - ROUTER_TTL_SECONDS,
            price="Some more queries on the members' metadata.",
        )
    ]


def _clients(lengths: Mapping[str, float], write_downtime: float, worst_client: float) -> list[Advice]:
    found = []
    if (took := lengths.get("first-write", 0.0)) >= 0.5:
        found.append(
            Advice(
                title="Let clients connect again without delay",
                finding=f"Between the first new connection and the first acknowledged write lay {took:.1f} s.",
                change="Check how long the application's pool keeps broken connections and waits between attempts.",
                gain_seconds=took - 0.1,
                price="More connection attempts during an outage.",
            )
        )
    if worst_client - write_downtime >= 1.0:
        found.append(
            Advice(
                title="Give clients a short timeout",
                finding=(
                    f"The service was back after {write_downtime:.1f} s, yet one client had no acknowledged write for "
                    f"{worst_client:.1f} s: it was waiting for an answer that could not come."
                ),
                change="connectTimeout=1000 and socketTimeout=2000 (ms) in the application's driver, or the like",
                gain_seconds=None,
                price="Statements that take longer than that need a timeout of their own.",
            )
        )
    return found


def _redundancy(lengths: Mapping[str, float]) -> list[Advice]:
    took = lengths.get("whole", 0.0)
    if took < 60.0:
        return []
    return [
        Advice(
            title="Shorten the time with one member less",
            finding=f"After the first write it took {took:.0f} s until every member was ONLINE again.",
            change="Look at the pod's start, its volume's attachment and distributed recovery in the server's log.",
            gain_seconds=None,
            price="A second fault in this time would stop all writes.",
        )
    ]


def _isolation(settings: Mapping[str, str]) -> list[Advice]:
    if settings.get("group_replication_unreachable_majority_timeout") != "0":
        return []
    return [
        Advice(
            title="Beyond this drill: do not let an isolated primary hang",
            finding=(
                "group_replication_unreachable_majority_timeout is 0: a primary that loses sight of the others keeps "
                "its clients' writes waiting for ever instead of failing them."
            ),
            change="SET PERSIST group_replication_unreachable_majority_timeout = 15;  -- on every member",
            gain_seconds=None,
            price="An isolated member rolls back what waits, and leaves the group.",
        )
    ]
