"""The threads that look on during a drill: none dies of an answer that it does not understand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from platform_help import eventually

from steps.drill import sampler, watch
from steps.drill.clock import Clock
from steps.drill.sampler import GroupSampler, MemberSampler, PodSampler
from steps.drill.samples import MemberSample
from steps.drill.watch import KillSwitch
from steps.errors import Temporary
from steps.kube.client import Kube, Object
from steps.mysql.connection import Credentials

ROOT = Credentials("root", "x")


class Strange:
    """An API server whose first answer is none that the client understands; then the kill switch is thrown."""

    def __init__(self, first: Exception) -> None:
        self.first: Exception | None = first

    def _answer(self) -> None:
        if (error := self.first) is not None:
            self.first = None
            raise error

    def find(self, resource: str, name: str) -> Object | None:
        self._answer()
        return {"data": {"drills": "off"}}

    def servers(self, cluster: str) -> list[Object]:
        self._answer()
        return [{"metadata": {"name": "demo-0", "uid": "u"}}]

    def routers(self, cluster: str) -> list[Object]:
        return []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SWITCH_SECONDS", 0.01)
    monkeypatch.setattr(sampler, "POD_SECONDS", 0.01)


def kube(first: Exception) -> Kube:
    return cast(Kube, Strange(first))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("first", [ValueError("no JSON"), Temporary("no answer")])
def test_a_kill_switch_is_read_after_an_answer_that_was_none(first: Exception) -> None:
    switch = KillSwitch(kube(first))
    switch.start()
    eventually(lambda: not switch.is_alive() or bool(switch.reason))
    assert "kill switch is thrown" in switch.reason


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_pods_are_looked_at_after_an_answer_that_was_none() -> None:
    pods = PodSampler(kube(ValueError("no JSON")), "demo", Clock())
    pods.start()
    eventually(lambda: not pods.is_alive() or "demo-0" in pods.current)
    pods.stop()
    assert "demo-0" in pods.current and pods.failures == 1


@pytest.fixture
def gibberish() -> Iterator[tuple[str, int]]:
    """A server that says what no MySQL server says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                taken, _ = listener.accept()
                with taken:
                    taken.sendall(b"\x03\x00\x00\x00\x0a\x39\x00")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield cast(tuple[str, int], listener.getsockname())
        over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_answers_gibberish_has_no_view_and_is_asked_again(gibberish: tuple[str, int]) -> None:
    seen: list[MemberSample] = []
    member = MemberSampler("demo-0", lambda: gibberish[0], ROOT, Clock(), seen.append, gibberish[1])
    member.start()
    eventually(lambda: not member.is_alive() or len(seen) > 2)
    member.stop()
    member.join(10)
    assert len(seen) > 2 and all(sample.view is None and sample.error for sample in seen)


def test_looking_on_that_could_not_begin_ends_without_another_error() -> None:
    """The drill's own error says that it is worth another try, and must not be hidden by one of the end."""
    group: Any = GroupSampler(kube(Temporary("no answer")), "demo", ROOT, Clock())
    with pytest.raises(Temporary):
        group.start()
    group.stop()
