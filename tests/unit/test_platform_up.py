from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from kubernetes import client, config
from platform_help import PATIENCE, clean, eventually, free_network, free_port, new_home, running, tool

from tiphys.cli import cli
from tiphys.commands.platform import memory_warning
from tiphys.local.client import Kube
from tiphys.local.platform import addresses, bringing_up
from tiphys.local.platform.access import ensure_token
from tiphys.local.platform.bringing_up import UpError, decide
from tiphys.local.platform.processes import of_platform
from tiphys.local.platform.readiness import Readiness
from tiphys.local.platform.record import PartState, Record, hold, is_up, stamp
from tiphys.local.platform.status import duration
from tiphys.local.platform.supervisor import part_environment
from tiphys.local.settings import NAMESPACE, Settings


def test_up_status_down_up_again_and_purge(tmp_path: Path) -> None:
    home = tmp_path / "home"
    options = ("--network", str(free_network()), "--webhook-port", str(free_port()), "--nodes", "2")
    try:
        first = tool(home, "up", *options)
        assert first.returncode == 0, first.stderr
        assert "submit deploy-cluster" in first.stdout
        assert "Traceback" not in first.stderr

        found = json.loads(tool(home, "status", "--json").stdout)
        assert found["up"] and found["mysql"]["version"]
        states = {part["name"]: part["state"] for part in found["parts"]}
        assert states["apiserver"] == "ready"
        assert set(states.values()) <= {"ready", "building"}, states
        assert len(found["nodes"]) == 2 and all(node["ready"] for node in found["nodes"])

        path = Path(tool(home, "kubeconfig").stdout.strip())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with client.ApiClient(config.load_kube_config(str(path)) or client.Configuration.get_default_copy()) as api:
            names = {one.metadata.name for one in client.CoreV1Api(api).list_namespace().items}
        assert {"tiphys", "default", "kube-system"} <= names
        token = tool(home, "token").stdout.strip()
        assert len(token) >= 32
        commands = b"".join((Path("/proc") / str(one.pid) / "cmdline").read_bytes() for one in of_platform(home))
        for secret in (token, (home / "admin.token").read_text().strip()):
            assert secret.encode() not in commands

        again = tool(home, "up")
        assert again.returncode == 0 and "was up already" in again.stdout
        assert " 0 created, 0 changed" in again.stdout
        refused = tool(home, "up", "--nodes", "5")
        assert refused.returncode == 1 and "up with --nodes 2" in refused.stderr
        assert tool(home, "token").stdout.strip() == token

        # An API server that dies comes back with all that it held.
        pid = next(part["pid"] for part in found["parts"] if part["name"] == "apiserver")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: tool(home, "token").stdout.strip() == token)

        # So does a supervisor: the next `up` takes over what it left.
        os.kill(Record.load(home).pid, signal.SIGKILL)
        eventually(lambda: "run without their supervisor" in tool(home, "status").stdout)
        assert tool(home, "up").returncode == 0
        assert tool(home, "token").stdout.strip() == token

        down = tool(home, "down")
        assert down.returncode == 0 and "no process of it is left" in down.stdout
        assert of_platform(home) == []
        assert tool(home, "status").returncode == 3

        assert tool(home, "up").returncode == 0, "the second start failed"
        assert tool(home, "token").stdout.strip() == token, "state did not outlive the platform"
        assert tool(home, "down", "--purge").returncode == 0
        assert not home.exists()
    finally:
        clean(home)


def test_a_platform_that_is_being_ended_is_waited_for(tmp_path: Path) -> None:
    handle = hold(tmp_path)
    assert handle is not None
    said: list[str] = []

    def ended() -> None:
        said.append("waiting")
        found = json.loads(tool(tmp_path, "status", "--json").stdout)
        assert "it is being ended, as by `tiphys down`" in found["problems"]
        os.close(handle)

    record = Record(parts={"s3": PartState("running")})
    record.save(tmp_path)
    bringing_up.wait_for_end(tmp_path, ended)
    assert not said and is_up(tmp_path)
    record.parts["s3"].state = "stopping"
    record.save(tmp_path)
    bringing_up.wait_for_end(tmp_path, ended)
    assert said == ["waiting"] and not is_up(tmp_path)


def test_an_address_in_use_is_named_with_who_has_it(tmp_path: Path) -> None:
    network = free_network()
    script = (
        f"import socket, time; s = socket.create_server(('127.{network}.0.1', 6443)); print(flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TIPHYS_PLATFORM": str(tmp_path / "neighbour")}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout
        other.stdout.readline()
        refused = tool(tmp_path / "home", "up", "--network", str(network), "--webhook-port", str(free_port()))
        other.kill()
    assert refused.returncode == 1
    assert f"127.{network}.0.1:6443, for the API server, cannot be had" in refused.stderr
    assert f"process {other.pid} of the platform in {tmp_path / 'neighbour'}" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert of_platform(tmp_path / "home") == []


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "made-by.json").write_text('{"format": 99, "version": "9.9"}')
    Settings(tmp_path, network=free_network(), webhook_port=free_port()).save()
    refused = tool(tmp_path, "up")
    assert refused.returncode == 1
    assert "made by Tiphys 9.9 (format 99)" in refused.stderr and "--purge" in refused.stderr


