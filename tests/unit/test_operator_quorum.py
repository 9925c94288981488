"""Forcing a quorum: who is taken, when not, and that a real group of three goes on with the one that is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mysql_group import REPLICATION, ROOT, Server, mysql_group
from operator_help import going, inside, member, outside, peers

from steps.mysql.connection import close, query
from tiphys.local.operator import group, quorum, rejoin
from tiphys.local.operator.accounts import Account
from tiphys.local.operator.decide import Join, Lost, decide
from tiphys.local.operator.diagnose import Diagnosis, diagnose
from tiphys.local.operator.group import GroupError
from tiphys.local.operator.member import Member
from tiphys.local.operator.rejoin import (
    ERROR_SECONDS,
    FIRST_PAUSE,
    GAP_SECONDS,
    LONGEST_PAUSE,
    LOST_SECONDS,
    STUCK_SECONDS,
    Rejoins,
    names_old_incarnation,
)
from tiphys.local.operator.sql import SqlError

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


def test_a_server_that_was_told_whom_to_force_starts_in_a_group_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [f"127.{os.getpid() % 60 + 140}.5.{n + 1}" for n in range(2)]
    admin, recovery = Account(ROOT.user, ROOT.password), Account(REPLICATION.user, REPLICATION.password)
    with mysql_group(tmp_path, addresses) as (left, dead):
        for module in (quorum, group):
            monkeypatch.setattr(module, "seeds", lambda _: f"127.0.0.1:{left.group_port}")
        monkeypatch.setattr(quorum, "_clear", lambda *_: None)  # as where the operator is killed in between
        dead.kill()
        for _ in range(600):
            try:
                quorum.force_quorum(left.address, admin)
                break
            except GroupError:  # it has not noticed yet
                time.sleep(0.1)
        forced = "SELECT @@group_replication_force_members"
        assert rows(left, forced) == [(f"127.0.0.1:{left.group_port}",)]
        group.leave(left.address, admin)
        ((name,),) = rows(left, "SELECT @@group_replication_group_name")
        group.bootstrap(left.address, admin, recovery, name)
        assert rows(left, forced) == [("",)]


def test_a_server_that_is_just_told_something_else_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, told = [SqlError("This option cannot be set while ...", errno=3724)] * 2, list[str]()

    class Server:
        def __init__(self, *_: str, address: str) -> None:
            pass

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def run(self, statement: str) -> None:
            told.append(statement)
            if busy:
                raise busy.pop()

    monkeypatch.setattr(quorum, "Session", Server)
    quorum._clear("127.0.0.1", Account("admin", ""))
    assert told == [group.NOBODY_FORCED] * 3


# Who comes back into what is left, and what if nobody can

HALF = [member(0, inside(0, peers(0, m0="ONLINE"))), member(1, outside(1)), member(2, outside(2))]


def seen(members: list[Member]) -> Diagnosis:
    return diagnose(members, created=True, deleting=False)


class Story(Rejoins):
    """Attempts to join, at times that the test tells."""

    def __init__(self) -> None:
        self.time = 0.0
        super().__init__(lambda: self.time)

    def may(self, of: Member, members: list[Member], busy: bool = False, rejoin: bool = True) -> bool:
        return self.may_begin(Join(of, rejoin), seen(members), 3, busy)

    def fails(self, of: Member, took: float = 60.0, refused: bool = True) -> None:
        self.time += took
        self.note_failure(of.uid, took, refused)


def test_members_come_back_one_at_a_time_while_they_are_needed_for_a_majority() -> None:
    story = Story()
    assert story.may(HALF[1], HALF) and not story.may(HALF[2], HALF, busy=True)
    assert story.may(HALF[2], HALF, busy=True, rejoin=False), "a new cluster has nothing to lose"
    two = peers(0, m0="ONLINE", m1="ONLINE")
    most = [member(0, inside(0, two)), member(1, inside(1, two)), member(2, outside(2))]
    assert story.may(HALF[2], most, busy=True)


def test_a_member_that_could_not_join_tries_again_less_and_less_often() -> None:
    story = Story()
    pauses = []
    for _ in range(8):
        story.fails(HALF[1], took=1.0, refused=False)
        began = story.time
        while not story.may(HALF[1], HALF):
            story.time += 0.5
        pauses.append(story.time - began)
        assert story.may(HALF[2], HALF), "others need not wait"
    assert pauses[0] == FIRST_PAUSE and pauses[-1] == LONGEST_PAUSE and pauses == sorted(pauses)
    assert not story.is_stuck(HALF, seen(HALF), 3), "nobody named an old incarnation"


def test_a_server_that_says_error_is_left_to_itself_for_a_while() -> None:
    story, expelled = Story(), member(1, outside(1, state="ERROR"))

    def waited() -> float:
        began = story.time
        while not story.may(expelled, HALF):
            story.time += 1.0
        return story.time - began

    assert waited() == ERROR_SECONDS
    assert story.may(HALF[1], HALF), "OFFLINE: it has ended its attempts"
    story.time += GAP_SECONDS + 1.0
    assert waited() == ERROR_SECONDS, "expelled once more, after it had come back"


def test_a_server_that_its_group_does_not_list_is_told_to_leave_in_the_end() -> None:
    story, two = Story(), peers(0, m0="ONLINE", m1="ONLINE")
    alone = member(2, inside(2, peers(0, m0="UNREACHABLE", m1="UNREACHABLE", m2="ONLINE")))
    members = [member(0, inside(0, two)), member(1, inside(1, two)), alone]
    (lost,) = decide(members, seen(members), deleting=False)
    assert lost == Lost(alone)
    while not story.may_leave(lost):
        story.time += 1.0
    assert story.time == LOST_SECONDS

    stale = member(2, inside(2, peers(0, m0="ONLINE", m1="ONLINE", m2="ONLINE")))
    assert decide([*members[:2], stale], seen([*members[:2], stale]), deleting=False) == [Lost(stale)]
    listed = [member(n, inside(n, peers(0, m0="ONLINE", m1="ONLINE", m2="UNREACHABLE"))) for n in (0, 1)]
    assert Lost(alone) not in decide([*listed, alone], seen([*listed, alone]), deleting=False), "not given up yet"


def test_a_group_that_refuses_its_members_for_long_is_started_again_where_that_loses_nothing() -> None:
    story = Story()
    story.fails(HALF[1], took=STUCK_SECONDS / 2)
    assert not story.is_stuck(HALF, seen(HALF), 3), "it may yet expel the old one"
    story.fails(HALF[1], took=STUCK_SECONDS / 2)
    assert story.is_stuck(HALF, seen(HALF), 3)

    def stuck(*members: Member) -> bool:
        return story.is_stuck(members, seen(list(members)), 3)

    assert not stuck(HALF[0], HALF[1]), "a server is missing, which might have more"
    assert not stuck(HALF[0], HALF[1], member(2, None)), "one does not answer"
    assert not stuck(HALF[0], HALF[1], member(2, outside(2, last=11))), "one has what the group has not"
    two = peers(0, m0="ONLINE", m1="ONLINE")
    joined = [member(0, inside(0, two)), member(1, inside(1, two)), HALF[2]]
    assert not stuck(*joined), "a majority expels whom it wants"
    listed = peers(0, m0="ONLINE", m1="UNREACHABLE")
    assert not stuck(member(0, inside(0, listed)), *HALF[1:]), "no quorum: that is forced"
    story.fails(HALF[1], refused=False)
    assert not stuck(*HALF), "something else is the matter now"


def test_only_those_that_are_in_the_group_are_told_to_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that the group cannot reach is listed with the address of a pod that is gone: nothing answers there."""
    told: list[str] = []
    monkeypatch.setattr(group, "leave", lambda address, *_: told.append(address))
    seen = peers(1, m0="UNREACHABLE", m1="ONLINE", m2="RECOVERING")
    Rejoins().end_group(inside(1, seen), Account("", ""))
    assert told == [peer.address for peer in seen[1:]]


