"""What check-cluster makes of what it has seen: pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from steps.backup.catalogue import Backup, Catalogue, Verification
from steps.check.facts import Facts, OpenRestore, Queues, Route
from steps.check.finding import Finding, health
from steps.check.judge import judge_facts
from steps.mysql.protection import judge_protection, protection_of, read_backups
from steps.mysql.topology import Member, Topology


def topology(*states: str, expected: int | None = None, version: str = "9.7.4") -> Topology:
    members = tuple(
        Member(f"u{i}", f"demo-{i}", 3306, state, "PRIMARY" if i == 0 else "SECONDARY", "9.7.4", f"demo-{i}")
        for i, state in enumerate(states)
    )
    members = (*members[:-1], replace(members[-1], version=version))
    primary = members[0] if members[0].state == "ONLINE" else None
    return Topology("demo", expected or len(states), members, primary, True)


WHOLE = topology("ONLINE", "ONLINE", "ONLINE")
GOOD = Facts(
    "demo",
    "ONLINE",
    3,
    WHOLE,
    2,
    2,
    writes=Route("u0"),
    reads=Route("u1"),
    queues={"demo-0": Queues(0, 0), "demo-1": Queues(0, 3)},
    keyless=[],
    errant={},
)


def bad(facts: Facts) -> dict[str, Finding]:
    return {finding.check: finding for finding in judge_facts(facts) if finding.severity in ("warning", "critical")}


def test_a_good_cluster_has_only_good_findings() -> None:
    assert bad(GOOD) == {} and health(judge_facts(GOOD)) == "ok"
    assert len(judge_facts(GOOD)) == 10, "good findings say what was checked"


def test_every_bad_finding_says_what_it_means_and_what_to_do() -> None:
    worst = replace(
        GOOD,
        topology=topology("UNREACHABLE", "ONLINE", "ONLINE", expected=4, version="9.8.0"),
        operator_status="ONLINE_PARTIAL",
        routers_ready=0,
        writes=Route(error="refused"),
        reads=Route("u9"),
        queues={"demo-1": Queues(5000, 1)},
        keyless=["a.b"],
        errant={"demo-2": "x:1"},
    )
    found = bad(worst)
    assert len(found) == 11
    assert all(finding.means and finding.run for finding in found.values())


def test_no_quorum_is_critical_and_says_who_does_not_answer() -> None:
    lost = replace(GOOD, topology=Topology("demo", 3, unreachable={"demo-0": "refused"}), writes=Route(), reads=Route())
    assert bad(lost)["quorum"].severity == "critical" and "demo-0: refused" in bad(lost)["quorum"].seen


def test_servers_that_are_full_are_no_outage_of_the_group() -> None:
    why = "DatabaseError: 1040: Too many connections"  # as the driver says it to read_views
    silent = {"demo-0": why, "demo-1": why, "demo-2": "InterfaceError: 2003: port 10400"}
    full = replace(GOOD, topology=Topology("demo", 3, unreachable=silent), writes=Route(), reads=Route())
    found = bad(full)["quorum"]
    assert found.severity == "critical" and "demo-0, demo-1 let nobody in, with error 1040" in found.seen
    assert "demo-2: InterfaceError" in found.seen and "reboot" not in found.run
    assert "deployment/demo-router" in found.run and "kubectl exec demo-0 -c mysql -- mysql -u localroot" in found.run
    other = replace(full, topology=Topology("demo", 3, unreachable={"demo-2": silent["demo-2"]}))
    assert "1040," not in bad(other)["quorum"].seen


def test_a_missing_member_is_critical_only_when_the_next_failure_is_an_outage() -> None:
    two = replace(GOOD, topology=topology("ONLINE", "ONLINE", "UNREACHABLE"), operator_online=2, operator_status="X")
    assert bad(two)["members"].severity == "critical"
    four = replace(GOOD, topology=topology(*["ONLINE"] * 4, "UNREACHABLE"), operator_online=4, operator_status="X")
    assert bad(four)["members"].severity == "warning" and "survives 1 more" in bad(four)["members"].means


def test_the_operator_is_held_against_the_members() -> None:
    stale = replace(GOOD, topology=topology("ONLINE", "ONLINE", "UNREACHABLE"))
    assert bad(stale)["operator"].severity == "warning"
    assert "2/3 ONLINE" in bad(stale)["operator"].seen


def test_where_the_routers_lead() -> None:
    swapped = replace(GOOD, writes=Route("u1"), reads=Route("u0"))
    assert bad(swapped)["writes"].severity == "critical" and "lead to demo-1" in bad(swapped)["writes"].seen
    assert bad(swapped)["reads"].severity == "warning"
    single = replace(GOOD, topology=topology("ONLINE"), operator_online=1, reads=Route("u0"))
    assert "reads" not in bad(single), "with no secondary, reads go to the primary"
    none = replace(GOOD, routers_wanted=0, routers_ready=0, writes=None, reads=None)
    assert bad(none) == {}


def test_routers_that_lack() -> None:
    assert bad(replace(GOOD, routers_ready=1))["routers"].severity == "warning"
    assert bad(replace(GOOD, routers_ready=0))["routers"].severity == "critical"


def test_even_counts_lag_keys_errant_transactions_and_pods() -> None:
    even = replace(GOOD, topology=topology(*["ONLINE"] * 4), operator_online=4)
    assert bad(even)["member count"].run == "scale-cluster with servers=5"
    assert bad(replace(GOOD, queues={"demo-1": Queues(600, 600)}))["lag"].severity == "warning"
    many = [f"s.t{n}" for n in range(8)]
    assert "s.t4 and 3 more" in bad(replace(GOOD, keyless=many))["primary keys"].seen
    assert bad(replace(GOOD, errant={"demo-1": "x:1-3"}))["errant transactions"].severity == "critical"
    held = bad(replace(GOOD, pods=["pod demo-1 waits"]))["pods"]
    assert held.severity == "warning" and held.run


def test_what_could_not_be_read_is_not_called_good() -> None:
    unread = replace(GOOD, keyless=None, errant=None, queues={})
    told = {finding.check: finding.severity for finding in judge_facts(unread)}
    assert (told["primary keys"], told["errant transactions"]) == ("unknown", "unknown") and "lag" not in told
    assert health(judge_facts(unread)) == "ok", "what is not known makes nothing worse"


def test_a_restore_that_is_not_finished_is_told_unless_it_goes_on() -> None:
    begun = OpenRestore("s3://b/backups/x/", "rows", "restore-1", running=False)
    assert bad(replace(GOOD, restores=[replace(begun, running=True)])) == {}
    found = bad(replace(GOOD, restores=[begun]))["restore"]
    assert (found.severity, found.seen) == ("warning", "not finished: of s3://b/backups/x/ by restore-1, phase rows")
    assert bad(replace(GOOD, restores=[replace(begun, phase="damaged")]))["restore"].severity == "critical"


NOW = datetime(2026, 11, 21, tzinfo=UTC)


def protected(*hours: float, days: float = 90, proven: float | None = 100, **labels: str) -> dict[str, Finding]:
    """Judge a cluster that is so many days old, with backups that are so many hours old, the last proven or failed."""
    found = []
    for number, age in enumerate(hours):
        at = None if proven is None else NOW - timedelta(hours=abs(proven))
        proof = Verification("PASS" if (proven or 0) > 0 else "FAIL", at, 1, 1, "", "") if at else None
        begin = NOW - timedelta(hours=age)
        found.append(
            Backup(
                f"b{number}", "demo", "tiphys", begin, begin, 1, 1, "tiphys", None, "", "", proof if number else None
            )
        )
    created = (NOW - timedelta(days=days)).isoformat()
    meta = {"name": "demo", "namespace": "tiphys", "creationTimestamp": created}
    meta["labels"] = {f"tiphys.dev/{key}": value for key, value in {"backups": "on", **labels}.items()}
    judged = judge_protection(protection_of({"metadata": meta}, Catalogue(NOW, found)))
    return {one.check: one for one in judged}


def test_backups_are_young_and_proven_where_they_were_asked_for() -> None:
    good = protected(5, 29)
    assert {one.severity for one in good.values()} == {"ok"} and good["backups"].seen == "b0, 5 h old"
    old = protected(31, 55)["backups"]
    assert old.severity == "warning" and old.seen == "no finished backup younger than 30 h: b0, 31 h old"
    assert protected(80, 90)["backups"].severity == "critical"
    assert protected(5, 29, proven=16 * 24)["verification"].seen == "last PASS: 16 days ago"
    assert protected(5, 29, proven=-10)["verification"].seen == "last PASS: never"
    assert "verification" not in protected(5, 29, proven=None, days=3), "a new cluster has time until its first"


def test_a_cluster_without_a_backup_has_a_night_to_get_one() -> None:
    assert protected(days=1)["backups"].severity == "ok"
    assert protected(days=2)["backups"].severity == "warning"
    assert protected(days=4)["backups"].severity == "critical"


def test_nobody_is_told_of_backups_who_did_not_ask_but_production() -> None:
    assert protected(backups="off") == {}
    assert protected(backups="off", environment="production")["backups"].severity == "warning"


def test_an_s3_that_cannot_be_read_is_a_finding_and_no_error() -> None:
    cluster = {"metadata": {"name": "demo", "namespace": "tiphys", "labels": {"tiphys.dev/backups": "on"}}}
    why = read_backups([cluster])
    assert isinstance(why, str) and "no bucket is set" in why
    (found,) = judge_protection(protection_of(cluster, why))
    assert found.severity == "warning" and "cannot be looked at: no bucket is set" in found.seen
    assert read_backups([{"metadata": {"name": "x"}}]) == "no cluster has opted in"
