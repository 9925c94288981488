"""Rolling restarts as values: who is next, who has been restarted already, who takes over, what speaks against it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from test_mysql_scale_plan import topology

from steps.errors import BadParameters
from steps.mysql.restart_plan import Life, Method, Plan, Wish, heir, in_order, last_end, life_of, moment, plan, risks
from steps.mysql.rolling_restart import WIDTH, has_been, parsed, rolling_restart, text, told

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
EARLY, LATE = "2026-11-21T11:00:00Z", "2026-11-21T12:00:03Z"


def pod(name: str = "demo-0", *, ready: bool = True, grace: int | None = 120, **server: Any) -> dict[str, Any]:
    """A server's pod as the API server gives it; `server` is the status of its container."""
    running = {"state": {"running": {"startedAt": LATE}}, "containerID": "c2", **server}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": EARLY},
        "spec": {} if grace is None else {"terminationGracePeriodSeconds": grace},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "sidecar", "containerID": "other"}, {"name": "mysql", **running}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def life(name: str, created: str = EARLY, started: str = EARLY) -> Life:
    return Life(name, f"uid-{name}", created, f"c-{name}", started, 120)


def test_the_least_important_goes_first_and_the_primary_last() -> None:
    pods = [f"demo-{number}" for number in range(3)]
    assert in_order(pods, topology(*["ONLINE"] * 3, primary=1), {}) == ["demo-2", "demo-0", "demo-1"]
    assert in_order(pods, topology(*["ONLINE"] * 3), {"demo-2": 90, "demo-1": 80}) == ["demo-1", "demo-2", "demo-0"]
    assert in_order(pods, topology(*["ONLINE"] * 3), {"demo-0": 0})[-1] == "demo-0", "however light it is"
    many = [f"demo-{number}" for number in (2, 10, 9, 1)]
    assert in_order(many, topology(*["ONLINE"] * 3), {}) == ["demo-10", "demo-9", "demo-2", "demo-1"]


def test_the_heaviest_takes_over_then_the_one_with_the_least_to_apply() -> None:
    others = topology(*["ONLINE"] * 3).secondaries
    assert heir(others, {"demo-2": 51}, {"u2": 1000}) == "demo-2"
    assert heir(others, {}, {"u1": 3}) == "demo-2"
    assert heir(others, {}, {}) == "demo-1"
    assert heir([], {}, {}) == ""


def test_what_changed_since_the_run_began_has_been_restarted_whatever_the_clocks_say() -> None:
    wish = Wish(known={"demo-0": "uid-demo-0", "demo-1": "another"}, since=NOON)
    assert not wish.is_done(life("demo-0", created=LATE))
    assert wish.is_done(life("demo-1", created=EARLY))
    gone = Life("demo-1")
    assert not wish.is_done(gone), "between two lives it is not done"


def test_since_looks_at_the_pod_or_at_the_server_in_it() -> None:
    younger = life("demo-0", created=EARLY, started=LATE)
    assert not Wish(Method.POD, NOON).is_done(younger) and Wish(Method.SERVER, NOON).is_done(younger)
    assert not Wish(Method.SERVER, NOON).is_done(life("demo-0", started="")), "it does not run"
    assert Wish(since=parsed(EARLY)).is_done(younger), "the very second counts"
    assert not Wish().is_done(younger), "nobody asked"
    assert not Wish(since=NOON).is_done(life("demo-0", created="2026-11-21T12:59:59+02:00"))


def test_a_run_s_own_moment_is_after_whatever_began_before_it() -> None:
    began = moment(datetime(2026, 11, 21, 12, 0, 2, 1, tzinfo=UTC))
    assert text(began) == LATE and parsed(text(began)) == began
    assert moment(began) == began


def test_a_life_is_read_from_the_pod() -> None:
    found = life_of(pod())
    assert (found.uid, found.created, found.container, found.started, found.grace) == (
        "uid-demo-0",
        EARLY,
        "c2",
        LATE,
        120,
    )
    assert life_of(pod(grace=None)).grace == 30 and life_of(pod(grace=0)).grace == 0
    ended = life_of(pod(state={"terminated": {"exitCode": 0}}))
    assert (ended.container, ended.started, ended.identity(Method.SERVER)) == ("", "", "")
    assert ended.identity(Method.POD) == "uid-demo-0"


