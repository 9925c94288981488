"""The process runtime with real processes: exit codes, logs, signals, leftovers, adoption."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from pods_help import until

from tiphys.local.kubelet import processes, runtime
from tiphys.local.kubelet.launch import Launch, main_process
from tiphys.local.kubelet.processes import CONTAINER_VARIABLE, is_running, members, parse_stat, read_stat
from tiphys.local.kubelet.runtime import ContainerProcess, new_container_id


def run(folder: Path, *argv: str, **env: str) -> ContainerProcess:
    identity = new_container_id()
    variables = {"PATH": os.environ["PATH"], CONTAINER_VARIABLE: identity} | env
    return ContainerProcess.start(folder / "main", identity, Launch(argv, variables, folder))


async def main_pid(process: ContainerProcess) -> int:
    """Wait for the program's number: never a number that a signal would take for more than one process."""
    await until(process.main_pid)
    pid = process.main_pid()
    assert pid is not None and pid > 1
    return pid


async def test_exit_code_and_both_streams_in_the_log(tmp_path: Path) -> None:
    process = run(tmp_path, "sh", "-c", 'echo out; echo err >&2; echo "$WORD"; exit 7', WORD="a b  'c'")
    ended = await process.wait()
    assert (ended.code, ended.known) == (7, True)
    assert (tmp_path / "main.log").read_text() == "out\nerr\na b  'c'\n"
    assert (tmp_path / "main.exit").read_text() == "7\n"


async def test_a_killed_program_gives_137_and_leaves_no_word_in_the_log(tmp_path: Path) -> None:
    process = run(tmp_path, "sleep", "60")
    pid = await main_pid(process)
    assert (tmp_path / "main.pid").read_text() == f"{pid}\n"
    os.kill(pid, signal.SIGKILL)
    assert (await process.wait()).code == 137
    assert (tmp_path / "main.log").read_text() == ""


async def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    await run(tmp_path, "echo", "first").wait()
    await run(tmp_path, "echo", "second").wait()
    assert (tmp_path / "main.log").read_text() == "second\n"
    assert (tmp_path / "main.prev.log").read_text() == "first\n"


async def test_the_program_gets_default_signals_and_handles_sigterm(tmp_path: Path) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.02; done"
    process = run(tmp_path, "sh", "-c", script)
    await until(lambda: (tmp_path / "main.log").read_text() == "ready\n")
    pid = await main_pid(process)
    ignored = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigIgn" in line)
    assert int(ignored.split()[1], 16) & (1 << (signal.SIGINT - 1)) == 0
    stat = read_stat(pid)
    assert stat is not None and stat.session not in (0, 1, os.getpgrp()), "that is not the container's own session"
    os.killpg(stat.session, signal.SIGINT)
    assert process.signal(signal.SIGTERM) or (await process.wait()).code == 130


async def test_kill_ends_children_and_daemons_that_left_the_session(tmp_path: Path) -> None:
    script = "sleep 61 & setsid sh -c 'trap : TERM; while :; do sleep 60; done' & trap : TERM; echo on; wait; wait"
    process = run(tmp_path, "sh", "-c", script)
    await until(lambda: len(members(process.container_id)) >= 5)
    await process.kill()
    assert (await process.wait()).code == 137
    assert members(process.container_id) == []


async def test_leftovers_of_a_program_that_ended_are_removed(tmp_path: Path) -> None:
    process = run(tmp_path, "sh", "-c", "setsid sleep 62 >/dev/null 2>&1 & exit 0")
    assert (await process.wait()).code == 0
    left = await process.clean()
    assert len(left) == 1
    await until(lambda: members(process.container_id) == [])


async def test_what_is_started_behind_the_walk_s_back_is_found_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = [{"a": [7]}, {"a": [7, 8]}, {}]
    looked: list[set[str]] = []

    def walk(identities: set[str]) -> dict[str, list[int]]:
        looked.append(identities)
        return walks.pop(0)

    monkeypatch.setattr(processes, "kill_marked", walk)
    sweeper = processes.Sweeper()
    assert await asyncio.gather(sweeper.sweep("a"), sweeper.sweep("b")) == [[7, 8], []]
    assert looked == [{"a", "b"}, {"a"}, {"a"}]


async def test_adoption_learns_the_exit_code(tmp_path: Path) -> None:
    first = run(tmp_path, "sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 9")
    await until(first.main_pid)
    first.detach()
    second = ContainerProcess.adopt(tmp_path / "main", first.container_id, first.started_at)
    assert second is not None
    assert second.main_pid() == first.main_pid()
    (tmp_path / "go").touch()
    assert (await second.wait()).code == 9
    assert ContainerProcess.adopt(tmp_path / "main", first.container_id, first.started_at) is None
    assert ContainerProcess.past_exit(tmp_path / "main", first.container_id).code == 9


async def test_a_reused_number_is_not_adopted_nor_signalled(tmp_path: Path) -> None:
    process = run(tmp_path, "sleep", "63")
    await until(process.main_pid)
    process.detach()
    stranger = await asyncio.create_subprocess_exec("sleep", "64")
    shim = tmp_path / "main.shim"
    identity, line = shim.read_text().splitlines()
    number, rest = line.split(maxsplit=1)
    shim.write_text(f"{identity}\n{stranger.pid} {rest}\n")
    try:
        assert ContainerProcess.adopt(tmp_path / "main", identity, 0.0) is None
        assert not is_running(stranger.pid, parse_stat(line).started)
        # Another container's run in the same place is not ours either.
        shim.write_text(f"other\n{line}\n")
        assert ContainerProcess.adopt(tmp_path / "main", identity, 0.0) is None
        shim.write_text(f"{identity}\n{line}\n")
        (tmp_path / "main.pid").write_text(f"{stranger.pid}\n")
        again = ContainerProcess.adopt(tmp_path / "main", identity, 0.0)
        assert again is not None
        assert not again.signal(signal.SIGKILL)
        await again.kill()
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()
    assert members(identity) == []


async def test_a_lost_shim_is_an_unknown_exit_and_its_program_is_cleaned_up(tmp_path: Path) -> None:
    process = run(tmp_path, "sleep", "65")
    pid = await main_pid(process)
    program = read_stat(pid)
    assert program is not None and program.parent not in (0, 1, os.getpid()), "that is not the shim"
    os.kill(program.parent, signal.SIGKILL)
    ended = await process.wait()
    assert (ended.code, ended.known) == (runtime.UNKNOWN_EXIT, False)
    assert len(await process.clean()) == 1


def test_a_command_name_with_spaces_and_parentheses_is_read() -> None:
    stat = parse_stat("17 (a) b (c)) Z 4 5 6 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0")
    assert (stat.state, stat.parent, stat.session, stat.started, stat.alive) == ("Z", 4, 6, 4711, False)


async def test_a_number_in_a_file_is_not_believed_without_its_shim(tmp_path: Path) -> None:
    folder = tmp_path / "pods/u"
    folder.mkdir(parents=True)
    assert main_process(tmp_path, "u", "main") is None
    process = run(folder, "sleep", "66")
    pid = await main_pid(process)
    assert main_process(tmp_path, "u", "main") == pid
    for text in (f"{pid}", "", "-1\n", "0\n", f"{os.getpid()}\n", "x\n"):
        (folder / "main.pid").write_text(text)
        assert main_process(tmp_path, "u", "main") is None
    (folder / "main.pid").write_text(f"{pid}\n")
    await process.kill()
    assert main_process(tmp_path, "u", "main") is None, "it has ended"
