"""Waiting for a cluster whose servers do not come up: what is told, and how often."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from steps.errors import TimedOut
from steps.kube.client import Kube
from steps.mysql.connection import Credentials
from steps.mysql.waiting import wait_until

WAITS = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}


def test_a_server_that_ends_again_and_again_is_named_once_and_in_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    looks = 0

    def servers(cluster: str) -> list[dict[str, Any]]:
        nonlocal looks
        looks += 1
        last = {"terminated": {"exitCode": 1}}
        mysql = {"name": "mysql", "restartCount": looks, "state": WAITS, "lastState": last}
        return [{"metadata": {"name": "demo-0"}, "status": {"phase": "Running", "containerStatuses": [mysql]}}]

    found = {"spec": {"instances": 1}}
    kube = cast(Kube, SimpleNamespace(cluster=lambda name: found, servers=servers, routers=lambda name: list[Any]()))
    root = Credentials("root", "x")
    wait_until(
        kube, "demo", root, lambda seen: "" if looks > 3 else f"{looks}", what="up", deadline=math.inf, interval=0
    )
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    why = "container mysql waits: CrashLoopBackOff back-off 40s; restarts: {}, last exit code 1: kubectl logs demo-0 -c"
    (told,) = (one for one in lines if one["event"] == "stuck")
    assert told["pod"] == "demo-0" and told["why"] == f"{why.format(1)} mysql --previous"
    assert [one["missing"] for one in lines if one["event"] == "waiting"] == ["1", "2", "3"]
    with pytest.raises(TimedOut, match=f"What holds it: pod demo-0 {why.format(5)} mysql --previous"):
        wait_until(kube, "demo", root, lambda seen: "all", what="up", deadline=0, interval=0)
