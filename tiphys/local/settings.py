"""Paths, addresses and ports of one local platform: the one place that decides them.

A platform is a folder (``TIPHYS_HOME``) and a network number: everything it runs listens on its own part of
the loopback range, ``127.<network>.0.0/16``, which Linux lets any user bind. Two platforms with two folders
and two numbers do not see each other.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

NAMESPACE = "tiphys"
"""The namespace that holds the pack, its workflows and the clusters they act upon."""

PLATFORM_VARIABLE = "TIPHYS_PLATFORM"
"""Environment variable that every process of a platform carries; its value is the platform's folder."""


POD_VOLUMES = "volumes"
"""Folder of a pod's own volumes; it lies beside the pod's file root."""


def default_home() -> Path:
    """Return the folder of the platform that the environment names (``TIPHYS_HOME``), or the user's own."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("TIPHYS_HOME") or Path(data) / "tiphys").expanduser().absolute()


def cache_folder() -> Path:
    """Return the folder for what is downloaded or built once and shared by all platforms of this user."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TIPHYS_CACHE") or Path(cache) / "tiphys").expanduser().absolute()


@dataclass(frozen=True)
class Settings:
    """What ``tiphys up`` decided for one platform; kept in ``<home>/platform.json``.

    Attributes:
        home: the platform's folder, absolute.
        network: second byte of every address of the platform.
        nodes: number of nodes that pods are scheduled onto.
        webhook_port: TCP port of the webhook gateway on 127.0.0.1.
        pre_stop_seconds: how long a MySQL pod waits between its deletion and its shutdown. Oracle's operator
            waits 60 s; the local default is shorter so that a drill takes a minute and not three.
    """

    home: Path
    network: int = 71
    nodes: int = 3
    webhook_port: int = 12000
    pre_stop_seconds: int = 5

    @classmethod
    def load(cls, home: Path | None = None) -> Settings:
        """Read the settings of the platform in `home`; defaults where none were saved."""
        home = (home or default_home()).absolute()
        try:
            saved = json.loads((home / "platform.json").read_text())
        except FileNotFoundError:
            saved = {}
        return cls(**{**saved, "home": home})

    def save(self) -> None:
        """Write the settings into the platform's folder; one that is not there is made, for its owner only."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        values = {key: value for key, value in asdict(self).items() if key != "home"}
        (self.home / "platform.json").write_text(json.dumps(values, indent=2) + "\n")

    @property
    def api_host(self) -> str:
        """Address of the API server."""
        return f"127.{self.network}.0.1"

    api_port = 6443

    @property
    def api_url(self) -> str:
        """Base URL of the API server."""
        return f"http://{self.api_host}:{self.api_port}"

    api_tls_port = 6444

    @property
    def api_tls_url(self) -> str:
        """The same API over TLS: client-go, so kubectl, sends a kubeconfig's token over nothing else."""
        return f"https://{self.api_host}:{self.api_tls_port}"

    @property
    def s3_host(self) -> str:
        """Address of the S3 server."""
        return f"127.{self.network}.0.2"

    s3_port = 7070

    @property
    def s3_url(self) -> str:
        """Endpoint URL of the S3 server."""
        return f"http://{self.s3_host}:{self.s3_port}"

    def pod_address(self, node: int, host: int) -> str:
        """Return the address of the pod number `host` (1 to 254) on node number `node` (1 and up)."""
        return f"127.{self.network}.{node}.{host}"

    def service_address(self, host: int) -> str:
        """Return the cluster IP number `host` (1 to 254)."""
        return f"127.{self.network}.200.{host}"

    @property
    def token_file(self) -> Path:
        """File with the API server's bearer token, readable to its owner only."""
        return self.home / "admin.token"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that kubectl and the steps use."""
        return self.home / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Folder of the platform's own logs, one file a process."""
        return self.home / "logs"

    def pod_folder(self, uid: str) -> Path:
        """Return the folder of one pod: its file root, volumes, logs and process ids."""
        return self.home / "pods" / uid

    def claim_folder(self, namespace: str, claim: str) -> Path:
        """Return the folder that holds a PersistentVolumeClaim's data."""
        return self.home / "volumes" / namespace / claim


def step_program() -> str:
    """Return the path of the `step` program of this Python environment."""
    return str(Path(sys.executable).parent / "step")
