"""The example applications: what Kubernetes knows, nothing else, and as confined as its strictest level asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client
import pytest
import yaml

from workflows.pack import IMAGE

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = ("webapp", "wordpress")


def documents(folder: str) -> list[dict[str, Any]]:
    listed = yaml.safe_load((EXAMPLES / folder / "kustomization.yaml").read_text())["resources"]
    there = {path.name for path in (EXAMPLES / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == there, "every file is applied"
    return [each for name in listed for each in yaml.safe_load_all((EXAMPLES / folder / name).read_text())]


def model_of(document: dict[str, Any]) -> type:
    version = document["apiVersion"].rpartition("/")[2].capitalize()
    return getattr(kubernetes.client, f"{version}{document['kind']}")  # type: ignore[no-any-return]


def strange(value: Any, kind: str, path: str) -> Iterator[str]:
    """Every field that the official client's models do not have, or that has a value of another type."""
    if kind.startswith("List["):
        if not isinstance(value, list):
            yield f"{path}: expected a list"
            return
        for number, each in enumerate(value):
            yield from strange(each, kind[5:-1], f"{path}[{number}]")
    elif kind.startswith("Dict["):
        inner = kind[5:-1].split(", ")[1]
        for key, each in value.items():
            yield from strange(each, inner, f"{path}.{key}")
    elif kind in ("str", "int", "bool", "float"):
        if type(value).__name__ != kind:
            yield f"{path}: {value!r} is no {kind}"
    elif model := getattr(kubernetes.client, kind, None):
        known = {name: attribute for attribute, name in model.attribute_map.items()}
        for key, each in value.items():
            if key not in known:
                yield f"{path}.{key}: {kind} has no such field"
            else:
                yield from strange(each, model.openapi_types[known[key]], f"{path}.{key}")


def pods(folder: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for document in documents(folder):
        spec = document["spec"]
        if document["kind"] == "Pod":
            found.append((document["metadata"]["name"], spec))
        elif "template" in spec:
            found.append((document["metadata"]["name"], spec["template"]["spec"]))
    return found


def test_the_check_finds_what_is_strange() -> None:
    container = {"name": "x", "imge": "y", "ports": [{"containerPort": "80"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}
    assert list(strange(pod, "V1Pod", "pod")) == [
        "pod.spec.containers[0].imge: V1Container has no such field",
        "pod.spec.containers[0].ports[0].containerPort: '80' is no int",
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_kubernetes_knows_every_field(folder: str) -> None:
    for document in documents(folder):
        assert list(strange(document, model_of(document).__name__, document["kind"])) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_pods_are_as_confined_as_the_restricted_level_asks(folder: str) -> None:
    assert len(pods(folder)) == 2
    for name, spec in pods(folder):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False
        assert {each["name"] for each in context.get("sysctls", [])} <= {"net.ipv4.ip_unprivileged_port_start"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for volume in spec.get("volumes", []):
            assert set(volume) & {"emptyDir", "persistentVolumeClaim"}, volume
        for container in spec["containers"]:
            inside = container["securityContext"]
            assert inside["allowPrivilegeEscalation"] is False and inside["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_passwords_are_in_secrets_and_the_administrator_s_only_where_the_database_is_made(folder: str) -> None:
    for name, spec in pods(folder):
        for container in spec["containers"]:
            for item in container["env"]:
                if re.search("PASSWORD|USER", item["name"]):
                    assert set(item["valueFrom"]) == {"secretKeyRef"}, item
            asked = {
                item["valueFrom"]["secretKeyRef"]["name"]
                for item in container["env"]
                if "valueFrom" in item and "secretKeyRef" in item["valueFrom"]
            }
            assert ("demo-root" in asked) == name.endswith("-database"), name
    assert not any(document["kind"] == "Secret" for document in documents(folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_application_outlives_a_drained_node_and_its_database(folder: str) -> None:
    by_kind = {document["kind"]: document for document in documents(folder)}
    application, budget, service = (by_kind[kind] for kind in ("Deployment", "PodDisruptionBudget", "Service"))
    labels = application["spec"]["template"]["metadata"]["labels"]
    assert application["spec"]["replicas"] == 2 and budget["spec"]["maxUnavailable"] == 1
    assert application["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    (container,) = application["spec"]["template"]["spec"]["containers"]
    assert container["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] not in ("/", "/wp-login.php"), "a probe must not ask the database"


def test_the_local_image_has_the_package_s_version() -> None:
    version = IMAGE.rpartition(":")[2]
    images = {c["image"] for _, spec in pods("webapp") for c in spec["containers"]}
    assert images == {f"ghcr.io/tiphys/webapp:{version}"}
