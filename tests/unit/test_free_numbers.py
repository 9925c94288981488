"""That two processes which run tests side by side never take the same network or port."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import platform_help
from platform_help import HELD, free_network, free_port, is_ours


def test_what_another_process_took_is_not_taken() -> None:
    name = f"network-of-{os.getpid()}"
    script = f"from platform_help import is_ours\nprint(is_ours({name!r}), flush=True)\ninput()"
    folder = str(Path(platform_help.__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin and other.stdout
        assert other.stdout.readline() == "True\n"
        assert not is_ours(name)
        other.communicate("\n")
    assert is_ours(name), "it went with its process"


def test_the_newest_are_kept_and_the_others_given_back() -> None:
    names = [f"{number}-of-{os.getpid()}" for number in range(HELD + 1)]
    assert all(is_ours(name) for name in names[:HELD])
    assert not any(is_ours(name) for name in names[:HELD])
    assert is_ours(names[HELD]) and is_ours(names[0])


def test_networks_and_ports_are_kept() -> None:
    assert not is_ours(f"network-{free_network()}") and not is_ours(f"port-{free_port()}")
