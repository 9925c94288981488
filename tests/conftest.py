"""What the tests of every room share: bounds, an orderly end, and versitygw where this machine has none."""

import asyncio
import functools
import inspect
import os
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import pytest

from tiphys.local.s3 import build, programs
from tiphys.local.settings import PLATFORM_VARIABLE

# The same examples each time and no time limit: what fails in CI fails for everybody, and for its own reason.
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")

ASYNC_SECONDS = 200.0
"""Below pytest's own `timeout`, whose alarm can show only that the loop waits, and not which line for what."""

BUILD_SECONDS = 250.0
"""How long a test waits for versitygw's build; what takes longer is a skip that says so."""
MARK = "TIPHYS_TESTS"
"""Environment variable by which what a test started is found, whatever became of the test."""

_asked_to_end: list[str] = []
_building: dict[str, Future[Path]] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    """End at SIGTERM as at Ctrl-C, so that fixtures stop what they started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        _asked_to_end.append(os.environ.get("PYTEST_CURRENT_TEST", "no test"))
        session.shouldstop = "SIGTERM"  # a test that swallows the interrupt is the last one
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)
    os.environ[MARK] = str(os.getpid())
    for name in ("TIPHYS_HOME", "KUBECONFIG"):  # of a person who works with a platform of theirs
        os.environ.pop(name, None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what fixtures left behind, and fail for it: the next run would meet it."""
    for test in _asked_to_end:
        print(f"\nSIGTERM came while this ran: {test}")
    left = _started_by(session)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left:
        told = ", ".join(f"{pid} ({words})" for pid, words in left.items())
        print(f"\nTests left processes behind, which are killed now: {told}")
        building = any(not future.done() for future in _building.values())
        if session.exitstatus == pytest.ExitCode.OK and not building:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _started_by(session: pytest.Session) -> dict[int, str]:
    """Return the living processes that carry this run's mark, or that of a platform in its folder."""
    folder = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    marks = (f"{MARK}={os.getpid()}\0", f"{PLATFORM_VARIABLE}={folder}/")
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            environment = "\0" + (place / "environ").read_text(errors="replace")
            if int(place.name) != os.getpid() and any(f"\0{mark}" in environment for mark in marks):
                found[int(place.name)] = (place / "cmdline").read_text(errors="replace").replace("\0", " ")[:100]
    return found


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the modules that need versitygw to the end while it has to be built."""
    if programs.versitygw_there() is None:
        needing = {item.path for item in items if "versitygw" in getattr(item, "fixturenames", ())}
        items.sort(key=lambda item: item.path in needing)


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
            building.result(BUILD_SECONDS)
        except build.BuildFailed as error:
            pytest.skip(f"versitygw cannot be built here: {error}")
        except TimeoutError:
            pytest.skip(f"versitygw is not built after {BUILD_SECONDS:.0f} s of waiting")
