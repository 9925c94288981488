"""The demo: on this machine only, and what was up before stays up. Its commands are not run here."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tiphys.commands import demo
from tiphys.local.platform.record import hold
from tiphys.runs.loopback import is_loopback


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The commands that the demo runs; each is checked to be told of no other cluster."""
    seen: list[str] = []

    def run(command: list[str], *, check: bool, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        assert "KUBECONFIG" not in env and env["TIPHYS_HOME"] == str(tmp_path)
        seen.append(command[3])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("TIPHYS_HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", "/production")
    module: Any = demo
    monkeypatch.setattr(module.subprocess, "run", run)
    return seen


def test_the_demo_stops_what_it_started(commands: list[str]) -> None:
    assert CliRunner().invoke(demo.demo).exit_code == 0
    assert commands == ["up", "submit", "submit", "trigger", "report", "down"]


def test_the_demo_leaves_a_platform_up_that_was_up(commands: list[str], tmp_path: Path) -> None:
    handle = hold(tmp_path)
    assert handle is not None
    try:
        assert CliRunner().invoke(demo.demo).exit_code == 0
    finally:
        os.close(handle)
    assert commands[0] == "up" and "down" not in commands


def test_a_demo_that_is_told_to_end_stops_what_it_started(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = demo.tiphys

    def told(*words: str, check: bool = True) -> int:
        if words[0] == "trigger":
            os.kill(os.getpid(), signal.SIGTERM)
        return run(*words, check=check)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(demo, "tiphys", told)
    assert CliRunner().invoke(demo.demo).exit_code == 143
    assert commands == ["up", "submit", "submit", "down"] and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.71.0.1:6443", True),
        ("https://[::1]:6444", True),
        ("http://localhost:12000/x", True),
        ("https://10.0.0.1", False),
        ("https://127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_what_is_this_machine(url: str, here: bool) -> None:
    assert is_loopback(url) is here
