"""Overlays: as kustomize would build them, complete, and with the values that only an installation knows."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tiphys.install import images, kustomize, pack
from tiphys.runs.errors import ToolError

MANIFESTS = Path(__file__).parents[2] / "manifests"

Object = dict[str, Any]


def named(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    found = {kustomize.key_of(one): one for one in objects}
    assert len(found) == len(objects), "an object is there twice"
    return found


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl to compare with")
@pytest.mark.parametrize("name", ["single-node", "ingress-nginx", "ingress-alb", "webhook-tls", "github"])
def test_a_kustomization_is_built_as_kubectl_builds_it(name: str) -> None:
    # Those of an Ingress hold production, and that the policies, and so does webhook-tls.
    folder = MANIFESTS / "overlays" / name
    theirs = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True).stdout
    assert named(kustomize.build(folder)) == named(kustomize._parsed(theirs))


@pytest.mark.parametrize("size", ["single-node", "production"])
def test_an_install_has_what_the_overlays_folder_has(size: str) -> None:
    objects = pack.load(pack.Choice((size,)), "tiphys").objects
    assert named(objects) == named(kustomize.build(MANIFESTS / "overlays" / size))
    assert objects[0]["kind"] == "Namespace"


def test_overlays_are_laid_over_each_other() -> None:
    choice = pack.Choice(("ingress-nginx", "production"), "tiphys.dba.test", ("10.0.0.0/8", "203.0.113.7/32"))
    objects = named(pack.load(choice, "tiphys").objects)
    assert objects["argoproj.io", "EventBus", "default"]["spec"]["jetstream"]["replicas"] == 3
    ingress = objects["networking.k8s.io", "Ingress", "tiphys-webhook"]
    assert "example.com" not in str(ingress) and "192.0.2" not in str(ingress), "nothing of the examples is left"
    assert ingress["spec"]["tls"] == [{"hosts": ["tiphys.dba.test"], "secretName": "tiphys-tls"}]
    allowed = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/whitelist-source-range"]
    assert allowed == "10.0.0.0/8,203.0.113.7/32"


@pytest.mark.parametrize(
    "choice",
    [
        pack.Choice(("ingress-alb",)),
        pack.Choice(("ingress-nginx",), host="a.test"),
        pack.Choice(("ingress-nginx",), allow=("10.0.0.0/8",)),
        pack.Choice(("single-node", "production")),
        pack.Choice(("prodution",)),
    ],
    ids=str,
)
def test_a_choice_that_cannot_be_meant_is_refused(choice: pack.Choice) -> None:
    with pytest.raises(ToolError):
        pack.load(choice, "tiphys")


def test_the_steps_reach_the_port_of_s3_and_nobody_else_does() -> None:
    before = named(pack.load(pack.Choice(("production",)), "tiphys").objects)
    after = named(pack.load(pack.Choice(("production",), s3_port=8333), "tiphys").objects)
    changed = [key[2] for key in before if before[key] != after[key]]
    assert changed == ["tiphys-steps"]
    assert "8333" in str(after["networking.k8s.io", "NetworkPolicy", "tiphys-steps"])


def test_another_namespace_is_written_everywhere() -> None:
    objects = pack.load(pack.Choice(), "dba").objects
    assert objects[0]["metadata"]["name"] == "dba"
    subjects = [subject for one in objects for subject in one.get("subjects", [])]
    assert subjects and {subject["namespace"] for subject in subjects} == {"dba"}
    inside = [one for one in objects if one["kind"] not in kustomize.CLUSTER_WIDE]
    assert {one["metadata"]["namespace"] for one in inside} == {"dba"}


def test_policies_cover_every_pod_that_the_pack_has_argo_make() -> None:
    objects = pack.load(pack.Choice(("production",)), "tiphys").objects
    policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
    labels = {"EventSource": "eventsource-name", "Sensor": "sensor-name", "EventBus": "eventbus-name"}
    pods = [{labels[one["kind"]]: one["metadata"]["name"]} for one in objects if one["kind"] in labels]
    assert len(pods) >= 5
    for pod in [*pods, {"workflows.argoproj.io/workflow": "any"}]:
        chosen = [one for one in policies if selects(one["podSelector"], pod)]
        assert len(chosen) == 1, f"{pod} is covered by {len(chosen)} policies"
        assert chosen[0]["policyTypes"] == ["Ingress", "Egress"]
        if pod.get("eventsource-name") != "runbooks" and "eventbus-name" not in pod:
            assert chosen[0]["ingress"] == [], f"{pod} can be reached"
    assert not any(selects(one["podSelector"], {"mysql.oracle.com/cluster": "demo"}) for one in policies)


def selects(selector: Object, labels: dict[str, str]) -> bool:
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(
        one["key"] in labels and (one["operator"] == "Exists" or labels[one["key"]] in one["values"])
        for one in selector.get("matchExpressions", [])
    )


def test_what_is_not_known_of_kustomize_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nnamePrefix: x-\n")
    with pytest.raises(kustomize.KustomizeError, match="namePrefix"):
        kustomize.build(tmp_path)
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\npatches:\n  - path: p.yaml\n")
    (tmp_path / "p.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n")
    with pytest.raises(kustomize.KustomizeError, match="ConfigMap x, which is not there"):
        kustomize.build(tmp_path)
    for target in ("labelSelector: a=b", "kind: ConfigMap\n      name: y"):
        patches = f"patches:\n  - path: p.yaml\n    target:\n      {target}\n"
        (tmp_path / "kustomization.yaml").write_text(f"kind: Kustomization\n{patches}")
        with pytest.raises(kustomize.KustomizeError, match="target"):
            kustomize.build(tmp_path)


@pytest.mark.parametrize("ingress", ["nginx", "alb"])
def test_with_tls_up_to_the_pods_every_endpoint_and_the_ingress_speak_it(ingress: str) -> None:
    names = ("production", "webhook-tls", f"ingress-{ingress}")
    with_tls, without = (
        named(pack.load(pack.Choice(overlays, "a.test", ("10.0.0.0/8",)), "tiphys").objects)
        for overlays in (names, (names[0], names[2]))
    )
    changed = {key[1:] for key in without if with_tls[key] != without[key]}
    assert changed == {("EventSource", "runbooks"), ("Ingress", "tiphys-webhook")}
    source = with_tls["argoproj.io", "EventSource", "runbooks"]
    for webhook in source["spec"]["webhook"].values():
        assert webhook["serverCertSecret"] == {"name": "tiphys-webhook-tls", "key": "tls.crt"}
        assert webhook["serverKeySecret"] == {"name": "tiphys-webhook-tls", "key": "tls.key"}
        assert webhook["authSecret"]["name"] == "tiphys-webhook", "the bearer token is asked for as before"
    assert pack.certificates(source) == {"tiphys-webhook-tls"}
    annotations = with_tls["networking.k8s.io", "Ingress", "tiphys-webhook"]["metadata"]["annotations"]
    assert annotations[f"{ingress}.ingress.kubernetes.io/backend-protocol"] == "HTTPS"


@pytest.mark.parametrize("order", [("github", "webhook-tls"), ("webhook-tls", "github")])
def test_github_s_endpoint_speaks_tls_as_well_in_any_order(order: tuple[str, str], tmp_path: Path) -> None:
    objects = named(pack.load(pack.Choice(order, repository="a/b"), "tiphys").objects)
    ours = objects["argoproj.io", "EventSource", "github"]
    assert pack.certificates(ours) == {"tiphys-webhook-tls"}
    before = named(pack.load(pack.Choice(("github",), repository="a/b"), "tiphys").objects)
    hook = ours["spec"]["github"]["dispatch"]
    for field in ("serverCertSecret", "serverKeySecret"):
        del hook["webhook"][field]
    assert hook == before["argoproj.io", "EventSource", "github"]["spec"]["github"]["dispatch"], "nothing else changed"
    if not shutil.which("kubectl"):
        return
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    components = "".join(f"  - ../manifests/overlays/{name}/component\n" for name in ("github", "webhook-tls"))
    (tmp_path / "both").mkdir()
    (tmp_path / "both/kustomization.yaml").write_text(f"resources:\n  - ../manifests/base\ncomponents:\n{components}")
    command = ["kubectl", "kustomize", str(tmp_path / "both")]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert named(kustomize.build(tmp_path / "both")) == named(kustomize._parsed(theirs))


def containers(one: Object) -> list[Object]:
    """Return the containers that an object of the pack describes."""
    spec = one["spec"].get("workflowSpec", one["spec"])
    if one["kind"] == "EventBus":
        return [value for key, value in spec["jetstream"].items() if key.lower().endswith("containertemplate")]
    if one["kind"] in ("EventSource", "Sensor"):
        return [spec["template"]["container"]]
    return [template["container"] for template in spec["templates"] if "container" in template]


@pytest.mark.parametrize("size", ["single-node", "production"])
def test_every_container_asks_for_its_share_and_none_is_slowed_down(size: str) -> None:
    objects = pack.load(pack.Choice((size, "github"), repository="a/b"), "tiphys").objects
    ours = [one for one in objects if one["apiVersion"].startswith("argoproj.io/")]
    assert {one["kind"] for one in ours} == {"WorkflowTemplate", "CronWorkflow", "EventBus", "EventSource", "Sensor"}
    for one in ours:
        assert (found := containers(one)) or "workflowTemplateRef" in str(one), one["metadata"]["name"]
        for container in found:
            wants = container["resources"]
            assert set(wants["requests"]) == {"cpu", "memory"}, one["metadata"]["name"]
            assert set(wants.get("limits", {})) <= {"memory"}, one["metadata"]["name"]
            if one["kind"] != "EventBus":
                assert wants["limits"]["memory"], one["metadata"]["name"]


def test_the_step_image_comes_from_where_a_person_says() -> None:
    ours = pack.load(pack.Choice(), "tiphys").objects
    theirs = pack.load(
        pack.Choice(step_image="registry.dba.test:5000/mirror/step", pull_secret="pull"), "tiphys"
    ).objects
    before, after = json.dumps(ours), json.dumps(theirs)
    assert before.count("ghcr.io/tiphys/step:") > 20 and "ghcr.io" not in after
    tag = version("tiphys")
    assert after.count(f'"registry.dba.test:5000/mirror/step:{tag}"') == before.count(f'"ghcr.io/tiphys/step:{tag}"')
    accounts = [one for one in theirs if one["kind"] == "ServiceAccount"]
    assert accounts and all(one["imagePullSecrets"] == [{"name": "pull"}] for one in accounts)
    assert images.pull_secrets(theirs) == {"pull"} and images.pull_secrets(ours) == set()
    assert (
        after.replace("registry.dba.test:5000/mirror/step", "ghcr.io/tiphys/step").replace(
            ', "imagePullSecrets": [{"name": "pull"}]', ""
        )
        == before
    ), "nothing else is another"


def test_it_is_remembered_for_the_next_install() -> None:
    choice = pack.Choice(step_image="registry.dba.test/step", pull_secret="pull")
    assert pack.Choice.recall(choice.remembered()) == choice
    for ours in (pack.Choice(), pack.Choice(step_image=images.STEP)):
        assert "step-image" not in ours.remembered()


@pytest.mark.parametrize(
    "wrong",
    [
        "registry.dba.test/step:0.1.0",
        "registry.dba.test/step@sha256:0",
        "Registry/Step",
        "https://dba.test/step",
        "a b",
    ],
)
def test_an_image_with_a_tag_or_of_no_registry_is_refused(wrong: str) -> None:
    with pytest.raises(ToolError, match="without a tag"):
        pack.load(pack.Choice(step_image=wrong), "tiphys")
    with pytest.raises(ToolError, match="Secret"):
        pack.load(pack.Choice(pull_secret="Not a name"), "tiphys")
