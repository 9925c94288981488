"""The API server is killed in the middle of writes: what it answered is kept."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from apiserver_help import ApiServer, config_map

from tiphys.local.apiserver.store import Store
from tiphys.local.client import ApiError, Kube, Unreachable
from tiphys.local.registry import by_plural

SPACE = "default"


async def test_no_acknowledged_write_is_lost_when_it_is_killed(tmp_path: Path) -> None:
    server = ApiServer(tmp_path)
    server.start()
    kept: dict[str, int] = {}
    deleted: set[str] = set()
    versions: list[int] = []

    async def write(kube: Kube, name: str) -> None:
        """Create, then count up, then delete every other one; note only what was answered."""
        try:
            made = await kube.create("configmaps", config_map(name, SPACE, n="0"))
            kept[name] = 0
            versions.append(int(made["metadata"]["resourceVersion"]))
            for number in range(1, 1000):
                await kube.patch("configmaps", name, {"data": {"n": str(number)}}, SPACE)
                kept[name] = number
                if number == 20 and name.endswith("d"):
                    await kube.delete("configmaps", name, SPACE)
                    deleted.add(name)
                    return
        except Unreachable:
            return

    try:
        for round_number in range(3):
            async with Kube.from_home(server.home) as kube:
                names = [f"r{round_number}-{number}{'d' if number % 2 else 'k'}" for number in range(8)]
                tasks = [asyncio.create_task(write(kube, name)) for name in names]
                async with asyncio.timeout(60):
                    while sum(kept.get(name, 0) for name in names) < 200:
                        await asyncio.sleep(0.01)
                server.stop(signal.SIGKILL)
                # The broken connections end most of them; those that would connect again are stopped.
                await asyncio.wait(tasks, timeout=0.5)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            server.start()
        async with Kube.from_home(server.home) as kube:
            found = {item["metadata"]["name"]: item for item in await kube.list("configmaps", SPACE)}
            for name, number in kept.items():
                if name in deleted:
                    assert name not in found
                elif name in found:
                    # One more may have been written and not answered.
                    assert int(found[name]["data"]["n"]) - number in (0, 1), name
                else:
                    assert name.endswith("d") and number >= 20, f"{name} is lost"
            newest = max(int(item["metadata"]["resourceVersion"]) for item in found.values())
            made = await kube.create("configmaps", config_map("last", SPACE))
            assert int(made["metadata"]["resourceVersion"]) > max(newest, *versions)
    finally:
        server.stop()
    with sqlite3.connect(tmp_path / "apiserver.db") as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


def test_a_stop_is_clean_although_a_watch_is_open(tmp_path: Path) -> None:
    server = ApiServer(tmp_path)
    server.start()
    script = (
        "import urllib.request, sys;"
        "r = urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={'Authorization': sys.argv[2]}));"
        "print(r.readline() and 'open', flush=True); r.read()"
    )
    url = f"{server.settings.api_url}/api/v1/namespaces?watch=1"
    watching = subprocess.Popen(
        [sys.executable, "-c", script, url, f"Bearer {server.token()}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert watching.stdout
    with watching.stdout as out:
        assert out.readline() == b"open\n"
        assert server.stop(signal.SIGTERM) == 0
        watching.wait(60)
    assert '"trace"' not in server.log()


def test_a_second_server_on_the_same_folder_refuses(tmp_path: Path) -> None:
    server = ApiServer(tmp_path)
    server.start()
    second = subprocess.run(
        [sys.executable, "-m", "tiphys.local.apiserver", "--home", str(tmp_path)], capture_output=True, timeout=60
    )
    server.stop()
    assert second.returncode == 1
    assert "is another API server running on this home?" in json.loads(second.stderr.splitlines()[-1])["event"]


def test_a_transaction_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    store, kind, told = Store(tmp_path / "db"), by_plural("configmaps"), []
    store.listen(lambda _, change: told.append(change.new.obj["metadata"]["name"]))

    def put(name: str) -> None:
        store.put(kind, {"metadata": {"name": name, "namespace": SPACE, "uid": name}})

    with store.transaction():
        put("a")
        put("b")
        assert told == []
    assert told == ["a", "b"]
    with pytest.raises(ApiError), store.transaction():
        raise ApiError(409, "Conflict", "refused before anything was written")
    with pytest.raises(Exception, match="no longer agree"), store.transaction():
        put("c")
        raise ZeroDivisionError
    store.close()
    again = Store(tmp_path / "db")
    assert [record.obj["metadata"]["name"] for record in again.every(kind)] == ["a", "b"]
    again.close()
