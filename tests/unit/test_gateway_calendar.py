"""Calendars on a real gateway process and the real API server: each occasion once, whatever happens to either."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gateway_help import create, in_kube, unhurried, workflows
from platform_help import eventually, new_home, running

from sensors.calendar import sensor
from tiphys.local.client import ApiError, Kube
from tiphys.local.events.calendar import parse_go_time
from tiphys.local.settings import Settings

KEPT = {"catchup": {"enabled": True}, "configMap": {"name": "last-events", "createIfNotExist": True}}
STARTS = {"often": "do-often", "seldom": "do-seldom"}


def source(**events: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "EventSource",
        "metadata": {"name": "calendar"},
        "spec": {"calendar": events},
    }


def by_the_second() -> dict[str, Any]:
    """Return a Sensor whose runs carry the event's time to the second, in their one argument."""
    made = unhurried(sensor(STARTS))
    for trigger in made["spec"]["triggers"]:
        k8s, event = trigger["template"]["k8s"], trigger["template"]["name"]
        resource = k8s["source"]["resource"]
        resource["metadata"] = {"generateName": resource["metadata"]["name"]}
        resource["spec"]["arguments"] = {"parameters": [{"name": "time"}]}
        k8s["parameters"] = [
            {"src": {"dependencyName": event, "dataKey": "eventTime"}, "dest": "spec.arguments.parameters.0.value"}
        ]
    return made


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Settings]:
    settings = new_home(tmp_path / "home")
    with running("tiphys.local.apiserver", settings):
        yield settings


