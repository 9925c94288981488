"""Forcing a quorum: who is taken, when not, and that a real group of three goes on with the one that is left."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from mysql_group import ROOT, mysql_group
from operator_help import going, inside, member, outside, peers

from steps.mysql.connection import query
from tiphys.local.operator import quorum
from tiphys.local.operator.accounts import Account
from tiphys.local.operator.diagnose import diagnose
from tiphys.local.operator.group import GroupError
from tiphys.local.operator.member import Member

ALONE = {n: peers(0, **{f"m{k}": "ONLINE" if k == n else "UNREACHABLE" for k in range(3)}) for n in range(3)}


def chosen(*members: Member) -> str:
    found = quorum.choose_survivor(members, diagnose(members, created=True, deleting=False))
    return found.name if found else ""


def test_a_quorum_is_forced_from_who_is_left_once_another_server_is_back() -> None:
    left = member(2, inside(2, ALONE[2]))
    dead = [member(n, None, running=False) for n in (0, 1)]
    assert chosen(*dead, left) == "", "nobody is back yet, which is when Oracle's operator looks"
    assert chosen(dead[0], member(1, outside(1)), left) == "demo-2"
    assert chosen(member(0, outside(0)), member(1, outside(1)), left) == "demo-2"
    assert chosen(member(0, None, running=True), member(1, outside(1)), left) == "", "it might hold the group"
    assert chosen(member(0, outside(0)), member(1, outside(1)), going(left)) == ""
    assert chosen(*(member(n, outside(n)) for n in range(3))) == "", "nobody is left: that is a reboot"


def test_the_largest_partition_is_taken_and_a_quorum_is_left_alone() -> None:
    two = peers(0, m0="UNREACHABLE", m1="UNREACHABLE", m2="UNREACHABLE", m3="ONLINE", m4="ONLINE")
    one = peers(0, m0="UNREACHABLE", m1="UNREACHABLE", m2="ONLINE", m3="UNREACHABLE", m4="UNREACHABLE")
    parts = [member(2, inside(2, one)), member(3, inside(3, two)), member(4, inside(4, two))]
    assert chosen(member(0, outside(0)), member(1, outside(1)), *parts) == "demo-3"
    most = peers(1, m0="UNREACHABLE", m1="ONLINE", m2="ONLINE")
    assert chosen(member(0, outside(0)), member(1, inside(1, most)), member(2, inside(2, most))) == ""
    first, second = peers(0, m0="ONLINE"), peers(1, m1="ONLINE")
    split = (member(0, inside(0, first)), member(1, inside(1, second)), member(2, outside(2)))
    assert chosen(*split) == "" and "which group's data" in quorum.stuck_text("SPLIT_BRAIN")
    assert quorum.stuck_text("NO_QUORUM") == "" and "waiting" in quorum.stuck_text("NO_QUORUM_UNCERTAIN")


def rows(server: Any, statement: str) -> list[Any]:
    connection = server.connect()
    try:
        return [tuple(row) for row in query(connection, statement)]
    finally:
        connection.close()


def test_a_blocked_group_of_real_servers_takes_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [f"127.{os.getpid() % 60 + 140}.3.{n + 1}" for n in range(3)]
    admin = Account(ROOT.user, ROOT.password)
    states = "SELECT member_state, COUNT(*) FROM performance_schema.replication_group_members GROUP BY 1"
    with mysql_group(tmp_path, addresses) as servers:
        ports = {server.address: server.group_port for server in servers}
        monkeypatch.setattr(
            quorum, "seeds", lambda each: ",".join(f"127.0.0.1:{ports[address]}" for address in sorted(each))
        )
        with pytest.raises(GroupError, match="reaches 3 of 3"):
            quorum.force_quorum(addresses[0], admin)
        rows(servers[0], "CREATE DATABASE kept")
        servers[1].kill()
        servers[2].kill()
        for _ in range(600):
            if dict(rows(servers[0], states)) == {"ONLINE": 1, "UNREACHABLE": 2}:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"it never noticed: {rows(servers[0], states)}")
        quorum.force_quorum(addresses[0], admin)
        for _ in range(600):
            if dict(rows(servers[0], states)) == {"ONLINE": 1}:
                break
            time.sleep(0.1)
        assert dict(rows(servers[0], states)) == {"ONLINE": 1}
        rows(servers[0], "CREATE DATABASE after_it")
        assert rows(servers[0], "SELECT @@group_replication_force_members") == [("",)]
