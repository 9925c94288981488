"""A real API server process for tests: its own folder, its own network number, started and ended by pid."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from platform_help import free_network

from tiphys.local.platform.access import write_kubeconfig
from tiphys.local.settings import Settings


class ApiServer:
    """One API server on a fresh or a used folder."""

    def __init__(self, home: Path):
        self.home = home
        self.settings = Settings(home, network=free_network())
        self.settings.save()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self.home / "apiserver.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tiphys.local.apiserver", "--home", str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.request("GET", "/readyz")
                break
            except (OSError, urllib.error.URLError, FileNotFoundError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.home / "apiserver.log").read_text()) from None
                time.sleep(0.05)
        write_kubeconfig(self.settings)

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(how)
        return self.process.wait(60)

    def log(self) -> str:
        return (self.home / "apiserver.log").read_text()

    def token(self) -> str:
        return self.settings.token_file.read_text().strip()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> tuple[int, bytes]:
        """One plain HTTP request; refused ones are answers too."""
        given = {"Authorization": f"Bearer {token if token is not None else self.token()}"}
        if body is not None:
            given["Content-Type"] = "application/json"
        request = urllib.request.Request(self.settings.api_url + path, body, given | (headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def kubectl(self, *words: str, given: str = "", ok: bool = True) -> str:
        """Run kubectl; its output (and errors, when it is expected to fail)."""
        done = subprocess.run(
            ["kubectl", *words],
            env={**os.environ, "KUBECONFIG": str(self.settings.kubeconfig), "HOME": str(self.home)},
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout if ok else done.stdout + done.stderr


def tls_context(settings: Settings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(settings.home / f"apiserver-{settings.api_host}.crt"))


def pod(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """A smallest pod."""
    labels = spec.pop("labels", {"app": "x"})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "localhost/host:1"}], **spec},
    }


def config_map(name: str, namespace: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}
