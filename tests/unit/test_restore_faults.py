"""What goes wrong under a restore, on real servers: a step or server killed, a full disk, a wrong password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mysql.connector
import pytest
from mysql_group import ROOT, Server, free_ports, mysql_group
from test_restore_replace import die_at
from test_restore_server import SUMS, VECTOR, BreakingSource, Killed

from steps.backup import load_gtids, load_indexes, load_objects
from steps.backup.load_plan import read_plan
from steps.backup.load_rows import Target
from steps.backup.load_run import Restored, check_new, restore_from
from steps.backup.source import FolderSource
from steps.errors import Refused, StepError, Temporary
from steps.mysql.connection import Credentials, query, session
from tiphys.local import mysql_packages

ADDRESS = f"127.83.{os.getpid() % 250 + 1}.31"
GTIDS = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-90"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with session(ADDRESS, 3306, ROOT) as opened:
        for schema in ("shop", "tiphys"):
            query(opened, f"DROP SCHEMA IF EXISTS {schema}")
        query(opened, "DROP USER IF EXISTS shopper")
        yield opened


def restore(source: FolderSource | None = None, **options: Any) -> Restored:
    options = {"name": "vector", "only": [], "parallel": 2, **options}
    return restore_from(source or FolderSource(VECTOR), Target(ADDRESS, ROOT), **options)


def sums(connection: Any) -> dict[str, int]:
    return {str(name): value for name, value in query(connection, f"CHECKSUM TABLE {', '.join(SUMS)}")}


def phase(connection: Any) -> str:
    return str(query(connection, "SELECT phase FROM tiphys.restores ORDER BY started DESC LIMIT 1")[0][0])


def whole(connection: Any) -> None:
    """Check that all of the vector is there, and that the state says so."""
    assert sums(connection) == SUMS and phase(connection) == "done"
    for there in ("shop.rich", "shop.vacant"):
        query(connection, f"SELECT COUNT(*) FROM {there}")
    assert query(connection, "SELECT shop.twice(4)") == [(8,)]
    assert [row[0] for row in query(connection, "SHOW TRIGGERS IN shop")] == ["code_bi"]
    assert [row[1] for row in query(connection, "SHOW EVENTS IN shop")] == ["yearly"]
    assert "GRANT SELECT, INSERT ON `shop`.* TO `shopper`@`%`" in [
        row[0] for row in query(connection, "SHOW GRANTS FOR shopper")
    ]


@pytest.mark.parametrize(
    ("module", "after", "expected"),
    [
        (load_objects, 2, "tables"),  # between two tables
        (load_objects, 7, "tables"),  # between two accounts
        (load_objects, 25, "objects"),
        (load_objects, 29, "objects"),
        (load_indexes, 1, "indexes"),
    ],
)
def test_killed_in_any_phase_it_goes_on_and_is_never_taken_for_whole(
    connection: Any, monkeypatch: pytest.MonkeyPatch, module: Any, after: int, expected: str
) -> None:
    monkeypatch.setitem(load_indexes.Indexes.__init__.__kwdefaults__, "smallest", 0)
    with monkeypatch.context() as patch:
        die_at(patch, module, after)
        with pytest.raises(Killed):
            restore()
    assert phase(connection) == expected
    with pytest.raises(Refused, match=f"is not finished .phase {expected}"):
        restore(only=["shop"], invisible_key=True)
    restore()
    whole(connection)


def test_a_half_done_restore_of_tables_stands_in_the_way_of_others_only_where_they_meet(connection: Any) -> None:
    with pytest.raises(Killed):
        restore(BreakingSource(VECTOR, 1), tables=[("shop", "orders")])
    with pytest.raises(Refused, match=r"\(shop.orders\) with other parameters began here"):
        restore(tables=[("shop", "orders"), ("shop", "code")])
    restore(tables=[("shop", "code")])
    restore(tables=[("shop", "orders")])
    found = query(connection, "CHECKSUM TABLE shop.orders, shop.code")
    assert dict(found) == {name: SUMS[name] for name in ("shop.orders", "shop.code")}


def test_a_new_cluster_counts_the_backups_transactions_as_its_own(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        left = [1]

        def mortal(connection: Any, gtids: list[str]) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            commit(connection, gtids)

        commit = load_gtids._commit_empty
        patch.setattr(load_gtids, "TOGETHER", 40)
        patch.setattr(load_gtids, "_commit_empty", mortal)
        with pytest.raises(Killed):
            restore(take_gtids=True)
    assert phase(connection) == "objects"
    done = restore(take_gtids=True)
    assert done.gtids_taken == "taken-over"
    assert query(connection, f"SELECT GTID_SUBSET('{GTIDS}', @@global.gtid_executed)") == [(1,)]
    whole(connection)


def test_gtid_sets_are_read_with_tags_and_too_many_are_left_alone(connection: Any) -> None:
    one, two = "bbbbbbbb-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "cccccccc-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
    text = f"{one}:1-3:9:tag:4-5,\n{two}:7"
    assert load_gtids.intervals(text) == [(one, 1, 3), (one, 9, 9), (f"{one}:tag", 4, 5), (two, 7, 7)]
    with pytest.raises(StepError, match="is no GTID set"):
        load_gtids.intervals(f"{one}:1-3'; DROP SCHEMA x")
    assert load_gtids.take_over(connection, text, most=6) == "too-many"
    assert query(connection, f"SELECT GTID_SUBTRACT('{text}', @@global.gtid_executed) = '{text}'") == [(1,)]
    assert load_gtids.take_over(connection, text, most=7) == "taken-over"
    assert query(connection, f"SELECT GTID_SUBSET('{text}', @@global.gtid_executed)") == [(1,)]


def test_what_is_new_is_told_from_what_is_not(connection: Any) -> None:
    query(connection, "CREATE SCHEMA IF NOT EXISTS beside")
    with pytest.raises(Refused, match="create=true is for a new cluster, and this one has beside"):
        restore(must_be_empty=True)
    assert restore(take_gtids=True).gtids_taken == "not-new"
    query(connection, "DROP SCHEMA beside")


def test_a_cluster_is_looked_at_before_it_is_deployed_anew(connection: Any) -> None:
    """A full one is refused before servers or Routers are added to it; one where this restore broke off is not."""
    plan = read_plan(FolderSource(VECTOR), [])
    check_new(connection, plan, False)
    query(connection, "CREATE SCHEMA beside")
    with pytest.raises(Refused, match="create=true is for a new cluster, and this one has beside"):
        check_new(connection, plan, False)
    query(connection, "DROP SCHEMA beside")
    with pytest.raises(Killed):
        restore(BreakingSource(VECTOR, 1), must_be_empty=True)
    check_new(connection, plan, False)
    restore(must_be_empty=True)
    with pytest.raises(Refused, match="create=true is for a new cluster, and this one has shop"):
        check_new(connection, plan, False)


def test_a_wrong_password_is_told_as_such(connection: Any) -> None:
    with pytest.raises(StepError, match=r"does not let user 'root' do this.*Compare the cluster's Secret") as caught:
        restore_from(FolderSource(VECTOR), Target(ADDRESS, Credentials("root", "wrong")), name="x", only=[])
    assert "wrong" not in str(caught.value) and not isinstance(caught.value, Temporary)
    assert not query(connection, "SHOW DATABASES LIKE 'shop'")


def test_a_server_that_dies_under_a_restore_is_worth_another_try(server: Server, connection: Any) -> None:
    class Killing(FolderSource):
        def open(self, name: str) -> Any:
            if name.startswith("shop@orders@"):
                server.kill()
            return super().open(name)

    with pytest.raises(Temporary):
        restore(Killing(VECTOR))
    server.start()
    server.wait()
    server.join(bootstrap=True)
    with session(ADDRESS, 3306, ROOT) as again:
        assert phase(again) == "rows"
        restore()
        whole(again)


class SmallServer(Server):
    """A server whose data lie on a disk of their own, of a few dozen megabytes: a tmpfs in namespaces of its own."""

    def start(self) -> None:
        mysql = mysql_packages.find()
        data = self.folder / "data"
        options = [
            f"--defaults-file={self.folder / 'my.cnf'}",
            *mysql.server_options,
            f"--datadir={self.folder / 'small'}",
            f"--socket={self.folder / 's'}",
            f"--log-error={self.folder / 'error.log'}",
            f"--bind-address={self.address}",
            f"--tmpdir={self.folder}",
            # Without room for these a server ends itself, and that is another fault.
            f"--innodb-log-group-home-dir={self.folder / 'log'}",
            f"--innodb-undo-directory={self.folder / 'undo'}",
            f"--innodb-doublewrite-dir={self.folder}",
        ]
        (self.folder / "small").mkdir(exist_ok=True)
        script = (
            f"mount -t tmpfs -o size={SMALL_DISK} tmpfs '{self.folder}/small'"
            f" && cp -a '{data}/.' '{self.folder}/small/' && cd '{self.folder}' && mkdir log undo"
            ' && mv small/#innodb_redo log/ && mv small/undo_0* undo/ && exec "$@"'
        )
        command = ["unshare", "-rm", "sh", "-c", script, "sh", *mysql.command("mysqld", *options)]
        self.process = subprocess.Popen(command, env={**os.environ, **mysql.environment}, cwd=self.folder)


SMALL_DISK = "120m"
SMALL_SETTINGS = """
[mysqld]
mysqlx=OFF
skip-name-resolve
skip-log-bin
local_infile=ON
innodb_buffer_pool_size=64M
innodb_redo_log_capacity=8M
innodb_temp_data_file_path=ibtmp1:12M:autoextend
plugin_load_add=group_replication.so
loose-group_replication_start_on_boot=OFF
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    probe = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs tmpfs {tmp_path}"], capture_output=True, text=True
    )
    if probe.returncode:
        pytest.skip(f"no disk can be made small here: {probe.stderr.strip()}")
    mysql_packages.ensure()
    made = SmallServer(tmp_path, f"127.83.{os.getpid() % 250 + 1}.32", 7, [1], free_ports(1)[0])
    (tmp_path / "my.cnf").write_text(SMALL_SETTINGS)
    try:
        made.start()
        made.wait()
        made.prepare()
        yield made
    finally:
        made.stop()