def test_an_attempt_that_failed_for_another_reason_in_the_end_is_not_held_against_the_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story()

    def join(*_: Any) -> None:
        story.time += 61.0
        raise SqlError("3092")

    monkeypatch.setattr(group, "join", join)
    for last, stuck in ((50.0, False), (5.0, True)):
        monkeypatch.setattr(rejoin, "names_old_incarnation", lambda _peer, _admin, within, last=last: last < within)
        with pytest.raises(SqlError):
            story.join(HALF[1], Account("", ""), Account("", ""), ["127.0.0.9"], False)
        assert story.is_stuck(HALF, seen(HALF), 3) is stuck


def join_and_die(left: Server, joiner: Server) -> None:
    """Have a server join a group of one, and kill it when that counts it in its communication and in no view.

    That lasts for milliseconds; here the joiner runs for a few of them at a time.
    """
    rows(left, "CREATE DATABASE lasting")
    rows(left, "CREATE TABLE lasting.t (id INT AUTO_INCREMENT PRIMARY KEY)")
    wrote, over = [time.monotonic()], threading.Event()

    def write() -> None:
        connection = left.connect(read_timeout=300)
        try:
            while not over.is_set():
                query(connection, "INSERT INTO lasting.t VALUES ()")
                wrote[0] = time.monotonic()
                time.sleep(0.01)
        except SqlError:
            pass  # the group is ended under it
        finally:
            close(connection)

    def join() -> None:
        connection = joiner.connect(read_timeout=300)
        with pytest.raises(SqlError):
            query(connection, "START GROUP_REPLICATION")
        close(connection)

    threads = [threading.Thread(target=each, daemon=True) for each in (write, join)]
    for thread in threads:
        thread.start()
    assert joiner.process is not None
    limit = time.monotonic() + 60
    while time.monotonic() < wrote[0] + 2:
        assert time.monotonic() < limit, "it never counted the joiner, or did so for good"
        os.kill(joiner.process.pid, signal.SIGSTOP)
        time.sleep(0.1 if time.monotonic() < wrote[0] + 0.5 else 0.5)
        os.kill(joiner.process.pid, signal.SIGCONT)
        time.sleep(0.006)
    joiner.kill()
    over.set()
    for thread in threads[1:]:
        thread.join(60)


