"""What the small programs inside the pods share: their options and a client of the API that starts fast."""

from __future__ import annotations

import argparse
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiphys.local.access import access
from tiphys.local.operator.names import COMPONENT
from tiphys.local.operator.objects import decoded


def options(program: str, argv: Sequence[str] | None, *words: str) -> argparse.Namespace:
    """Read the command line of a helper: --home (not on a real cluster), --namespace, --pod, and positional `words`."""
    parser = argparse.ArgumentParser(prog=f"python -m tiphys.local.operator.{program}")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--pod", required=True)
    for word in words:
        parser.add_argument(word)
    return parser.parse_args(argv)


def say(event: str, **fields: Any) -> None:
    """Write one JSON line to the container's log."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Api:
    """Reads and patches a few objects, with the standard library only: a helper must start in a moment."""

    def __init__(self, home: Path | None, namespace: str):
        self._access = access(home)
        self._tls = self._access.tls()
        self.namespace = namespace

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> dict[str, Any]:
        """Make one call, waiting up to a minute for an API server that is being restarted.

        Raises:
            urllib.error.HTTPError: the server's refusal.
            OSError: there was no server for a minute.
        """
        deadline = time.monotonic() + 60
        while True:
            request = urllib.request.Request(
                self._access.url + path,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={**self._access.headers(), "Content-Type": content_type},
            )
            try:
                with urllib.request.urlopen(request, timeout=10, context=self._tls) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except urllib.error.HTTPError:
                raise
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def get(self, prefix: str, plural: str, name: str) -> dict[str, Any]:
        """Return one object of this namespace."""
        return self.call("GET", f"{prefix}/namespaces/{self.namespace}/{plural}/{name}")

    def cluster(self, name: str) -> dict[str, Any]:
        """Return an InnoDBCluster."""
        return self.get("/apis/mysql.oracle.com/v2", "innodbclusters", name)

    def secret(self, name: str) -> dict[str, str]:
        """Return the values of a Secret in clear."""
        return decoded(self.get("/api/v1", "secrets", name))

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod."""
        return self.get("/api/v1", "pods", name)

    def pods(self, labels: str) -> list[dict[str, Any]]:
        """Return the pods that carry all of `labels` (comma separated ``key=value``)."""
        query = urllib.parse.urlencode({"labelSelector": labels})
        items: list[dict[str, Any]] = self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods?{query}")["items"]
        return items

    def event(self, about: dict[str, Any], reason: str, message: str) -> None:
        """Record a warning about an object, where people look for the reason."""
        keys = ("namespace", "name", "uid")
        reference = {"apiVersion": about["apiVersion"], "kind": about["kind"]}
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about['metadata']['name']}.{time.time_ns():x}", "namespace": self.namespace},
            "involvedObject": {**reference, **{key: about["metadata"][key] for key in keys}},
            "type": "Warning",
            "reason": reason,
            "message": message[:1000],
            "count": 1,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "source": {"component": COMPONENT},
        }
        self.call("POST", f"/api/v1/namespaces/{self.namespace}/events", event)

    def set_condition(self, pod: str, kind: str, value: bool, reason: str) -> None:
        """Set one condition of a pod's status, leaving the others alone."""
        condition = {
            "type": kind,
            "status": str(value),
            "reason": reason,
            "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/status"
        patch = {"status": {"conditions": [condition]}}
        self.call("PATCH", path, patch, "application/strategic-merge-patch+json")


def become_quiet() -> None:
    """Turn into a process that costs nothing and ends at SIGTERM."""
    os.execvp("sleep", ["sleep", "infinity"])
