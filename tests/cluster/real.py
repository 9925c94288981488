"""A real cluster, as its administrator sees it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
Tell = Callable[..., None]
"""See the fixture."""

BASE = Path(__file__).parents[2] / "manifests" / "base"
NAMESPACE = "tiphys"
"""Where the pack's accounts are, and the only one in which their Roles hold."""
IMAGE = os.environ.get("TIPHYS_E2E_IMAGE", "docker.io/library/busybox:1.37")
"""Any image with `sh` and `sleep`."""
HOSTNAME = "kubernetes.io/hostname"
HOME_LABEL = "tiphys.dev/e2e"
"""On the nodes on which a test's pods may run."""
LIMIT_SECONDS = 240.0
"""How long anything is waited for."""


class CommandFailed(Exception):
    """kubectl did not do what it was asked for."""


@functools.cache
def base() -> tuple[Object, ...]:
    """Return the objects of manifests/base, but for those of Argo."""
    rendered = subprocess.run(["kubectl", "kustomize", str(BASE)], capture_output=True, text=True, check=True)
    return tuple(one for one in yaml.safe_load_all(rendered.stdout) if "argoproj.io" not in one["apiVersion"])


@dataclass(frozen=True)
class Real:
    """A cluster, through kubectl.

    Attributes:
        kubeconfig: of an administrator.
        folder: for the kubeconfigs of service accounts.
    """

    kubeconfig: Path
    folder: Path

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", "--request-timeout=60s", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True)
        if done.returncode:
            raise CommandFailed(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *objects: Object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))

    def get(self, resource: str, name: str, namespace: str = NAMESPACE) -> Object:
        found: Object = json.loads(self.kubectl("get", resource, name, "-n", namespace, "-o", "json"))
        return found

    def all(self, resource: str, *words: str) -> list[Object]:
        items: list[Object] = json.loads(self.kubectl("get", resource, *words, "-o", "json"))["items"]
        return items

    def pods(self, namespace: str, app: str = "") -> list[Object]:
        return self.all("pods", "-n", namespace, *(["-l", f"app={app}"] if app else []))

    def account(self, name: str) -> Path:
        """Return a kubeconfig of a service account, with a token of an hour and no other right."""
        token = self.kubectl("create", "token", name, "-n", NAMESPACE, "--duration=1h").strip()
        shown: Object = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        user, context = {"name": name, "user": {"token": token}}, shown["contexts"][0]
        context["context"].update(user=name, namespace=NAMESPACE)
        path = self.folder / f"{name}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({**shown, "users": [user], "contexts": [context]}))
        return path

    def install(self) -> None:
        """Apply what the pack's accounts and their rights are made of: manifests/base without what only Argo knows."""
        self.apply(*(one for one in base() if one["kind"] == "Namespace"))
        self.apply(*(one for one in base() if one["kind"] != "Namespace"))

    def uninstall(self) -> None:
        kept = [one for one in base() if one["kind"].startswith(("ClusterRole", "Namespace"))]
        listed = {"apiVersion": "v1", "kind": "List", "items": kept}
        self.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=json.dumps(listed))

    def running(self, namespace: str, app: str, count: int, seconds: float = LIMIT_SECONDS) -> list[Object]:
        """Wait until an application has so many pods, all ready, and return them."""

        def whole() -> list[Object]:
            pods = [pod for pod in self.pods(namespace, app) if not finished(pod)]
            return pods if len(pods) == count and all(map(ready, pods)) else []

        found: list[Object] = eventually(f"{count} pods of {namespace}/{app} are ready", whole, seconds)
        return found

    @contextmanager
    def refuge(self, nodes: Sequence[str], run: str) -> Iterator[None]:
        """Let a run's pods come to further nodes."""
        self.kubectl("label", "nodes", *nodes, f"{HOME_LABEL}={run}")
        try:
            yield
        finally:
            self.kubectl("label", "nodes", *nodes, f"{HOME_LABEL}-")


def eventually(what: str, look: Callable[[], object], seconds: float = LIMIT_SECONDS) -> Any:
    """Wait until `look` returns something true, and return that."""
    limit = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < limit, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.3)
    return seen


def ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    going = pod["metadata"].get("deletionTimestamp")
    return not going and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def uids(pods: Sequence[Object]) -> set[str]:
    return {str(pod["metadata"]["uid"]) for pod in pods}