def test_how_a_server_failed_is_told() -> None:
    assert last_end(pod()) == "" == last_end(pod(lastState={"terminated": {"exitCode": 0}}))
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    told_end = last_end(pod(state=waiting, lastState={"terminated": {"exitCode": 1}}, restartCount=3))
    assert told_end == "its mysqld ended with exit code 1 and was started again 3 times"


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (("ONLINE", "ONLINE", "RECOVERING"), "not whole (2/3 ONLINE, 1 RECOVERING"),
        (("ONLINE", "ONLINE"), "without one of its 2 servers the group has no quorum (2 needed)"),
        (("ONLINE",), "without one of its 1 servers"),
    ],
)
def test_each_risk_is_told(states: tuple[str, ...], says: str) -> None:
    (risk,) = risks(topology(*states), [pod(f"demo-{number}") for number in range(len(states))])
    assert says in risk


def test_a_pod_that_is_not_ready_is_a_risk_and_a_whole_cluster_has_none() -> None:
    pods = [pod(f"demo-{number}") for number in range(3)]
    assert risks(topology(*["ONLINE"] * 3), pods) == []
    (risk,) = risks(topology(*["ONLINE"] * 3), [*pods[:2], pod("demo-2", ready=False)])
    assert risk.startswith("pod demo-2 ")
    assert "no majority view" in risks(topology(*["ONLINE"] * 3, quorum=False), pods)[0]


def made(wish: Wish) -> Plan:
    return plan([life(f"demo-{number}") for number in range(3)], topology(*["ONLINE"] * 3), {}, wish)


def test_a_plan_names_each_step_and_its_time() -> None:
    assert made(Wish()).steps() == [
        "restart demo-2 (evict its pod; at most 720 s)",
        "restart demo-1 (evict its pod; at most 720 s)",
        "switch the primary from demo-0 to the best of the others",
        "restart demo-0 (evict its pod; at most 720 s)",
    ]
    assert "at most 7 s" in str(made(Wish(Method.SERVER, seconds=7))) and "mysqld" in str(made(Wish(Method.SERVER)))
    assert made(Wish(known={"demo-0": "was"})).steps() == [
        "leave demo-0 alone, which was restarted before",
        "restart demo-2 (evict its pod; at most 720 s)",
        "restart demo-1 (evict its pod; at most 720 s)",
    ], "a primary that has been restarted stays primary"
    assert str(made(Wish(since=datetime(2020, 1, 1, tzinfo=UTC)))).startswith("leave demo-0 alone")


def test_what_a_dry_run_says_fits_a_terminal() -> None:
    planned = told(made(Wish()), [], "demo")
    refused = told(made(Wish()), ["the group is not whole " * 9 + "run check-cluster", "another"], "demo")
    assert "  3. switch the primary" in planned and "It would be refused" in refused and "  2. another" in refused
    assert max(map(len, f"{planned}\n{refused}".splitlines())) <= WIDTH


@pytest.mark.parametrize("given", ["yesterday", "2026-11-21T12:00:00", "2026-13-21T12:00:00Z"])
def test_a_time_without_a_zone_is_none(given: str) -> None:
    with pytest.raises(BadParameters, match="no time with a zone"):
        parsed(given)


def test_since_is_no_time_to_come() -> None:
    now = datetime(2026, 11, 22, 0, 30, tzinfo=UTC)
    assert has_been(None, now) is None
    assert has_been(moment(now), now) == now, "as a run that has just ended tells it"
    with pytest.raises(BadParameters, match="2036-11-22T00:00:00Z is in the future.* it is 2026-11-22T00:30:00Z"):
        has_been(parsed("2036-11-22T00:00:00Z"), now)
    with pytest.raises(BadParameters, match="in the future"):
        rolling_restart.function("tiphys", "demo", "", "pod", "9999-01-01T00:00:00Z", 0, False, None, True, True)
