"""One platform for all scenario tests, started by the first that asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_run import Platform, start, stop

from tiphys.local.s3.state import State

ITEM_SECONDS = 900
"""The first tests also download or build what the cache lacks and start a cluster, maybe on a busy machine."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give scenarios more time than unit tests have."""
    if not item.get_closest_marker("timeout"):
        item.add_marker(pytest.mark.timeout(ITEM_SECONDS))


S3_SECONDS = 660.0
"""Longer than versitygw's build may take before another server stands in."""


NEEDS_S3 = ("backup", "restore", "game_day")
"""Words in the names of tests whose steps talk to S3 themselves."""
NO_TIME = "chaos"
"""In the name of tests whose runs may not wait until it is built, but which want a place that no other has used."""


def _needs_s3(path: Path) -> bool:
    return path.parent.name == "scenarios" and any(word in path.stem for word in NEEDS_S3)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what does not need S3: where the cache is empty, its server is being built meanwhile."""
    items.sort(key=lambda item: _needs_s3(item.path))


@pytest.fixture(scope="module", autouse=True)
def s3_first(request: pytest.FixtureRequest) -> None:
    """Wait for the S3 server where a test's steps talk to it, or its runs have no time to."""
    if _needs_s3(request.path) or NO_TIME in request.path.stem:
        home = request.getfixturevalue("platform").home
        deadline = time.monotonic() + S3_SECONDS
        while (state := State.load(home)).phase != "ready":
            assert time.monotonic() < deadline, f"no S3 server after {S3_SECONDS:.0f} s: {state}"
            time.sleep(0.2)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """Give the session's platform: `tiphys up` in a temporary folder, on a free network and webhook port.

    Use it in any scenario test: `platform.succeeds("deploy-cluster", cluster="demo", servers=3)` runs a template to
    its end and returns the run with its `outputs`; `platform.run(...)` also returns one that failed;
    `platform.kube` is a `steps.kube.client.Kube`; `platform.tiphys("status")` runs the tool;
    `platform.webhook_port` is the gateway's port on 127.0.0.1. It is stopped at the session's end, and any process
    that is left then fails the session.
    """
    running = start()
    try:
        yield running
    finally:
        left = stop(running)
    assert not left, f"tiphys down left processes behind: {left}"


@pytest.fixture(scope="session")
def demo(platform: Platform) -> str:
    """Give the name of a cluster with three servers and two Routers, deployed once a session.

    Whoever changes its numbers puts them back: `platform.succeeds("scale-cluster", cluster=demo, servers=3)`.
    """
    platform.succeeds("deploy-cluster", cluster="demo")
    return "demo"
