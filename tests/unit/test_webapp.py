"""The web application of the local platform, over real HTTP and against a real server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import mysql.connector
import pytest
from aiohttp.test_utils import TestServer
from backup_server import lone_server, test_address
from mysql_group import ROOT
from platform_help import free_ports

from tiphys.local import webapp
from tiphys.local.kubelet.environment import names_services, resolve, service_variables
from tiphys.local.kubelet.images import launch

POD = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {}, "status": {"podIP": "127.9.1.1"}}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server with the application's database, made by its own command."""
    with lone_server(tmp_path_factory.mktemp("webapp"), test_address(66, 1)) as server:
        admin = {"ADMIN_USER": ROOT.user, "ADMIN_PASSWORD": ROOT.password}
        made = {**at(server.address, 3306), "DB_NAME": "webapp", "DB_USER": "app", "DB_PASSWORD": "a'b"}
        webapp.make_database({**made, **admin, "DB_PASSWORD": "old"})
        webapp.make_database({**made, **admin})
        yield made


def at(host: str, port: int) -> dict[str, str]:
    return {"DB_HOST": host, "DB_PORT": str(port), "DB_NAME": "x", "DB_USER": "x", "DB_PASSWORD": "x"}


async def ask(environment: dict[str, str], *paths: str) -> list[tuple[int, str]]:
    async with TestServer(webapp.application(webapp.Visits(environment))) as server, aiohttp.ClientSession() as session:

        async def one(path: str) -> tuple[int, str]:
            async with session.get(server.make_url(path)) as answer:
                return answer.status, await answer.text()

        return [await one(path) for path in paths]


async def test_a_visit_is_written_and_read_back(database: dict[str, str]) -> None:
    first, second, health = await ask(database, "/", "/", "/healthz")
    assert (first[0], second[0], health) == (200, 200, (200, "ok\n"))
    assert "Visit" in first[1] and first[1] != second[1]


async def test_the_user_may_do_no_more_than_it_needs(database: dict[str, str]) -> None:
    def attempt(statement: str) -> int:
        at = {"host": database["DB_HOST"], "port": int(database["DB_PORT"]), "use_pure": True}
        connection = mysql.connector.connect(**at, user="app", password=database["DB_PASSWORD"], database="webapp")
        try:
            connection.cursor().execute(statement)
            return 0
        except mysql.connector.Error as error:
            return int(error.errno)
        finally:
            connection.close()

    assert attempt("DELETE FROM visits") == 1142 and attempt("CREATE DATABASE other") == 1044


async def test_without_the_database_it_says_503_and_lives_on() -> None:
    front, health = await ask(at("127.0.0.1", free_ports(1)[0]), "/", "/healthz")
    assert front[0] == 503 and "does not answer" in front[1] and health[0] == 200


async def test_nobody_waits_long_for_a_session(database: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp, "TURN_SECONDS", 0.1)
    visits = webapp.Visits(database)
    for _ in range(webapp.SESSIONS):
        await visits._free.acquire()
    async with asyncio.timeout(30):
        with pytest.raises(TimeoutError):
            await visits.visit()
    visits.close()


@pytest.mark.parametrize("name", ["a-b", "a`b", ""])
def test_a_strange_name_of_a_database_is_refused(name: str) -> None:
    with pytest.raises(SystemExit, match="plain name"):
        webapp.make_database({"DB_NAME": name, "DB_USER": "x"})


def service(name: str, address: str, *ports: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": port} for port in ports]}}


def test_a_container_may_name_a_service_of_its_namespace() -> None:
    env = [{"name": "DB_HOST", "value": "$(MY_DEMO_SERVICE_HOST):$(MY_DEMO_SERVICE_PORT)"}]
    container = {"name": "c", "image": "ghcr.io/tiphys/webapp:0.1.0", "args": ["serve"], "env": env}
    assert names_services(container) and not names_services({"env": [{"name": "A", "value": "b"}]})
    services = service_variables([service("my-demo", "127.9.200.1", 3306, 6446), service("pods", "None", 3306)])
    resolved = resolve(container, POD, {}, services)
    assert resolved == {"DB_HOST": "127.9.200.1:3306"}, "put in where it is named, and not told otherwise"
    made = launch(container, POD, {}, Path(os.devnull), resolved)
    assert list(made.argv)[1:] == ["-m", "tiphys.local.webapp", "serve"]
