"""What a kubelet finds of a container when it starts."""

from __future__ import annotations

import time
from pathlib import Path

from tiphys.local.kubelet.lifecycle import FIRST_BACK_OFF
from tiphys.local.kubelet.records import Record
from tiphys.local.kubelet.runtime import Exit


def test_its_runs_are_remembered_and_the_pauses_between_them_are_not(tmp_path: Path) -> None:
    record = Record.load(tmp_path / "mysql")
    for number in range(3):
        record.begin(f"run-{number}", time.time())
        record.end(Exit(137, time.time()))
    assert record.resume_at > time.time() + FIRST_BACK_OFF

    found = Record.load(tmp_path / "mysql")

    assert (found.container_id, found.restarts) == ("run-2", 2)
    assert found.terminated == record.terminated and found.last == record.last
    assert found.next_pause == found.resume_at == 0.0


def test_a_file_of_an_earlier_version_is_read_without_its_pauses(tmp_path: Path) -> None:
    (tmp_path / "mysql.run.json").write_text('{"container_id": "a", "restarts": 4, "next_pause": 300}')
    found = Record.load(tmp_path / "mysql")
    assert (found.container_id, found.restarts, found.next_pause, found.resume_at) == ("a", 4, 0.0, 0.0)
