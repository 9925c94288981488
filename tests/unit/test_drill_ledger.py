"""The ledger against a real mysqld: what clients believe must be what the server has."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mysql_group import ROOT, Server
from platform_help import eventually

from steps.drill import rows
from steps.drill.attempts import Attempt, Outcome
from steps.drill.clock import Clock, Heartbeat
from steps.drill.ledger import ANSWER_SECONDS, ClientRecord, Endpoint, Ledger
from steps.drill.outages import Downtime, downtime
from steps.mysql.connection import close
from tiphys.local import mysql_packages

ADDRESS = f"127.88.{os.getpid() % 250 + 1}.5"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    mysql_packages.ensure()
    made = Server(tmp_path_factory.mktemp("mysqld"), ADDRESS, 1, [], 0)
    made.start()
    try:
        made.wait()
        made.prepare()
        yield made
    finally:
        made.kill()


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    opened = server.connect()
    yield opened
    close(opened)


def ledger(run: str, clock: Clock, *, writers: int = 4, readers: int = 2, port: int = 3306) -> Ledger:
    endpoint = Endpoint(ADDRESS, port, ROOT)
    return Ledger(run, endpoint, endpoint, clock, interval=0.02, writers=writers, readers=readers)


def writes(records: list[ClientRecord], outcome: Outcome) -> set[tuple[int, int]]:
    return {
        (record.client, attempt.sequence)
        for record in records
        if record.kind == "write"
        for attempt in record.attempts
        if attempt.outcome is outcome
    }


def acknowledged(records: list[ClientRecord], kind: str = "write") -> list[float]:
    attempts: list[Attempt] = [a for record in records if record.kind == kind for a in record.attempts]
    return [a.end for a in attempts if a.outcome is Outcome.ACKNOWLEDGED and a.end is not None]


def in_doubt(clients: Ledger) -> list[Attempt]:
    return [a for attempts in clients.attempts("write") for a in list(attempts) if a.outcome is Outcome.IN_DOUBT]


def settle(clients: Ledger, clock: Clock) -> float:
    """Wait until every writer has an acknowledgement of a write begun after now; return the time then."""
    begun = clock()

    def served(attempts: Sequence[Attempt]) -> bool:
        return any(a.outcome is Outcome.ACKNOWLEDGED and a.start > begun for a in list(attempts))

    eventually(lambda: all(served(attempts) for attempts in clients.attempts("write")))
    return clock()


def check_length(measured: Downtime, length: float) -> None:
    """The outage that was made is the longest: hardly shorter, and longer only by a busy machine's delays."""
    assert measured.worst is not None and length - 0.1 - measured.spacing <= measured.longest <= length + 5


def test_every_acknowledged_write_is_there_and_nothing_else(connection: Any) -> None:
    rows.prepare(connection, "calm")
    clock = Clock()
    clients = ledger("calm", clock)
    clients.start()
    time.sleep(1.0)
    eventually(lambda: all(clients.attempts("read")) and all(len(each) > 5 for each in clients.attempts("write")))
    records = clients.stop()
    assert [record.died for record in records] == [""] * 6
    written = writes(records, Outcome.ACKNOWLEDGED)
    assert len(written) > 20
    assert written == rows.ids(connection, "calm")
    assert not writes(records, Outcome.IN_DOUBT) and not writes(records, Outcome.REFUSED)
    assert acknowledged(records, "read")
    # One connection a client for the whole time: each new one costs a handshake that is no part of a write.
    assert all(sum(a.connected is not None for a in record.attempts) == 1 for record in records)


def test_a_server_that_is_frozen_is_an_outage_of_that_length(server: Server, connection: Any) -> None:
    rows.prepare(connection, "frozen")
    clock = Clock()
    clients = ledger("frozen", clock)
    heartbeat = Heartbeat(clock)
    heartbeat.start()
    clients.start()
    settle(clients, clock)
    time.sleep(0.5)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    frozen_at = clock()
    try:
        time.sleep(1.0)
    finally:
        thawed_at = clock()
        os.kill(server.process.pid, signal.SIGCONT)
    until = settle(clients, clock)
    records = clients.stop()
    heartbeat.stop()
    measured = downtime(acknowledged(records), 0.0, frozen_at, until)
    check_length(measured, thawed_at - frozen_at)
    assert not measured.open and measured.worst in measured.outages
    # Nobody gave up: the writes that were under way were answered late, with their true times.
    late = [a for record in records for a in record.attempts if a.latency is not None and a.latency > 0.8]
    assert late and all(a.outcome is Outcome.ACKNOWLEDGED for a in late)
    assert writes(records, Outcome.ACKNOWLEDGED) == rows.ids(connection, "frozen")


def test_an_answer_after_the_timeout_counts_with_its_true_time(server: Server, connection: Any) -> None:
    rows.prepare(connection, "late")
    clock = Clock()
    clients = ledger("late", clock, writers=2, readers=0)
    clients.start()
    settle(clients, clock)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    frozen_at = clock()
    try:
        eventually(lambda: len(in_doubt(clients)) == 2)
        given_up = in_doubt(clients)
    finally:
        thawed_at = clock()
        os.kill(server.process.pid, signal.SIGCONT)
    until = settle(clients, clock)
    records = clients.stop()
    assert len(given_up) == 2, "after the timeout a write is in doubt"
    late = [a for record in records for a in record.attempts if a.latency is not None and a.latency > ANSWER_SECONDS]
    assert len([a for a in late if a.outcome is Outcome.ACKNOWLEDGED and a.late and not a.served]) == 2
    assert not writes(records, Outcome.IN_DOUBT)
    check_length(downtime(acknowledged(records), 0.0, frozen_at, until), thawed_at - frozen_at)
    assert writes(records, Outcome.ACKNOWLEDGED) == rows.ids(connection, "late")