# The driver leaves the socket of a connection that was lost to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_group_that_takes_a_member_for_its_old_incarnation_says_so_and_loses_nothing_when_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [f"127.{os.getpid() % 60 + 140}.4.{n + 1}" for n in range(2)]
    admin, recovery = Account(ROOT.user, ROOT.password), Account(REPLICATION.user, REPLICATION.password)
    members = "SELECT member_host, member_state FROM performance_schema.replication_group_members"
    with mysql_group(tmp_path, addresses) as (left, joiner):
        ports = {server.address: server.group_port for server in (left, joiner)}
        monkeypatch.setattr(group, "seeds", lambda each: ",".join(f"127.0.0.1:{ports[one]}" for one in each))
        group.leave(joiner.address, admin)
        join_and_die(left, joiner)
        joiner.start()
        joiner.wait()
        assert rows(left, members) == [(left.address, "ONLINE")], "so it says"
        with pytest.raises(SqlError, match="4118|majority"):
            rows(left, f"SET GLOBAL group_replication_force_members='127.0.0.1:{left.group_port}'")
        assert not names_old_incarnation(left.address, admin, 30)

        def try_it() -> None:
            with pytest.raises(SqlError):
                group.join(joiner.address, admin, recovery, [left.address], False)

        trying = threading.Thread(target=try_it, daemon=True)
        trying.start()
        for _ in range(600):
            if names_old_incarnation(left.address, admin, 30):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"it was never refused: {joiner.errors()}")
        joiner.kill()  # its attempt would last a minute
        trying.join(60)
        joiner.start()
        acknowledged = rows(left, "SELECT COUNT(*) FROM lasting.t")
        # `Rejoins.end_group` stops it in good order, for which MySQL takes over a minute of waiting.
        left.kill()
        left.start()
        left.wait()
        ((name,),) = rows(left, "SELECT @@group_replication_group_name")
        group.bootstrap(left.address, admin, recovery, name)
        joiner.wait()
        Rejoins().join(replace(member(1), address=joiner.address), admin, recovery, [left.address], False)
        assert rows(left, "SELECT COUNT(*) FROM lasting.t") == acknowledged
