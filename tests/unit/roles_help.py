"""What a ServiceAccount may do, read from manifests/base/roles.yaml, and whether requests were within that."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

BASE = Path(__file__).parents[2] / "manifests" / "base"


@functools.cache
def documents(file: str) -> list[dict[str, Any]]:
    return list(filter(None, yaml.safe_load_all((BASE / file).read_text())))


@functools.cache
def roles_of(account: str) -> list[dict[str, Any]]:
    found = documents("roles.yaml")
    bound = [
        (one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in found
        if one["kind"].endswith("RoleBinding") and account in [subject["name"] for subject in one["subjects"]]
    ]
    return [one for one in found if (one["kind"], one["metadata"]["name"]) in bound]


def may(account: str, method: str, path: str) -> bool:
    """Tell whether an account may do a request: method, and path with its query."""
    return allows(roles_of(account), method, path)


def allows(roles: list[dict[str, Any]], method: str, path: str) -> bool:
    """Tell whether one of some Roles allows a request."""
    url = urlsplit(path)
    parts = url.path.strip("/").split("/")
    group = parts[1] if parts[0] == "apis" else ""
    place = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[3 if group else 2 :]
    resource = "/".join([place[0], *place[2:]])
    name = place[1] if len(place) > 1 else ""
    verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}.get(method)
    verb = verb or ("get" if name else "list")
    return any(
        group in rule["apiGroups"]
        and resource in rule["resources"]
        and verb in rule["verbs"]
        and ("resourceNames" not in rule or name in rule["resourceNames"])
        for role in roles
        for rule in role["rules"]
    )