def test_an_outage_that_has_not_ended_counts_up_to_the_end(server: Server, connection: Any) -> None:
    rows.prepare(connection, "open")
    clock = Clock()
    clients = ledger("open", clock, writers=2, readers=0)
    clients.start()
    settle(clients, clock)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        frozen_at = clock()
        time.sleep(0.6)
        until = clock()
        records = clients.stop()
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    measured = downtime(acknowledged(records), 0.0, frozen_at, until)
    assert measured.open
    check_length(measured, until - frozen_at)
    assert len(writes(records, Outcome.IN_DOUBT)) == 2, "each client had one write under way"
    assert all(record.attempts[-1].end is None for record in records)
    present = _settled_ids(connection, "open")
    assert writes(records, Outcome.ACKNOWLEDGED) <= present
    assert present <= writes(records, Outcome.ACKNOWLEDGED) | writes(records, Outcome.IN_DOUBT)


def _settled_ids(connection: Any, run: str) -> set[tuple[int, int]]:
    """The ids once no statement of before is still being carried out."""
    seen: set[tuple[int, int]] = set()
    for _ in range(20):
        now = rows.ids(connection, run)
        if now and now == seen:
            return now
        seen = now
        time.sleep(0.1)
    return seen


def test_a_write_to_a_read_only_server_is_refused_and_a_port_without_listener_too(connection: Any) -> None:
    rows.prepare(connection, "refused")
    clock = Clock()
    cursor = connection.cursor()
    cursor.execute("SET GLOBAL super_read_only = ON")
    try:
        clients = ledger("refused", clock, writers=2, readers=1)
        clients.start()
        eventually(lambda: all(clients.attempts("write")))
        records = clients.stop()
    finally:
        cursor.execute("SET GLOBAL super_read_only = OFF")
        cursor.close()
    assert writes(records, Outcome.REFUSED) and not writes(records, Outcome.IN_DOUBT)
    assert {a.code for record in records if record.kind == "write" for a in record.attempts} == {1290}
    assert rows.ids(connection, "refused") == set()
    nobody = ledger("refused", clock, writers=1, readers=0, port=3399)
    nobody.start()
    eventually(lambda: all(nobody.attempts("write")))
    attempts = nobody.stop()[0].attempts
    assert attempts and all(a.outcome is Outcome.REFUSED and a.code == 2003 for a in attempts)


def test_a_client_that_dies_says_so(server: Server) -> None:
    clock = Clock()
    broken = ledger("dies", clock, writers=1, readers=0)
    broken.clients[0]._interval = None  # type: ignore[assignment]
    broken.start()
    eventually(lambda: not broken.clients[0].is_alive())
    assert "TypeError" in broken.stop()[0].died


def test_the_table_is_cleared_kept_and_dropped(connection: Any) -> None:
    rows.prepare(connection, "one")
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO tiphys.ledger VALUES ('one', 0, %s)", [(n,) for n in range(6000)])
    cursor.execute("INSERT INTO tiphys.ledger VALUES ('two', 0, 1)")
    rows.keep(connection, "two")
    assert rows.ids(connection, "two") == {(0, 1)}
    assert "one" in rows.runs(connection) and "two" not in rows.runs(connection)
    assert rows.clear(connection, "one") == 6000
    assert not rows.drop_if_empty(connection)
    for run in {*rows.runs(connection), "two"}:
        rows.clear(connection, run)
    assert rows.drop_if_empty(connection)
    assert not rows.exists(connection)
    cursor.close()


def test_an_empty_table_goes_and_one_that_somebody_else_dropped_is_none(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drill that was killed before its first write, and another that clears at the same time."""
    rows.prepare(connection, "killed")
    assert rows.runs(connection) == [] and rows.clear_all(connection, []) == []
    assert not rows.exists(connection)
    monkeypatch.setattr(rows, "exists", lambda connection: True)
    assert rows.clear_all(connection, ["killed"]) == []


STANDS_STILL = """
import sys, threading, time
from steps.drill.clock import Clock, Heartbeat
clock = Clock()
heartbeat = Heartbeat(clock)
heartbeat.start()
while not heartbeat.beats:
    time.sleep(0.01)
print(clock(), flush=True)
sys.stdin.readline()
seen = heartbeat.beats
while heartbeat.beats < seen + 3:
    time.sleep(0.01)
heartbeat.stop()
print(max(stall.overlap(0.0, clock()) for stall in heartbeat.stalls))
print(sum(thread.name == "heartbeat" for thread in threading.enumerate()))
"""


def test_the_heartbeat_sees_the_process_stand_still() -> None:
    # A process of its own: a test run that stops itself would be put into the background by a shell.
    command = [sys.executable, "-c", STANDS_STILL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.6)
            process.send_signal(signal.SIGCONT)
            longest, threads = process.communicate("go on\n", timeout=60)[0].split()
        finally:
            process.kill()
    assert float(longest) > 0.5
    assert threads == "0", "the heartbeat's thread has ended"


def test_a_runs_name_never_carries_sql(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Kubernetes name"):
        ledger("x'); DROP TABLE t; --", Clock())