def test_a_folder_with_somebodys_files_becomes_no_platform_and_is_not_purged(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    refused = tool(tmp_path, "up", "--network", str(free_network()), "--webhook-port", str(free_port()))
    assert refused.returncode == 1 and "not a platform's (thesis.txt)" in refused.stderr
    refused = tool(tmp_path, "down", "--purge")
    assert refused.returncode == 1 and "it has thesis.txt): nothing was removed" in refused.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(cli, ["--home", "", "down", "--purge"])
    assert ran.exit_code == 2 and "it is empty" in ran.output and tmp_path.exists()


def test_a_purge_of_a_link_empties_what_it_points_to_and_leaves_the_stamp_for_last(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "engine.log").touch()
    (folder / "elsewhere").symlink_to(tmp_path)
    stamp(folder)
    link.symlink_to(folder)
    done = tool(link, "down", "--purge")
    assert done.returncode == 0 and f"{link} itself stays" in done.stdout
    assert list(folder.iterdir()) == [] and tmp_path.exists()
    assert tool(folder, "down", "--purge").returncode == 0 and not folder.exists()


@pytest.mark.parametrize("words", [("token",), ("kubeconfig",), ("statuss",), ("--home",)])
def test_errors_are_sentences(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = tool(tmp_path, *words)
    assert ran.returncode in (1, 2) and "Error: " in ran.stderr and "Traceback" not in ran.stderr


def test_help_lists_the_commands_without_loading_them() -> None:
    script = "import sys, tiphys.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    script += "assert not {'aiohttp', 'rich', 'yaml', 'boto3', 'kubernetes'} & set(sys.modules), sorted(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for name in ("up", "down", "submit", "trigger", "render"):
        assert f"\n  {name} " in ran.stdout


def test_settings_are_remembered_and_guarded(tmp_path: Path) -> None:
    saved = Settings(tmp_path, network=90)
    assert decide(saved, False, nodes=5, network=None).nodes == 5
    assert decide(saved, True, nodes=3, network=None) == saved
    assert decide(saved, False, network=91).network == 91
    (tmp_path / "made-by.json").write_text("{}")
    with pytest.raises(UpError, match="--network 90"):
        decide(saved, False, network=91)
    with pytest.raises(UpError, match="1 to 254"):
        decide(saved, False, nodes=0)


def test_sockets_are_read_as_the_kernel_lists_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        assert addresses.listens(host, port, addresses.sockets())
        assert addresses.listener(host, port) == os.getpid()
        assert not addresses.is_connected(os.getpid(), host, port, addresses.sockets())
        with socket.create_connection((host, port)):
            assert addresses.is_connected(os.getpid(), host, port, addresses.sockets())
    assert not addresses.listens(host, port, addresses.sockets())


def test_durations_are_short() -> None:
    assert [duration(s) for s in (None, 5.4, 130, 7500, 400000)] == ["", "5s", "2m", "2h05m", "4d"]


def test_little_memory_is_told() -> None:
    assert memory_warning("MemTotal: 8000000 kB\nMemAvailable:    7000000 kB\n") == ""
    assert "1.0 GB of memory is available" in memory_warning("MemAvailable:    1000000 kB\n")


def test_only_the_part_that_downloads_keeps_the_callers_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert "HTTPS_PROXY" in part_environment(tmp_path)
    assert "HTTPS_PROXY" not in part_environment(tmp_path, downloads=False)


async def test_an_api_server_that_is_about_to_be_ended_is_given_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_home(tmp_path / "home")
    ensure_token(settings)
    monkeypatch.setattr(bringing_up, "base_folder", lambda: None)
    record = Record(os.getpid(), parts={"s3": PartState(), "apiserver": PartState()})
    with running("tiphys.local.apiserver", settings):
        async with Kube.from_home(settings.home) as kube:
            await kube.wait_ready(PATIENCE)
            record.save(settings.home)
            preparing = asyncio.create_task(bringing_up.prepare_api(settings, kube, lambda *_: None))
            await asyncio.sleep(1)
            assert not preparing.done() and await kube.list("secrets", NAMESPACE) == []

            # The supervisor starts its own parts once what an earlier one left has ended.
            record.parts["s3"].state = "running"
            record.save(settings.home)
            await asyncio.wait_for(preparing, PATIENCE)
            assert len(await kube.list("secrets", NAMESPACE)) == 1, "the webhooks' Secret is not there"


async def test_a_platform_is_up_only_when_its_parts_are_ready_for_the_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_home(tmp_path / "home")
    ensure_token(settings)
    done: list[str] = []

    async def look(*_: object) -> dict[str, Readiness]:
        done.append("looked")
        return {"gateway": Readiness("starting" if done.count("applied") and done[-2] == "applied" else "ready")}

    async def prepare(*_: object) -> None:
        while not done:
            await asyncio.sleep(0.01)
        done.append("applied")

    monkeypatch.setattr(bringing_up, "is_up", lambda _: True)
    monkeypatch.setattr(bringing_up, "look", look)
    monkeypatch.setattr(bringing_up, "prepare_api", prepare)
    monkeypatch.setattr(bringing_up, "prepare_mysql", lambda _: asyncio.sleep(0))
    await bringing_up.bring_up(settings, lambda *_: None)
    assert done == ["looked", "applied", "looked", "looked"], "ready, not ready with the manifests, and ready again"


async def test_a_refused_manifest_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = new_home(tmp_path / "home")
    ensure_token(settings)
    broken = tmp_path / "manifests"
    broken.mkdir()
    (broken / "gadget.yaml").write_text("apiVersion: v1\nkind: Gadget\nmetadata: {name: one}\n")
    monkeypatch.setattr(bringing_up, "base_folder", lambda: broken)
    # Waiting for parts that nobody starts would hide what is to be seen here.
    monkeypatch.setattr(bringing_up, "wait_for_parts", lambda *_: asyncio.sleep(60))
    with running("tiphys.local.apiserver", settings), pytest.raises(UpError, match="Gadget/one: .* serves no Gadget"):
        await bringing_up.bring_up(settings, lambda *_: None)
