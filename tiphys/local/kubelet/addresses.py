"""Addresses of pods: one pool a node, none given twice while in use, and reused as late as can be."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from tiphys.local.settings import Settings

LAST_HOST = 253
"""Highest host number of a pod; 254 is the node's own address."""


class AddressesExhausted(Exception):
    """All addresses of a node are in use."""


def node_number(name: str) -> int:
    """Return the number of a node from its name, ``node-<number>``."""
    return int(name.rpartition("-")[2])


class Addresses:
    """The pools of all nodes.

    Where each pool stands is kept in a file, so that a kubelet that was restarted does not hand out again
    what was freed a moment ago: clients may still hold connections and caches for it.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._file = settings.home / "pods" / "addresses.json"
        self._owners: dict[str, str] = {}
        try:
            self._last: dict[str, int] = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            self._last = {}

    def claim(self, address: str, uid: str) -> bool:
        """Keep `address` for the pod `uid`, which had it before; False when another pod has it."""
        return self._owners.setdefault(address, uid) == uid

    def allocate(self, node: str, uid: str) -> str:
        """Return an address on `node` for the pod `uid`.

        Raises:
            AddressesExhausted: all are in use.
        """
        last = self._last.get(node, 0)
        for step in range(LAST_HOST):
            host = (last + step) % LAST_HOST + 1
            address = self._settings.pod_address(node_number(node), host)
            if address not in self._owners:
                self._owners[address] = uid
                self._last[node] = host
                _save(self._file, self._last)
                return address
        raise AddressesExhausted(f"all {LAST_HOST} pod addresses of {node} are in use: delete pods")

    def release(self, uid: str) -> None:
        """Free the addresses of the pod `uid`."""
        for address in [address for address, owner in self._owners.items() if owner == uid]:
            del self._owners[address]

    def is_ours(self, address: str) -> bool:
        """Whether `address` can be a pod's on this platform."""
        return ipaddress.ip_address(address) in ipaddress.ip_network(f"127.{self._settings.network}.0.0/16")


def _save(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
