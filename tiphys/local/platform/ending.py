"""Ending everything that a platform runs, in the order that loses nothing.

What starts things goes first (gateway, engine, operator, controllers, kubelet), so that nothing that ends is
started again; then the pods' processes; last what they write to while they end (API server, S3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tiphys.local.platform.parts import FOUNDATION, PARTS, Part
from tiphys.local.platform.processes import Process, end, of_platform, with_descendants

PART_SECONDS = 8.0
"""How long a part may take to end after TERM."""
POD_SECONDS = 15.0
"""How long a pod's processes may take: a MySQL server's clean shutdown takes a few seconds."""
WORD_SECONDS = 1.0
"""How often at most it is told how many of the pods' processes are left."""

Say = Callable[[str, str, str], None]
"""Called with the name of what is ended (a part, or ``pods``), ``stopping`` or ``stopped``, and how far it is."""


def end_everything(
    home: Path, say: Say, spare: Sequence[int] = (), parts: Sequence[Part] = PARTS, pod_seconds: float = POD_SECONDS
) -> list[Process]:
    """End all processes of the platform in `home` but those numbered in `spare`.

    The caller and the processes above it are always spared.

    Args:
        home: the platform's folder.
        say: told what is happening.
        spare: process numbers to leave alone.
        parts: the platform's parts, in starting order.
        pod_seconds: how long pods' processes may take.

    Returns:
        The processes that could not be ended.
    """

    def everything() -> list[Process]:
        return [process for process in of_platform(home) if process.pid not in spare]

    def of_parts(chosen: Sequence[Part]) -> list[Process]:
        return [process for process in everything() if any(part.is_run_by(process.words) for part in chosen)]

    def pods() -> list[Process]:
        found = everything()
        base = [process for process in found if any(part.is_run_by(process.words) for part in foundation)]
        kept = {process.pid for process in with_descendants(base, found)}
        return [process for process in found if process.pid not in kept]

    foundation = [part for part in parts if part.name in FOUNDATION]
    for part in reversed([part for part in parts if part not in foundation]):
        _end_part(part, of_parts, say)
    if first := len(pods()):
        say("pods", "stopping", f"{first} processes, MySQL servers take some seconds")
        told, next_word = first, time.monotonic() + WORD_SECONDS

        def counted() -> list[Process]:
            nonlocal told, next_word
            found = pods()
            if found and len(found) < told and time.monotonic() > next_word:
                told, next_word = len(found), time.monotonic() + WORD_SECONDS
                say("pods", "stopping", f"{told} of {first} processes left")
            return found

        end(counted, pod_seconds)
        say("pods", "stopped", "")
    for part in reversed(foundation):
        _end_part(part, of_parts, say)
    return end(everything, 2.0)


def _end_part(part: Part, of_parts: Callable[[Sequence[Part]], list[Process]], say: Say) -> None:
    if not of_parts([part]):
        return
    say(part.name, "stopping", "")
    end(lambda: of_parts([part]), PART_SECONDS)
    say(part.name, "stopped", "")
