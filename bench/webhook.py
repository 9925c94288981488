"""Does every accepted POST become exactly one workflow, and how soon does its first process run?

Against a running platform (``tiphys up``); no cluster is needed, since the runs name clusters that do not exist and so
end at once. One JSON line for each experiment; exit code 1 if a count is wrong. Times are printed, never judged.

Usage: ``python bench/webhook.py [--home HOME] [--posts 200]``
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import click

from tiphys.local.client import Kube
from tiphys.local.settings import NAMESPACE, Settings

TEMPLATE = "check-cluster"


def say(experiment: str, right: bool, **figures: Any) -> bool:
    """Print one experiment's line; return whether it was right."""
    print(json.dumps({"bench": "webhook", "experiment": experiment, "right": right, **figures}), flush=True)
    return right


class Gateway:
    """The webhook of one platform, with the bearer that its Secret holds."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession, token: str) -> None:
        self.url = f"http://127.0.0.1:{settings.webhook_port}/{TEMPLATE}"
        self.http, self.token = http, token

    async def post(
        self, body: bytes | dict[str, Any], key: str | None = None, token: str | None = None
    ) -> tuple[int, str]:
        """POST once; return the status and the answer's text. An empty `token` sends no Authorization."""
        headers = {"Idempotency-Key": key} if key else {}
        if token is None or token:
            headers["Authorization"] = f"Bearer {self.token if token is None else token}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(self.url, data=data, headers=headers) as answer:
            return answer.status, await answer.text()


async def flood(gateway: Gateway, kube: Kube, posts: int, limit: int) -> bool:
    """POST many at once; count what they became and how many ran at a time."""
    mark = uuid4().hex[:6]
    started = time.monotonic()
    answers = await asyncio.gather(*(gateway.post({"cluster": f"none-{mark}-{n}"}) for n in range(posts)))
    answered = time.monotonic() - started
    accepted = {json.loads(text)["workflow"] for status, text in answers if status == 200}
    most = 0
    while True:
        found = [w for w in await kube.list("workflows", NAMESPACE) if _cluster(w).startswith(f"none-{mark}-")]
        phases = [w.get("status", {}).get("phase", "") for w in found]
        pods = await kube.list("pods", NAMESPACE, fields="status.phase=Running")
        names = {w["metadata"]["name"] for w in found}
        most = max(most, sum(_workflow(pod) in names for pod in pods))
        if all(phase in ("Succeeded", "Failed", "Error") for phase in phases) and len(found) >= len(accepted):
            break
        if time.monotonic() - started > 600:
            break
        await asyncio.sleep(0.05)
    return say(
        "flood",
        len(found) == len(accepted) == len(answers) and most <= limit,
        posts=posts,
        answered_200=len([a for a in answers if a[0] == 200]),
        workflows=len(found),
        finished=sum(phase in ("Succeeded", "Failed", "Error") for phase in phases),
        most_at_once=most,
        limit=limit,
        seconds_to_answer_all=round(answered, 3),
        seconds_to_finish_all=round(time.monotonic() - started, 1),
    )


def _cluster(workflow: dict[str, Any]) -> str:
    parameters = workflow["spec"].get("arguments", {}).get("parameters", [])
    return next((str(p.get("value")) for p in parameters if p["name"] == "cluster"), "")


def _workflow(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("labels", {}).get("workflows.argoproj.io/workflow", ""))


async def same_key(gateway: Gateway, kube: Kube, times: int = 50) -> bool:
    """POST one key many times at once: one workflow."""
    key = f"same-{uuid4().hex[:6]}"
    answers = await asyncio.gather(*(gateway.post({"cluster": "none-same"}, key=key) for _ in range(times)))
    names = {json.loads(text).get("workflow") for _, text in answers}
    await asyncio.sleep(1.0)
    made = [w for w in await kube.list("workflows", NAMESPACE) if w["metadata"]["name"].endswith(key)]
    return say(
        "same-key",
        names == {f"{TEMPLATE}-{key}"} and len(made) == 1,
        posts=times,
        statuses=sorted({status for status, _ in answers}),
        workflows=len(made),
    )


async def refusals(gateway: Gateway, kube: Kube) -> bool:
    """POST what must be refused: each with its status and a reason, and nothing runs."""
    before = len(await kube.list("workflows", NAMESPACE))
    cases: list[tuple[str, int, bytes | dict[str, Any], str | None]] = [
        ("no bearer", 401, {"cluster": "a"}, ""),
        ("wrong bearer", 401, {"cluster": "a"}, "wrong"),
        ("bad JSON", 400, b"{", None),
        ("missing target", 422, {}, None),
        ("unknown parameter", 422, {"cluster": "a", "colour": "red"}, None),
        ("ill-typed parameter", 422, {"cluster": 7.5}, None),
        ("template in a value", 422, {"cluster": "{{workflow.name}}"}, None),
        ("too large", 413, {"cluster": "a" * 200_000}, None),
    ]
    right, seen = True, {}
    for name, _, body, token in cases:
        status, text = await gateway.post(body, token=token)
        seen[name] = status
        right &= 400 <= status < 500 and "Traceback" not in text and len(json.loads(text)["error"]) > 5
    right &= seen["no bearer"] == seen["wrong bearer"] == 401 and seen["too large"] == 413
    await asyncio.sleep(0.5)
    after = len(await kube.list("workflows", NAMESPACE))
    return say("refusals", right and after == before, statuses=seen, workflows_made=after - before)


async def _process_files(kube: Kube, home: Path, selector: str) -> list[Path]:
    pods = await kube.list("pods", NAMESPACE, labels=selector)
    return [home / "pods" / pod["metadata"]["uid"] / "main.pid" for pod in pods]


async def first_process(gateway: Gateway, kube: Kube, home: Path, times: int = 20) -> bool:
    """Time a POST until its first step's process runs: the kubelet writes the process's id when it starts it."""
    seconds = []
    for _ in range(times):
        key = f"first-{uuid4().hex[:6]}"
        posted = time.time()
        await gateway.post({"cluster": "none-first"}, key=key)
        selector = f"workflows.argoproj.io/workflow={TEMPLATE}-{key}"
        while not (pids := [path for path in await _process_files(kube, home, selector) if path.exists()]):
            await asyncio.sleep(0.01)
        seconds.append(pids[0].stat().st_mtime - posted)
        await asyncio.sleep(1.5)
    return say(
        "post-to-first-process",
        True,
        posts=times,
        median_seconds=round(statistics.median(seconds), 3),
        max_seconds=round(max(seconds), 3),
    )


async def measure(home: Path, posts: int) -> bool:
    """Run all experiments."""
    settings = Settings.load(home)
    async with Kube.from_home(home) as kube, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        secret = await kube.get("secrets", "tiphys-webhook", NAMESPACE)
        limits = await kube.get("configmaps", "tiphys-settings", NAMESPACE)
        gateway = Gateway(settings, http, base64.b64decode(secret["data"]["token"]).decode())
        return all(
            [
                await first_process(gateway, kube, home),
                await refusals(gateway, kube),
                await same_key(gateway, kube),
                await flood(gateway, kube, posts, int(limits["data"]["max-concurrent-runs"])),
            ]
        )


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=lambda: Settings.load().home, help="The platform.")
@click.option("--posts", type=click.IntRange(1), default=200, show_default=True, help="How many POSTs at once.")
def main(home: Path, posts: int) -> None:
    """Measure the webhook of a running platform."""
    sys.exit(0 if asyncio.run(measure(home, posts)) else 1)


if __name__ == "__main__":
    main()
