"""What the tests of every room share: bounds, an orderly end, and versitygw where this machine has none."""

import asyncio
import functools
import inspect
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tiphys.local.s3 import build, programs

ASYNC_SECONDS = 200.0
"""Below pytest's own `timeout`, whose alarm can show only that the loop waits, and not which line for what."""

_building: dict[str, Future[Path]] = {}


def pytest_configure() -> None:
    """End at SIGTERM as at Ctrl-C, so that fixtures stop what they started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Bound every test that awaits: a hang fails with the line that waited in its traceback."""
    if inspect.iscoroutinefunction(test := getattr(item, "obj", None)):
        item.obj = _bounded(test)  # type: ignore[attr-defined]


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(*arguments: Any, **named: Any) -> None:
        try:
            async with asyncio.timeout(ASYNC_SECONDS) as limit:
                await test(*arguments, **named)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise AssertionError(f"the test still waited after {ASYNC_SECONDS:.0f} s, see above where") from error

    return run


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
