"""What the steps do on a MySQL server, on a real one: a group of one member."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import mysql.connector
import pytest
from mysql_group import ROOT, Server, mysql_group

from steps.check.facts import Facts
from steps.check.finding import health
from steps.check.judge import judge_facts
from steps.errors import Refused, StepError, Temporary
from steps.log import Progress
from steps.mysql import inspection
from steps.mysql.connection import Credentials, query, session
from steps.mysql.inspection import KEYLESS_SQL, QUEUES_SQL, route
from steps.mysql.load_sample_data import Loaded, fill
from steps.mysql.proof import prove_write
from steps.mysql.sample_data import TABLES, blocks
from steps.mysql.sample_load import DataSet, examine, load, prepare
from steps.mysql.topology import Topology, judge, read_views

ADDRESS = f"127.87.{os.getpid() % 250 + 1}.1"
"""An address of this test process alone."""

NOBODY = "127.87.254.254"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with session(ADDRESS, 3306, ROOT) as opened:
        yield opened


@pytest.fixture
def topology(server: Server) -> Topology:
    views, unreachable = read_views({"demo-0": ADDRESS}, ROOT)
    return judge("demo", 1, views, unreachable)


def sums(connection: Any, schema: str) -> list[int]:
    rows = query(connection, "CHECKSUM TABLE " + ", ".join(f"{schema}.{table}" for table in TABLES))
    return [row[1] for row in rows]


def test_a_group_of_one_is_its_own_majority(topology: Topology) -> None:
    assert topology.is_whole and topology.primary is not None
    assert topology.primary.pod == "demo-0" and topology.primary.address == ADDRESS
    assert topology.views["demo-0"].writable


def test_servers_that_do_not_answer_are_told_apart(server: Server) -> None:
    addresses = {"demo-0": ADDRESS, "demo-1": NOBODY, "demo-2": ""}
    views, unreachable = read_views(addresses, ROOT, timeout=1)
    assert set(views) == {"demo-0"}
    assert "Connection refused" in unreachable["demo-1"] and "no address" in unreachable["demo-2"]


def test_connections_are_encrypted_and_commit_at_once(connection: Any) -> None:
    assert query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1] != ""
    assert query(connection, "SELECT @@autocommit") == [(1,)]
    assert query(connection, "SELECT '100%'") == [("100%",)], "a percent sign stands for itself"
    assert query(connection, "SELECT %s, %s", ["a'b", 3]) == [("a'b", 3)]
    assert query(connection, "DO 1") == []


def test_a_wrong_password_is_told_without_being_told(server: Server) -> None:
    wrong = Credentials("root", "not-the-password")
    with pytest.raises(StepError, match="does not let user 'root'") as caught, session(ADDRESS, 3306, wrong):
        pass
    assert caught.value.exit_code == 1 and "not-the-password" not in str(caught.value)
    assert "not-the-password" not in repr(wrong)


def test_nobody_there_is_temporary() -> None:
    with pytest.raises(Temporary, match=r"member demo-7 .127\.87\.254\.254:3306. is not available"):  # noqa: SIM117
        with session(NOBODY, 3306, ROOT, what="member demo-7", timeout=1):
            pass


def test_a_statement_that_hangs_is_given_up(server: Server) -> None:
    with pytest.raises(Temporary), session(ADDRESS, 3306, ROOT, read_timeout=1) as connection:
        query(connection, "SELECT SLEEP(20)")


def test_an_error_of_the_statement_is_no_reason_to_try_again(server: Server) -> None:
    with pytest.raises(StepError) as caught, session(ADDRESS, 3306, ROOT) as connection:
        query(connection, "SELECT nonsense")
    assert caught.value.exit_code == 1 and isinstance(caught.value.__cause__, mysql.connector.Error)


def test_the_proof_writes_reads_back_and_cleans_up(server: Server, connection: Any) -> None:
    assert prove_write(ADDRESS, 3306, {"demo-0": ADDRESS}, ROOT) > 0
    assert query(connection, "SHOW SCHEMAS LIKE 'tiphys'") == []
    query(connection, "CREATE SCHEMA tiphys")
    query(connection, "CREATE TABLE tiphys.others (id INT PRIMARY KEY)")
    prove_write(ADDRESS, 3306, {"demo-0": ADDRESS}, ROOT)
    assert query(connection, "SHOW TABLES FROM tiphys") == [("others",)], "what others have there stays"
    query(connection, "DROP SCHEMA tiphys")


def test_a_member_without_the_row_fails_the_proof(server: Server) -> None:
    with pytest.raises(Temporary, match="member demo-1"):
        prove_write(ADDRESS, 3306, {"demo-0": ADDRESS, "demo-1": NOBODY}, ROOT)
    with session(ADDRESS, 3306, ROOT) as connection:
        assert query(connection, "SHOW SCHEMAS LIKE 'tiphys'") == [], "also cleaned up when it fails"


def filled(topology: Topology, schema: str, rows: int = 15_000, parallel: int = 2, **options: Any) -> Loaded:
    replace = options.pop("replace", False)
    return fill(topology, ROOT, schema, DataSet(rows, options.pop("seed", 1)), parallel=parallel, replace=replace)


def test_a_broken_load_goes_on_and_ends_with_the_same_rows(topology: Topology, connection: Any) -> None:
    wanted = DataSet(40_000, 1)
    prepare(connection, "broken", wanted)

    class Breaks(Progress):
        def advance(self, amount: int) -> None:
            raise Temporary("the step's pod was lost")

    with pytest.raises(Temporary):
        load(ADDRESS, ROOT, "broken", wanted, blocks(40_000), parallel=1, progress=Breaks("x", 1, "rows"))
    there = examine(connection, "broken")
    assert there.asked == wanted and len(there.done) == 1
    resumed = filled(topology, "broken", 40_000)
    assert (resumed.change, resumed.rows) == ("resumed", 40_000)
    assert filled(topology, "straight", 40_000, parallel=4).change == "made"
    assert sums(connection, "broken") == sums(connection, "straight")
    assert filled(topology, "straight", 40_000).change == "nothing"


def test_foreign_keys_hold_on_the_server(topology: Topology, connection: Any) -> None:
    filled(topology, "keyed")
    orphans = "SELECT COUNT(*) FROM keyed.{} t LEFT JOIN keyed.employees e USING (emp_no) WHERE e.emp_no IS NULL"
    for table in ("dept_emp", "dept_manager", "titles", "salaries"):
        assert query(connection, orphans.format(table)) == [(0,)]
    with pytest.raises(mysql.connector.IntegrityError):
        query(connection, "INSERT INTO keyed.salaries VALUES (1, 1, '2020-01-01', '2021-01-01')")


def test_a_schema_of_others_is_refused_and_replaced_on_demand(topology: Topology, connection: Any) -> None:
    query(connection, "CREATE SCHEMA theirs")
    query(connection, "CREATE TABLE theirs.orders (id INT PRIMARY KEY)")
    with pytest.raises(Refused, match="orders"):
        filled(topology, "theirs")
    assert query(connection, "SHOW TABLES FROM theirs") == [("orders",)]
    assert filled(topology, "theirs", replace=True).rows == 15_000


def test_rows_that_somebody_added_are_found(topology: Topology, connection: Any) -> None:
    filled(topology, "touched")
    query(connection, "DELETE FROM touched.salaries LIMIT 1")
    with pytest.raises(StepError, match="has 14999 rows, 15000 were asked for"):
        filled(topology, "touched")


def test_a_check_sees_tables_without_a_key(topology: Topology, connection: Any) -> None:
    query(connection, "CREATE SCHEMA IF NOT EXISTS bare")
    query(connection, "CREATE TABLE bare.log (line TEXT)")
    keyless = [row[0] for row in query(connection, KEYLESS_SQL)]
    assert keyless == ["bare.log"]
    assert len(query(connection, QUEUES_SQL)) == 1
    query(connection, "DROP SCHEMA bare")
    assert query(connection, KEYLESS_SQL) == []
    leads = route(ADDRESS, 3306, ROOT, 2)
    assert topology.primary is not None and leads.server == topology.primary.id
    facts = Facts("demo", "ONLINE", 1, topology, 0, 0, keyless=keyless)
    assert health(judge_facts(facts)) == "warning"


def test_a_transaction_that_the_primary_never_had_is_errant(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "ERRANT_PATIENCE", 0.0)
    own = query(connection, "SELECT @@global.gtid_executed")[0][0]
    assert inspection.gtid_set(ADDRESS, "demo-0", ROOT, 5) == own
    assert inspection._beyond_primary(connection, own) == ""
    stranger = "11111111-2222-3333-4444-555555555555:1-3"
    assert inspection._beyond_primary(connection, f"{own},{stranger}") == stranger