@contextmanager
def gateway(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run a gateway; at the end it is killed, as hard as can be."""
    with (settings.home / "gateway.log").open("ab") as output:
        command = [sys.executable, "-m", "tiphys.local.events", "--home", str(settings.home)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)


def times(home: Path) -> list[datetime]:
    """Return the times of the runs that carry one, sorted."""
    arguments = [one["spec"].get("arguments", {}).get("parameters") for one in workflows(home).values()]
    return sorted(parse_go_time(each[0]["value"]) for each in arguments if each)


def gaps(found: list[datetime]) -> set[timedelta]:
    return {after - before for before, after in zip(found, found[1:], strict=False)}


def warnings(home: Path) -> list[str]:
    async def look(kube: Kube) -> Any:
        return await kube.list("events", "tiphys")

    return [f"{one['reason']}: {one['message']}" for one in in_kube(home, look)]


def kept(home: Path, name: str = "last-events") -> dict[str, Any]:
    async def look(kube: Kube) -> Any:
        try:
            return (await kube.get("configmaps", name, "tiphys")).get("data") or {}
        except ApiError:
            return {}

    found: dict[str, Any] = in_kube(home, look)
    return found


def test_each_second_is_given_once_though_the_gateway_is_killed_again_and_again(platform: Settings) -> None:
    home = platform.home
    create(home, {"eventsources": [source(often={"interval": "1s", "persistence": KEPT})]})
    create(home, {"sensors": [by_the_second()]})
    for rounds in range(1, 4):
        with gateway(platform):
            eventually(lambda least=rounds: len(times(home)) > least)  # type: ignore[misc]
    with gateway(platform):
        before = len(times(home))
        # Two more than the last round saw, so that what fell between two gateways is among them.
        eventually(lambda: len(times(home)) >= before + 2)
    found = times(home)
    assert gaps(found) == {timedelta(seconds=1)}, found
    noted = json.loads(kept(home)["calendar.often"])
    assert parse_go_time(noted["eventTime"]) >= found[0]


def test_without_catching_up_nothing_is_made_up_for_and_nothing_comes_twice(platform: Settings) -> None:
    home = platform.home
    create(home, {"eventsources": [source(often={"interval": "1s", "metadata": {"why": "test"}})]})
    create(home, {"sensors": [by_the_second()]})
    for rounds in range(1, 4):
        with gateway(platform):
            eventually(lambda least=rounds: len(times(home)) > least)  # type: ignore[misc]
    found = times(home)
    assert len(set(found)) == len(found), found
    assert kept(home) == {}


def test_an_api_server_that_is_away_loses_no_occasion(tmp_path: Path) -> None:
    settings = new_home(tmp_path / "home")
    with running("tiphys.local.apiserver", settings):
        create(settings.home, {"eventsources": [source(often={"interval": "1s", "persistence": KEPT})]})
        create(settings.home, {"sensors": [by_the_second()]})
        with gateway(settings):
            eventually(lambda: times(settings.home))
    # The gateway was killed first, so that its mark is on disk; the next one begins without an API server.
    with gateway(settings), running("tiphys.local.apiserver", settings):
        before = len(times(settings.home))
        eventually(lambda: len(times(settings.home)) > before + 2)
        assert gaps(times(settings.home)) == {timedelta(seconds=1)}


def test_a_run_is_named_after_its_minute_so_that_it_is_one_however_often_the_event_comes(platform: Settings) -> None:
    home = platform.home
    create(home, {"eventsources": [source(often={"interval": "1s"}, seldom={"schedule": "0 6 * * *"})]})
    create(home, {"sensors": [sensor(STARTS)]})
    log = home / "gateway.log"
    with gateway(platform):
        eventually(lambda: len(re.findall(r'"accepted".*do-often', log.read_text())) > 2)
        # Of a minute that begins just now the run may be accepted and not yet made.
        name = r'"workflow": "(do-often-\d{8}-\d{4})"'
        eventually(lambda: workflows(home).keys() == set(re.findall(name, log.read_text())))
    made = workflows(home)
    for one in made.values():
        assert one["metadata"]["labels"]["tiphys.dev/trigger"] == "calendar"
        assert one["spec"]["workflowTemplateRef"] == {"name": "do-often"}


def test_the_last_event_is_taken_from_the_config_map_as_argo_events_left_it(platform: Settings) -> None:
    home = platform.home
    long_ago = (datetime.now().astimezone() - timedelta(days=30)).strftime("%Y-%m-%d %H:%M:%S.25 %z XYZ m=+683.5")
    data = {"calendar.often": json.dumps({"eventTime": long_ago})}
    create(home, {"configmaps": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}]})
    persistence = {"configMap": {"name": "m"}, "catchup": {"enabled": True, "maxDuration": "240h"}}
    create(home, {"eventsources": [source(often={"interval": "24h", "persistence": persistence})]})
    create(home, {"sensors": [by_the_second()]})
    with gateway(platform):
        # Of thirty days, the last ten; the tenth may have been a moment too old, or be the one of this second.
        eventually(lambda: len(times(home)) >= 9)
        eventually(lambda: json.loads(kept(home, "m")["calendar.often"])["eventTime"] != long_ago)
        assert gaps(times(home)) == {timedelta(days=1)}


def test_a_schedule_that_is_changed_has_no_past(platform: Settings) -> None:
    home = platform.home
    create(home, {"eventsources": [source(often={"schedule": "0 0 29 2 *", "persistence": KEPT})]})
    create(home, {"sensors": [by_the_second()]})
    log = home / "gateway.log"
    with gateway(platform):
        eventually(lambda: "keeps a calendar" in log.read_text())
    with closing(sqlite3.connect(home / "events.sqlite")) as database, database:
        database.execute("UPDATE calendars SET last = last - 86400")

    async def change(kube: Kube) -> None:
        calendar = {"often": {"schedule": None, "interval": "1s"}}
        await kube.patch("eventsources", "calendar", {"spec": {"calendar": calendar}}, "tiphys")

    changed = datetime.now(UTC)
    in_kube(home, change)
    with gateway(platform):
        eventually(lambda: len(times(home)) > 1)
    assert min(times(home)) > changed and gaps(times(home)) == {timedelta(seconds=1)}


def test_what_keeps_a_calendar_from_going_is_said(platform: Settings) -> None:
    home = platform.home
    missing = {"configMap": {"name": "none"}, "catchup": {"enabled": True}}
    create(
        home, {"eventsources": [source(often={"interval": "1s", "persistence": missing}, seldom={"interval": "1s"})]}
    )

    async def change(kube: Kube, calendar: dict[str, Any]) -> None:
        await kube.patch("eventsources", "calendar", {"spec": {"calendar": calendar}}, "tiphys")

    with gateway(platform):
        eventually(
            lambda: any(said.startswith("ConfigMapMissing: there is no ConfigMap none") for said in warnings(home))
        )
        eventually(lambda: any(re.match("NotTaken.* no Sensor listens", said) for said in warnings(home)))
        create(home, {"sensors": [by_the_second()]})
        eventually(lambda: times(home))
        in_kube(home, lambda kube: change(kube, {"often": None, "seldom": {"interval": None, "schedule": "@daily"}}))
        eventually(lambda: any("spec.calendar.seldom.schedule: '@daily'" in said for said in warnings(home)))
        in_kube(home, lambda kube: change(kube, {"seldom": {"schedule": None, "interval": "1s"}}))
        stopped = len(times(home))
        eventually(lambda: len(times(home)) > stopped)
