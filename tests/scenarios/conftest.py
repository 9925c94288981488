"""One platform for all scenario tests, started by the first that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from platform_run import Platform, start, stop

ITEM_SECONDS = 900
"""The first tests also download or build what the cache lacks and start a cluster, maybe on a busy machine."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give scenarios more time than unit tests have."""
    if not item.get_closest_marker("timeout"):
        item.add_marker(pytest.mark.timeout(ITEM_SECONDS))


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
