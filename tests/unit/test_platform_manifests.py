from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from platform_help import new_home, running

from tiphys.local.client import Kube, NotFound
from tiphys.local.platform.access import ensure_token
from tiphys.local.platform.fewer_nodes import retire
from tiphys.local.platform.manifests import ManifestError, apply, changes, read_folder
from tiphys.local.settings import Settings


@pytest_asyncio.fixture
async def kube(tmp_path: Path) -> AsyncIterator[Kube]:
    settings = new_home(tmp_path / "home")
    ensure_token(settings)
    with running("tiphys.local.apiserver", settings):
        async with Kube.from_home(settings.home) as kube:
            await kube.wait_ready(20)
            try:
                await kube.get("namespaces", "tiphys")
            except NotFound:
                await kube.create(
                    "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tiphys"}}
                )
            yield kube


def settings_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tiphys-settings"}, "data": data}


def template(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": "backup"},
        "spec": spec,
    }


async def test_objects_are_created_changed_and_then_left_alone(kube: Kube) -> None:
    first = [settings_map(drills="on"), template(entrypoint="a", activeDeadlineSeconds=60, templates=[{"name": "a"}])]
    done = await apply(kube, first)
    assert done.created == ["ConfigMap/tiphys-settings", "WorkflowTemplate/backup"]
    version = (await kube.get("workflowtemplates", "backup", "tiphys"))["metadata"]["resourceVersion"]

    again = await apply(kube, first)
    assert (again.created, again.changed, len(again.unchanged)) == ([], [], 2)
    assert (await kube.get("workflowtemplates", "backup", "tiphys"))["metadata"]["resourceVersion"] == version

    # A field that the new version has no more is removed; what somebody else added stays.
    await kube.patch("workflowtemplates", "backup", {"metadata": {"labels": {"mine": "yes"}}}, "tiphys")
    second = await apply(kube, [template(entrypoint="b", templates=[{"name": "b"}])])
    assert second.changed == ["WorkflowTemplate/backup"]
    live = await kube.get("workflowtemplates", "backup", "tiphys")
    assert live["spec"] == {"entrypoint": "b", "templates": [{"name": "b"}]}
    assert live["metadata"]["labels"] == {"mine": "yes"}


async def test_the_kill_switch_outlives_the_next_up(kube: Kube) -> None:
    await apply(kube, [settings_map(**{"drills": "on", "max-concurrent-runs": "4"})])
    await kube.patch("configmaps", "tiphys-settings", {"data": {"drills": "off"}}, "tiphys")
    done = await apply(kube, [settings_map(**{"drills": "on", "max-concurrent-runs": "8"})])
    assert done.changed == ["ConfigMap/tiphys-settings"]
    data = (await kube.get("configmaps", "tiphys-settings", "tiphys"))["data"]
    assert data == {"drills": "off", "max-concurrent-runs": "8"}


async def test_drift_of_a_template_is_mended(kube: Kube) -> None:
    await apply(kube, [template(entrypoint="a", templates=[{"name": "a"}])])
    await kube.patch("workflowtemplates", "backup", {"spec": {"entrypoint": "elsewhere"}}, "tiphys")
    assert (await apply(kube, [template(entrypoint="a", templates=[{"name": "a"}])])).changed
    assert (await kube.get("workflowtemplates", "backup", "tiphys"))["spec"]["entrypoint"] == "a"


async def test_an_unknown_kind_is_named(kube: Kube) -> None:
    wrong = {"apiVersion": "v1", "kind": "Gadget", "metadata": {"name": "one"}}
    with pytest.raises(ManifestError, match="Gadget/one: the local API server serves no Gadget of v1"):
        await apply(kube, [wrong])


def test_a_folder_is_read_as_its_kustomization_says(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "kustomization.yaml").write_text("resources: [sensor.yaml, templates, map.yaml]\n")
    (tmp_path / "templates" / "kustomization.yaml").write_text("resources: [one.yaml]\n")
    (tmp_path / "templates" / "one.yaml").write_text("kind: WorkflowTemplate\nmetadata: {name: one}\n")
    (tmp_path / "templates" / "draft.yaml").write_text("kind: WorkflowTemplate\nmetadata: {name: draft}\n")
    (tmp_path / "sensor.yaml").write_text("kind: Sensor\nmetadata: {name: s}\n---\n")
    (tmp_path / "map.yaml").write_text("kind: ConfigMap\nmetadata: {name: m}\n")
    assert [one["metadata"]["name"] for one in read_folder(tmp_path)] == ["m", "one", "s"]
    (tmp_path / "map.yaml").write_text("kind: ConfigMap\n")
    with pytest.raises(ManifestError, match="map.yaml"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("before", "wanted", "live", "patch"),
    [
        ({}, {"a": 1}, {"a": 1, "b": 2}, {}),
        ({"b": 2}, {"a": 1}, {"a": 1, "b": 2}, {"b": None}),
        ({"b": 2}, {"a": 1}, {"a": 1}, {}),
        ({"x": {"y": 1, "z": 2}}, {"x": {"y": 1}}, {"x": {"y": 0, "z": 2, "w": 3}}, {"x": {"y": 1, "z": None}}),
        ({}, {"x": [1, 2]}, {"x": [2, 1]}, {"x": [1, 2]}),
        ({"x": 1}, {"x": {"y": 1}}, {"x": 1}, {"x": {"y": 1}}),
    ],
)
def test_changes(before: dict[str, Any], wanted: dict[str, Any], live: dict[str, Any], patch: dict[str, Any]) -> None:
    assert changes(before, wanted, live) == patch


async def test_fewer_nodes_take_their_pods_with_them(kube: Kube, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        await kube.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"}})
        spec = {"nodeName": f"node-{number}", "containers": [{"name": "main", "image": "localhost/host:1"}]}
        meta = {"name": f"pod-{number}", "namespace": "tiphys"}
        await kube.create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    assert await retire(kube, Settings(tmp_path, nodes=2)) == ["node-3"]
    assert [one["metadata"]["name"] for one in await kube.list("nodes")] == ["node-1", "node-2"]
    assert [one["metadata"]["name"] for one in await kube.list("pods")] == ["pod-1", "pod-2"]
    assert await retire(kube, Settings(tmp_path, nodes=5)) == []