PLAIN = [("shop", "orders"), ("shop", "log_unique"), ("shop", "code")]
"""Tables without BLOBs: a server that finds no room for one ends itself."""


def test_a_full_disk_of_the_server_is_told_and_once_there_is_room_it_goes_on(small: Server) -> None:
    target = Target(small.address, ROOT)
    with session(small.address, 3306, ROOT, read_timeout=200) as connection:
        query(connection, "CREATE SCHEMA ballast")
        query(connection, "CREATE TABLE ballast.t (id INT AUTO_INCREMENT PRIMARY KEY, c LONGBLOB)")
        restore_from(FolderSource(VECTOR), target, name="v", only=[], tables=PLAIN[:1])
        for size in (2_000_000, 100_000, 10_000):
            with pytest.raises(mysql.connector.Error, match="is full"):
                for _ in range(400):
                    query(connection, f"INSERT INTO ballast.t (c) VALUES (REPEAT('x', {size}))")
        with pytest.raises(StepError, match=r"is full.*goes on") as caught:
            restore_from(FolderSource(VECTOR), target, name="v", only=[], tables=PLAIN[1:], parallel=2)
        assert not isinstance(caught.value, Temporary)
        assert phase(connection) in ("tables", "rows")
        assert small.process is not None and small.process.poll() is None, small.errors()
        query(connection, "DROP SCHEMA ballast")
        restore_from(FolderSource(VECTOR), target, name="v", only=[], tables=PLAIN[1:], parallel=2)
        found = dict(query(connection, f"CHECKSUM TABLE {', '.join('.'.join(each) for each in PLAIN)}"))
        assert found == {name: SUMS[name] for name in found}
