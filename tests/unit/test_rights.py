"""The page of rights says what the roles give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roles_help import may

from tiphys import rights
from tiphys.rendering import Rendering

BASE = Path(__file__).parents[2] / "manifests" / "base"


def role(kind: str, name: str, **rule: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "rules": [{"apiGroups": [""], **rule}]}


def binding(kind: str, role: str, *accounts: str) -> dict[str, Any]:
    subjects = [{"kind": "ServiceAccount", "name": account} for account in accounts]
    of = {"kind": kind.removesuffix("Binding"), "name": role}
    return {"kind": kind, "metadata": {"name": role}, "roleRef": of, "subjects": subjects}


OBJECTS = [
    {"kind": "ServiceAccount", "metadata": {"name": "one"}},
    {"kind": "ServiceAccount", "metadata": {"name": "idle"}},
    role("Role", "read", resources=["pods", "secrets"], verbs=["get", "list"]),
    role("Role", "again", resources=["pods"], verbs=["get"]),
    role("Role", "named", resources=["secrets"], verbs=["get"], resourceNames=["key"]),
    role("ClusterRole", "nodes", resources=["nodes"], verbs=["patch"]),
    *(binding("RoleBinding", name, "one") for name in ("read", "again", "named")),
    binding("ClusterRoleBinding", "nodes", "one"),
    {"kind": "WorkflowTemplate", "metadata": {"name": "drill"}, "spec": {"templates": [{"serviceAccountName": "one"}]}},
    {"kind": "Sensor", "metadata": {"name": "bell"}, "spec": {"template": {"serviceAccountName": "one"}}},
]


def test_a_right_that_two_roles_give_counts_once() -> None:
    found = rights.rights_of("one", OBJECTS)
    assert rights.distinct(one for one in found if not one.everywhere) == 5
    assert [one.resource for one in found if one.everywhere] == ["nodes"]
    page = rights.rights_page(OBJECTS, {"large": 99})
    assert "| [`one`](#one) | 5 | 1 | `again`, `named`, `nodes`, `read` |" in page
    assert "| [`idle`](#idle) | 0 | 0 | none |" in page and "It may do nothing." in page
    assert "| namespace | `secrets` | `key` | get | `named` |" in page
    assert "Runs Sensor `bell`, `drill`." in page
    assert f"| all | {len(OBJECTS)} |" in page and "| `large` | 99 |" in page


def test_the_projects_page_agrees_with_the_roles() -> None:
    objects = list(Rendering.of_project(BASE).objects.values())
    accounts = [one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"]
    method = {"get": "GET", "list": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE", "update": "PUT"}
    for account in accounts:
        found = rights.rights_of(account, objects)
        assert found, f"{account} may do nothing: what is it for?"
        assert rights.users(account, objects), f"nothing runs as {account}"
        for one in found:
            resource, _, sub = one.resource.partition("/")
            name = (one.names or ("x",))[0]
            path = f"/apis/{one.group}/v1/namespaces/x/{resource}" if one.group else f"/api/v1/namespaces/x/{resource}"
            if one.verb != "list" and not (one.verb == "create" and not sub):
                path += f"/{name}" + (f"/{sub}" if sub else "")
            assert may(account, method[one.verb], path), (account, one)
