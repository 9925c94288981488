"""What the sidecar does to a real server: fresh data, data of an earlier cluster, a server that it must not touch."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tiphys.local import mysql_packages
from tiphys.local.operator import group
from tiphys.local.operator.accounts import Account
from tiphys.local.operator.initmysql import prepare
from tiphys.local.operator.mycnf import Identity, compose
from tiphys.local.operator.probe import ask
from tiphys.local.operator.rundir import short_link
from tiphys.local.operator.sidecar import NotYet, configure
from tiphys.local.operator.sql import Session, SqlError

ADDRESS = f"127.84.{os.getpid() % 250 + 1}.9"
GROUP = "5b0e5d5e-0000-4000-8000-00000000abcd"
ROOT, ADMIN = Account("root", "first root"), Account("mysqladmin", "first admin")
RECOVERY = Account("mysql_innodb_cluster_recovery", "first recovery")


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server as a pod's container would be, and give its socket."""
    mysql = mysql_packages.ensure()
    folder = tmp_path_factory.mktemp("server")
    data, run, settings = folder / "data", folder / "run", folder / "conf.d"
    assert prepare(data, mysql)
    (data / "mark").write_text("data")
    assert not prepare(data, mysql), "a folder with data is never touched"
    assert (data / "mark").exists()
    run.mkdir()
    settings.mkdir()
    (settings / "group.cnf").write_text(
        f"[mysqld]\ngtid_mode=ON\nenforce_gtid_consistency=ON\nplugin_load_add=auth_socket.so\n"
        f"loose_group_replication_group_name={GROUP}\n"
    )
    path = short_link(run) / "mysql.sock"
    identity = Identity(ADDRESS, 7, data, run, path, run / "mysqld.pid")
    (folder / "my.cnf").write_text(compose(identity, settings))
    (folder / "my.cnf").chmod(0o600)
    argv = mysql.command("mysqld", f"--defaults-file={folder / 'my.cnf'}", *mysql.server_options)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(argv, stderr=log, env={**os.environ, **mysql.environment})
    try:
        yield str(path)
        assert int((run / "mysqld.pid").read_text()) == server.pid
    finally:
        server.kill()  # an orderly end takes six seconds
        server.wait(60)
        if short_link(run) != run:
            short_link(run).unlink()


def patiently(*accounts: Account, socket: str) -> str:
    for _ in range(200):
        try:
            return configure(ADDRESS, socket, *accounts)
        except NotYet as reason:
            assert "does not answer" in str(reason)
            time.sleep(0.1)
    raise AssertionError("the server never answered")


def test_a_server_from_empty_folder_to_group(socket: str) -> None:
    with pytest.raises(SqlError):
        Session(ADMIN.user, ADMIN.password, address=ADDRESS)
    assert patiently(ROOT, ADMIN, RECOVERY, socket=socket) == "fresh data"
    with Session(ROOT.user, ROOT.password, address=ADDRESS) as session:
        assert session.rows("SELECT @@gtid_executed, @@super_read_only") == [("", 1)], "no errant transaction"
    assert patiently(ROOT, ADMIN, RECOVERY, socket=socket) == "configured already"

    # A cluster of the same name was deleted and made again: same claims, new Secrets.
    root, admin = Account("root", "second root"), Account("mysqladmin", "second admin")
    recovery = Account(RECOVERY.user, "second recovery")
    assert patiently(root, admin, recovery, socket=socket) == "data of an earlier cluster"
    with Session(root.user, root.password, address=ADDRESS) as session:
        assert session.rows("SELECT @@gtid_executed") == [("",)]
    with pytest.raises(SqlError):
        Session(ROOT.user, ROOT.password, address=ADDRESS)

    with pytest.raises(group.GroupError, match="is configured for group"):
        group.bootstrap(ADDRESS, admin, recovery, "11111111-0000-4000-8000-000000000000")
    group.bootstrap(ADDRESS, admin, recovery, GROUP)
    with Session(admin.user, admin.password, address=ADDRESS) as session:
        view = ask(session)
        assert (view.state, view.has_quorum, view.metadata) == ("ONLINE", True, None)
        # Left ON by an operator that died, this would make the next join a second group.
        assert session.rows("SELECT @@group_replication_bootstrap_group") == [(0,)]
    with pytest.raises(group.GroupError, match="is ONLINE"):
        group.bootstrap(ADDRESS, admin, recovery, GROUP)

    # A server in a group whose passwords do not fit is somebody's: never changed from the side.
    with pytest.raises(NotYet, match="in a group"):
        configure(ADDRESS, socket, ROOT, Account("mysqladmin", "third"), RECOVERY)
