"""A whole local platform for scenario tests, driven by the same program that people use."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import config
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration

from steps.kube.client import Kube
from tiphys.local.settings import NAMESPACE, PLATFORM_VARIABLE

TIPHYS = str(Path(sys.executable).parent / "tiphys")


@dataclass(frozen=True)
class Finished:
    """A run that is over: its Workflow object, and what the tests ask of it."""

    workflow: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.workflow["metadata"]["name"])

    @property
    def phase(self) -> str:
        return str(self.workflow["status"]["phase"])

    @property
    def outputs(self) -> dict[str, str]:
        found = (self.workflow["status"].get("outputs") or {}).get("parameters") or []
        return {item["name"]: item["value"] for item in found}


class Platform:
    """One platform in a folder of its own; `run` submits a template and waits for its end."""

    def __init__(self, home: Path, network: int, webhook_port: int) -> None:
        self.home, self.network, self.webhook_port = home, network, webhook_port

    def tiphys(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run the tool against this platform."""
        return subprocess.run(
            [TIPHYS, *arguments], capture_output=True, text=True, timeout=timeout, env=self.environment
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a person who works with this platform."""
        return {**os.environ, "TIPHYS_HOME": str(self.home), "KUBECONFIG": str(self.home / "kubeconfig")}

    def run(self, template: str, timeout: float = 600, **parameters: object) -> Finished:
        """Submit a template, wait for the end of the run, and return it, whatever its phase."""
        given = [word for key, value in parameters.items() for word in ("-p", f"{key.replace('_', '-')}={value}")]
        made = self.tiphys("submit", template, *given, "--wait", "-o", "json", timeout=timeout)
        try:
            name = json.loads(made.stdout)["metadata"]["name"]
        except (ValueError, KeyError):
            raise AssertionError(f"tiphys submit {template} gave no Workflow: {made.stdout}\n{made.stderr}") from None
        return Finished(self.kube.get("workflows", name))

    def succeeds(self, template: str, timeout: float = 600, **parameters: object) -> Finished:
        """Run a template that must succeed; its logs are in the failure."""
        done = self.run(template, timeout, **parameters)
        assert done.phase == "Succeeded", f"{done.name} {done.phase}:\n{self.logs(done)}"
        return done

    def logs(self, done: Finished) -> str:
        """Return what the steps of a run logged."""
        return self.tiphys("logs", done.name).stdout

    @functools.cached_property
    def kube(self) -> Kube:
        """A client for the pack's namespace."""
        settings = Configuration()
        config.load_kube_config(config_file=str(self.home / "kubeconfig"), client_configuration=settings)
        return Kube(ApiClient(settings), NAMESPACE)

    def leftovers(self) -> list[int]:
        """Return the processes that carry this platform's mark."""
        mark = f"{PLATFORM_VARIABLE}={self.home}".encode()
        found = []
        for place in Path("/proc").iterdir():
            if place.name.isdecimal():
                try:
                    if mark in (place / "environ").read_bytes().split(b"\0"):
                        found.append(int(place.name))
                except OSError:
                    continue
        return found


def start() -> Platform:
    """Start a platform on a free network and a free webhook port."""
    home = Path(tempfile.mkdtemp(prefix="tiphys-scenarios-")) / "home"
    platform = Platform(home, free_network(), free_port())
    try:
        made = platform.tiphys("up", f"--network={platform.network}", f"--webhook-port={platform.webhook_port}")
        if made.returncode:
            logs = "".join(f"\n{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(home.glob("logs/*.log")))
            raise AssertionError(f"tiphys up failed:\n{made.stdout}\n{made.stderr}\n{logs}")
    except BaseException:
        stop(platform)
        raise
    return platform


def stop(platform: Platform) -> list[int]:
    """Stop a platform, remove its folder, and return the processes that it left behind."""
    if "kube" in vars(platform):
        platform.kube.close()
    platform.tiphys("down")
    left = platform.leftovers()
    shutil.rmtree(platform.home.parent, ignore_errors=True)
    return left


def kill_server(pid_file: str) -> None:
    """SIGKILL the mysqld that wrote this file, and nothing else."""
    pid = int(Path(pid_file).read_text())
    words = Path(f"/proc/{pid}/cmdline").read_bytes() if pid > 1 else b""
    assert b"mysqld" in words, f"{pid_file} names process {pid}, which is no mysqld: {words!r}"
    os.kill(pid, signal.SIGKILL)


def free_network() -> int:
    """Return a network number on which no platform runs; the unit tests, run beside these, take 100 to 199."""
    for number in random.sample(range(200, 250), 50):
        try:
            for host, port in ((f"127.{number}.0.1", 6443), (f"127.{number}.0.2", 7070)):
                with socket.socket() as trial:
                    trial.bind((host, port))
        except OSError:
            continue
        return number
    raise AssertionError("no network number is free")


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody has; the unit tests, run beside these, take 10000 to 12999."""
    for port in random.sample(range(13_000, 14_000), 50):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError("no port is free")
