"""Help for tests of the gateway and the tool: a runbook with every kind of parameter, and its objects."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platform_help import eventually

from eventsources.runbooks import event_source
from eventsources.triggerable import Runbook
from sensors.runbooks import sensor
from steps.parameters import CLUSTER_NAME, Parameter
from tiphys.local.client import Kube
from tiphys.local.settings import Settings

TOKEN = "secret-of-the-test"
DRILL = Runbook(
    "test-drill",
    (
        Parameter("cluster", "", None, (), "text", text=CLUSTER_NAME),
        Parameter("fault", "", "crash", ("crash", "delete-pod", "switchover"), "enum"),
        Parameter("max-lost-writes", "", "0", (), "integer", 0, 1000),
        Parameter("budget", "", "30", (), "number", 0, 600),
        Parameter("dry-run", "", "false", ("true", "false"), "boolean"),
        Parameter("note", "", "", (), "text"),
    ),
)
GHOST = Runbook("no-template", (Parameter("cluster", "", None, (), "text", text=CLUSTER_NAME),))


def template(runbook: Runbook) -> dict[str, Any]:
    parameters = []
    for parameter in runbook.parameters:
        enum = {"enum": list(parameter.enum)} if parameter.enum else {}
        value = {} if parameter.default is None else {"value": parameter.default}
        parameters.append({"name": parameter.name, **enum, **value})
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": runbook.name},
        "spec": {
            "entrypoint": "run",
            "arguments": {"parameters": parameters},
            "templates": [{"name": "run", "container": {"image": "localhost/host:1", "command": ["true"]}}],
        },
    }


def secret(token: str = TOKEN) -> dict[str, Any]:
    data = {"token": base64.b64encode(token.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tiphys-webhook"}, "data": data}


def objects() -> dict[str, list[dict[str, Any]]]:
    return {
        "secrets": [secret()],
        "workflowtemplates": [template(DRILL)],
        "eventsources": [event_source([DRILL, GHOST])],
        "sensors": [unhurried(sensor([DRILL, GHOST]))],
    }


def unhurried(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return a Sensor without its limits of rate: a test would wait for them."""
    for trigger in wanted["spec"]["triggers"]:
        del trigger["rateLimit"]
    return wanted


def in_kube(home: Path, what: Any) -> Any:
    """Run an async function of a client of the platform in `home`."""

    async def run() -> Any:
        async with Kube.from_home(home) as kube:
            await kube.wait_ready(20)
            return await what(kube)

    return asyncio.run(run())


def create(home: Path, wanted: dict[str, list[dict[str, Any]]]) -> None:
    async def make(kube: Kube) -> None:
        for resource, items in wanted.items():
            for item in items:
                item["metadata"]["namespace"] = "tiphys"
                await kube.create(resource, item)

    in_kube(home, make)


def workflows(home: Path) -> dict[str, dict[str, Any]]:
    """Return the Workflows by name."""

    async def look(kube: Kube) -> Any:
        return await kube.list("workflows", "tiphys")

    return {one["metadata"]["name"]: one for one in in_kube(home, look)}


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        text: str = self.json["error"]
        return text


def call(
    port: int,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    token: str | None = TOKEN,
    key: str | None = None,
    **headers: str,
) -> Answer:
    """Send one request; a body that is no text or bytes goes as JSON."""
    sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    if key is not None:
        sent["Idempotency-Key"] = key
    raw = body if isinstance(body, bytes | str) or body is None or hasattr(body, "__next__") else json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, raw, sent, encode_chunked=hasattr(body, "__next__"))
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def start_gateway(settings: Settings) -> subprocess.Popen[bytes]:
    """Start the gateway and wait until it knows its endpoints.

    Not with `platform_help.running`: it would end with whatever else carries the platform's mark.
    """
    with (settings.home / "gateway.log").open("ab") as output:
        command = [sys.executable, "-m", "tiphys.local.events", "--home", str(settings.home)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    eventually(lambda: _knows_its_endpoints(settings))
    return process


def _knows_its_endpoints(settings: Settings) -> bool:
    try:
        return call(settings.webhook_port, "/test-drill", method="GET").status == 405
    except OSError:
        return False


@contextmanager
def running_gateway(settings: Settings) -> Iterator[None]:
    process = start_gateway(settings)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
