"""The store of accepted events: nothing is lost, nothing is taken twice, names are never given twice."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tiphys.local.events import store as store_module
from tiphys.local.events.store import Store, StoreError, fingerprint


def workflow(cluster: str, *, name: str | None = None, template: str = "t") -> dict[str, Any]:
    meta = {"name": name} if name else {"generateName": f"{template}-"}
    parameters = [{"name": "cluster", "value": cluster}]
    return {
        "metadata": {**meta, "namespace": "tiphys"},
        "spec": {"workflowTemplateRef": {"name": template}, "arguments": {"parameters": parameters}},
    }


async def test_one_name_at_once_with_two_contents_is_taken_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "events.sqlite")
    wanted = [workflow("a" if n % 2 else "b", name="t-key") for n in range(20)]
    got = await asyncio.gather(*(store.accept(one) for one in wanted))
    assert [one.is_new for one in got].count(True) == 1
    first = next(n for n, one in enumerate(got) if one.is_new)
    for n, one in enumerate(got):
        assert one.same is (n % 2 == first % 2), n
    (kept,) = store.waiting()
    assert kept.workflow == wanted[first]
    await store.close()


async def test_what_was_accepted_is_on_disk_and_stays_until_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    store = Store(path)
    names = [(await store.accept(workflow(f"c{n}"))).name for n in range(3)]
    # Another connection sees it now, so it was committed when accept returned.
    with sqlite3.connect(path) as other:
        assert [row[0] for row in other.execute("SELECT name FROM accepted ORDER BY id")] == names
    other.close()
    await store.created(store.waiting()[0][0])
    await store.close()
    again = Store(path)
    assert [one.workflow["metadata"]["name"] for one in again.waiting()] == names[1:]
    assert again.find("tiphys", names[0]) == fingerprint(workflow("c0"))
    assert again.find("other", names[0]) is None
    await again.close()


async def test_the_number_of_one_that_was_refused_is_never_another_s(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        store = Store(tmp_path / "events.sqlite")
        for cluster in "ab":
            await store.accept(workflow(cluster, name="t-key"))
            (order,) = store.waiting()
            seen.append(order.identity)
            await store.refused(order.identity)
        await store.close()
    assert seen == sorted(set(seen)), "the worker's tasks and the letters are named after it"


async def test_a_generated_name_is_never_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = iter("aaaaa" * 2 + "bbbbb")
    monkeypatch.setattr(store_module.secrets, "choice", lambda _: next(letters))
    store = Store(tmp_path / "events.sqlite")
    assert [(await store.accept(workflow("c"))).name for _ in range(2)] == ["t-aaaaa", "t-bbbbb"]
    await store.close()


async def test_a_caller_that_goes_away_does_not_hold_up_the_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "events.sqlite")
    tasks = [asyncio.create_task(store.accept(workflow(f"c{n}", name=f"t-{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    for n, one in enumerate(done[1:], 1):
        assert not isinstance(one, BaseException) and store.find("tiphys", f"t-{n}")
    await store.close()


async def test_a_full_disk_is_an_error_and_not_an_answer(tmp_path: Path) -> None:
    store = Store(tmp_path / "events.sqlite")
    store._database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        for n in range(200):
            await store.accept(workflow("c" * 1000, name=f"t-{n}"))
    store._database.execute("PRAGMA max_page_count = 100000")
    assert (await store.accept(workflow("c", name="after"))).is_new
    await store.close()


async def test_old_ones_are_forgotten_but_never_one_that_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    store = Store(path)
    await store.accept(workflow("c", name="made"))
    await store.created(store.waiting()[0][0])
    await store.accept(workflow("c", name="waits"))
    store._database.execute("UPDATE accepted SET accepted = accepted - ?", (store_module.KEEP_SECONDS + 1,))
    await store.close()
    again = Store(path)
    assert again.find("tiphys", "made") is None and again.find("tiphys", "waits") is not None
    await again.close()


def test_the_fingerprint_is_of_what_the_caller_says() -> None:
    one = workflow("a")
    assert fingerprint(one) == fingerprint({**one, "status": {}, "metadata": {}})
    assert fingerprint(one) != fingerprint(workflow("b"))
    assert fingerprint(one) != fingerprint(workflow("a", template="u"))
