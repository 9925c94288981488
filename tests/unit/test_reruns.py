"""That a test which is tried again does not meet what its first try left to the module's other tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import rerun_help

TESTS = """
import pytest

MADE = []

@pytest.fixture(scope="session")
def platform():
    MADE.append("platform")

@pytest.fixture(scope="module")
def shared(platform):
    MADE.append("shared")
    yield (objects := set())
    assert objects != {"half of it"}, "what a first try broke is not held against the second"

def test_that_fails_half_way_the_first_time(shared):
    assert not shared
    shared.add("half of it")
    assert len(MADE) == 3
    shared.add("the rest")

def test_that_comes_after(shared):
    assert len(shared) == 2 and MADE == ["platform", "shared", "shared"]
"""


def test_a_second_try_has_what_its_module_shares_made_anew(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(Path(rerun_help.__file__).read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "--reruns", "1"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert "2 passed, 1 rerun" in done.stdout, done.stdout + done.stderr
