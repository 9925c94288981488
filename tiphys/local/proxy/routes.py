"""Which address and port leads to which pods: a function of the Services and their Endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]
Address = tuple[str, int]
"""IP address and TCP port."""


def routes(service: Object, endpoints: Object | None) -> dict[Address, tuple[Address, ...]]:
    """Return where each of a Service's addresses leads.

    An address with no ready pod behind it maps to an empty tuple. Headless and external Services have none.

    Args:
        service: the Service.
        endpoints: the Endpoints of the same name, None before there are any.
    """
    spec = service["spec"]
    address = spec.get("clusterIP")
    if not address or address == "None" or spec.get("type") == "ExternalName":
        return {}
    found: dict[Address, tuple[Address, ...]] = {}
    for port in spec.get("ports") or []:
        if port.get("protocol", "TCP") == "TCP":
            found[(address, int(port["port"]))] = _targets(port, endpoints)
    return found


def _targets(port: Object, endpoints: Object | None) -> tuple[Address, ...]:
    targets: set[Address] = set()
    for subset in (endpoints or {}).get("subsets") or []:
        for item in subset.get("ports") or []:
            if item.get("name", "") == port.get("name", "") and item.get("protocol", "TCP") == "TCP":
                targets |= {(entry["ip"], int(item["port"])) for entry in subset.get("addresses") or []}
    return tuple(sorted(targets))
