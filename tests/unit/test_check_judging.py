"""What check-cluster makes of settings, disks, clocks, budgets and notes, and what its report says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from test_mysql_findings import GOOD

from steps.check import drift, judge, placement, servers, storage
from steps.check.facts import Route
from steps.check.finding import CRITICAL, OK, UNKNOWN, WARNING, Finding, health
from steps.check.look import Examined
from steps.check.placement import Note, Place
from steps.check.read_servers import not_after
from steps.check.servers import Server
from steps.check.storage import Volume, parse_df, quantity
from steps.errors import FoundCritical, FoundWarning
from steps.mysql import cnf
from steps.mysql.check_cluster import NEVER, Checked, conclude, failure
from steps.mysql.protection import Protection

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SETTINGS = {"max_connections": "151", "server_id": "1000", "sql_mode": "A,B"}


def server(number: int, **fields: Any) -> Server:
    settings = {**SETTINGS, **fields.pop("settings", {})}
    end = NOW + timedelta(days=900)
    return replace(Server(f"demo-{number}", NOW, settings=settings, certificate_until=end, connections=3), **fields)


def only(findings: list[Finding]) -> Finding:
    (found,) = findings
    return found


def test_a_cnf_fragment_is_read_as_the_server_reads_it() -> None:
    text = "# x\nfirst=1\n[client]\nuser=a\n[mysqld]\nmax-connections = 300 # shop\nloose_x=ON\nskip-name-resolve\n"
    assert cnf.settings_of(text) == {"first": "1", "max_connections": "300", "x": "ON", "skip_name_resolve": "ON"}


@pytest.mark.parametrize(
    ("one", "other"), [("ON", "1"), ("off", "0"), ("128M", "134217728"), ("10", "10.000000"), ("b,A", "a,B")]
)
def test_two_ways_to_write_one_value(one: str, other: str) -> None:
    assert cnf.same(one, other) and not cnf.same(one, "2")


def test_members_differ_in_what_matters_only() -> None:
    sized = {"server_id": "1001", "host_cache_size": "461"}
    ours = [server(n, settings=sized if n == 1 else {"host_cache_size": "428"}) for n in range(3)]
    assert only(drift.judge_members_settings(ours)).severity == OK
    ours[1] = server(1, settings={**sized, "max_connections": "99"})
    assert "demo-1 has '99', the others '151'" in only(drift.judge_members_settings(ours)).seen


def test_a_buffer_pool_that_was_rounded_up_is_as_written() -> None:
    chunks = {"innodb_buffer_pool_chunk_size": "134217728", "innodb_buffer_pool_instances": "1"}
    one = server(0, settings={**chunks, "innodb_buffer_pool_size": "268435456"})
    assert only(drift.judge_wanted_settings([one], "innodb_buffer_pool_size=200M", None)).severity == OK
    assert only(drift.judge_wanted_settings([one], "innodb_buffer_pool_size=100M", None)).severity == WARNING


def test_certificates_connections_and_clocks() -> None:
    soon = server(1, certificate_until=NOW + timedelta(days=20))
    assert [one.severity for one in servers.judge_certificates([server(0), soon])] == [WARNING, OK]
    assert "ended" in only(servers.judge_certificates([server(0, certificate_until=NOW - timedelta(1))])).seen
    assert only(servers.judge_certificates([server(0, certificate_until=None)])).severity == UNKNOWN
    assert only(servers.judge_connections([server(0, connections=150)])).severity == CRITICAL
    fast = server(1, clock=3.0, clock_error=0.2)
    assert only(servers.judge_clocks([server(0), fast])).seen == "demo-1 is 3.0 s ahead of demo-0"
    assert only(servers.judge_clocks([server(0), replace(fast, clock=90.0)])).severity == CRITICAL
    assert only(servers.judge_clocks([server(0), replace(fast, clock_error=2.5)])).severity == OK, "it may be the wire"
    assert only(servers.judge_silence([server(0), Server("demo-1", NOW, error="refused")])).severity == UNKNOWN
    assert not_after("Nov 18 20:39:01 2036 GMT") == datetime(2036, 11, 18, 20, 39, 1, tzinfo=UTC)
    assert not_after("") is None


def test_disks_and_claims() -> None:
    table = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda 1000 850 50 95% /var/lib/mysql\n"
    assert parse_df(table) == (900 * 1024, 850 * 1024), "what only root may use is not free"
    assert parse_df("df: no such file") is None
    assert [quantity(text) for text in ("5Gi", "1500M", "1.5Ki", "12", "x")] == [5 << 30, 1_500_000_000, 1536, 12, 0]
    full = Volume("demo-0", "c", 5 << 30, 1 << 30, 100, 94)
    assert only(storage.judge_storage([full])).severity == CRITICAL
    assert only(storage.judge_storage([replace(full, used_bytes=85)])).severity == WARNING
    assert only(storage.judge_storage([replace(full, used_bytes=10)])).severity == OK
    assert only(storage.judge_storage([replace(full, disk_bytes=None, error="no df")])).severity == UNKNOWN


LABELS = {"mysql.oracle.com/cluster": "demo", "component": "mysqld"}


def pod(number: int, node: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": f"demo-{number}", "labels": {**LABELS, **labels}}, "spec": {"nodeName": node}}


def budget(name: str = "demo-pdb", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": LABELS}, **spec}}


PLACE = Place([pod(n, f"node-{n}") for n in range(3)], [], [budget(maxUnavailable=1)])


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        ([budget(maxUnavailable=2)], "lets 2 of 3 go"),
        ([budget(maxUnavailable="50%")], "lets 2 of 3 go"),
        ([budget(minAvailable=1)], "lets 2 of 3 go"),
        ([budget(maxUnavailable=0)], "lets 0 of 3 go"),
        ([budget(maxUnavailable=1), budget("mine", maxUnavailable=1)], "2 hold the servers"),
        ([], "none holds the servers"),
    ],
)
def test_budgets_that_do_not_keep_the_quorum_or_let_nobody_go(budgets: list[Any], says: str) -> None:
    assert only(placement.judge_budget(PLACE, GOOD.topology)).severity == OK
    found = placement.judge_budget(replace(PLACE, budgets=budgets), GOOD.topology)[0]
    assert found.severity == WARNING and says in found.seen


def test_what_may_not_be_read_is_told_as_such() -> None:
    blind = replace(PLACE, budgets=None, cordoned=None, unread="Forbidden")
    found = [only(placement.judge_budget(blind, GOOD.topology)), only(placement.judge_cordons(blind))]
    assert [one.severity for one in found] == [UNKNOWN, UNKNOWN] and "Forbidden" in found[0].seen


def test_two_of_three_on_one_node_are_the_quorum() -> None:
    place = replace(PLACE, servers=[pod(0, "a"), pod(1, "b"), pod(2, "b")])
    assert only(placement.judge_spread(place, GOOD.topology)).means == "with that node the cluster loses its quorum"


def test_a_note_is_left_only_when_its_run_is_over_and_not_in_multi_primary_mode() -> None:
    note = Note("cluster demo", "drill-1", "crash", "now", "whose run is Running", over=False)
    assert only(placement.judge_notes(replace(PLACE, notes=[note]))).severity == OK
    over = replace(note, over=True)
    assert only(placement.judge_notes(replace(PLACE, notes=[over]))).severity == WARNING
    assert only(placement.judge_notes(replace(PLACE, notes=[over]), True)).severity == WARNING
    assert only(placement.judge_notes(replace(PLACE, notes=[replace(over, what="multi-primary")]), True)).severity == OK


def test_multi_primary_mode_is_no_fault() -> None:
    members = tuple(replace(member, role="PRIMARY") for member in GOOD.topology.members)
    many = replace(GOOD, topology=replace(GOOD.topology, members=members, primary=None), operator_status="SPLIT_BRAIN")
    found = judge.judge_facts(many)
    assert health(found) == OK and "multi-primary mode: demo-0, demo-1, demo-2" in [one.seen for one in found]
    one_left = replace(many, topology=replace(many.topology, members=GOOD.topology.members))
    assert health(judge.judge_facts(one_left)) == CRITICAL


def test_a_router_with_an_old_view_is_named() -> None:
    stale = replace(GOOD, each_router={"r-0": Route("u0"), "r-1": Route("u1")})
    found = [one for one in judge.judge_facts(stale) if one.severity == WARNING]
    assert only(found).seen == "r-1 sends writes to demo-1"


SEEN = judge.Seen(
    GOOD,
    [server(number) for number in range(3)],
    PLACE,
    [Volume("demo-0", "c", 5 << 30, 1 << 30, 100, 40)],
    "",
    "",
    "",
    Protection(False, False, timedelta(days=1)),
)


def test_the_exit_code_follows_the_severity_and_what_is_asked() -> None:
    warned = [("demo", Finding("x", WARNING, "a", "b", "c"))]
    worst = [*warned, ("demo", Finding("y", CRITICAL, "d", "e", "f"))]
    assert failure([], WARNING) is None and failure(warned, CRITICAL) is None and failure(worst, NEVER) is None
    assert isinstance(failure(warned, WARNING), FoundWarning) and FoundWarning.exit_code == 30
    told = failure(worst, CRITICAL)
    assert isinstance(told, FoundCritical) and told.exit_code == 31 and "y: d: e. To do: f" in str(told)


def test_the_reports_say_all_and_escape_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEP_OUTPUTS", str(tmp_path))
    strange = Finding("primary keys", WARNING, "1 table without: <b>x</b>", "it is refused", "give it one")
    findings = [*judge.judge_all(SEEN), strange, Finding("disk", UNKNOWN, "cannot be told", "nobody knows", "df")]
    done = conclude([Examined(SEEN, findings)], CRITICAL, as_json=False)
    assert isinstance(done, Checked)
    assert (done.health, done.health_level, done.findings, done.warnings, done.unknown) == (WARNING, 1, 1, 1, 1)
    report = json.loads((tmp_path / "report.json").read_text())
    (cluster,) = report["clusters"]
    assert report["health"] == WARNING and len(cluster["findings"]) == len(findings)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;x" in page and "<b>x</b>" not in page and "Looked at and good" in page
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("skipped"), suite.get("tests")) == ("1", "1", str(len(findings)))
    numbers = (tmp_path / "metrics.prom").read_text().splitlines()
    assert 'tiphys_cluster_health{cluster="demo"} 1' in numbers
    assert 'tiphys_member_disk_ratio{cluster="demo",pod="demo-0"} 0.4' in numbers
    assert len([line for line in numbers if line.startswith("# TYPE tiphys_cluster_findings")]) == 1
