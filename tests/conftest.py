"""What the tests of every room share: versitygw, built once in the background where this machine has none."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tiphys.local.s3 import build, programs

_building: dict[str, Future[Path]] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the build while other tests run, if a test that needs it is among them."""
    wanted = any("versitygw" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and programs.versitygw_there() is None:
        worker = ThreadPoolExecutor(1, thread_name_prefix="versitygw-build")
        _building["versitygw"] = worker.submit(lambda: asyncio.run(build.build()))


@pytest.fixture(scope="session")
def versitygw() -> None:
    """Wait until versitygw is there; skip with the reason where it can be neither found nor built."""
    if building := _building.get("versitygw"):
        try:
            building.result()
        except build.BuildFailed as error:
            pytest.skip(f"versitygw cannot be built here: {error}")
