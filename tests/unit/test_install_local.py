"""The whole of install, doctor and uninstall against a real API server (the local platform's, without the platform)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from platform_help import eventually, new_home, running

from tiphys.cli import cli
from tiphys.install import applyset, pack
from tiphys.install.kube import Kube
from tiphys.local.platform.access import ensure_token, kubeconfig
from tiphys.local.settings import Settings
from tiphys.runs.api import Address, Cluster
from tiphys.runs.errors import ToolError

CONTROL = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    made = new_home(tmp_path_factory.mktemp("home"))
    token = ensure_token(made)
    made.kubeconfig.write_text(json.dumps(kubeconfig(made, token)))
    # The same, as a cluster that is no platform of this machine.
    (made.home / "cluster.json").write_text(made.kubeconfig.read_text())
    with running("tiphys.local.apiserver", made):
        eventually(lambda: answers(made))
        yield made


@pytest.fixture
def kube(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Kube:
    monkeypatch.setenv("TIPHYS_HOME", str(settings.home))
    monkeypatch.setenv("KUBECONFIG", str(settings.home / "cluster.json"))
    return Kube(Cluster(Address(settings.home / "cluster.json", None, "tiphys")), "tiphys")


def answers(settings: Settings) -> bool:
    try:
        Cluster(Address(settings.home / "cluster.json", None, "tiphys")).call("GET", "/version")
    except ToolError:
        return False
    return True


def run(*words: str, code: int = 0, stdin: str = "") -> Result:
    done = CliRunner().invoke(cli, words, input=stdin)
    assert done.exit_code == code, (done.exit_code, done.output[-2000:], done.exception)
    return done


def install(*words: str, **more: Any) -> str:
    return run("install", "--no-wait", "--skip-checks", *words, **more).output


def ours(kube: Kube) -> set[tuple[str, str]]:
    from tiphys.install.plan import members

    parent = kube.find(applyset.parent("tiphys", (), {}))
    return {(one["kind"], one["metadata"]["name"]) for one in members(kube, applyset.kinds_of(parent))}


def test_from_nothing_to_nothing(kube: Kube) -> None:
    # This API server has the namespace from its start: somebody else's, which stays.
    wanted = {(one["kind"], one["metadata"]["name"]) for one in pack.load(pack.Choice(), "tiphys").objects[1:]}
    assert f"{len(wanted)} would be created" in run("install", "--dry-run", "--skip-checks").output
    assert kube.find(applyset.parent("tiphys", (), {})) is None

    text = install(
        "--s3-bucket", "reports", "--s3-endpoint", "http://127.0.0.1:9", "--s3-keys", "stdin", stdin="K\nS3CRET"
    )
    own = {("Secret", "tiphys-webhook"), ("Secret", "tiphys-s3"), ("ConfigMap", "artifact-repositories")}
    assert ours(kube) == wanted | own
    token = kube.cluster.secret("tiphys-webhook")["token"]
    assert kube.cluster.secret("tiphys-s3")["secretKey"] == "S3CRET"
    assert token not in text and "S3CRET" not in text and "curl" in text

    again = install()
    assert f"0 created, 0 changed, {len(wanted) + 1} unchanged, 0 removed" in again and "No change" in again
    assert kube.cluster.secret("tiphys-webhook")["token"] == token
    assert ours(kube) == wanted | own, "what was made of a person's values is not pruned"

    more = install("--overlay", "production")
    assert "created   NetworkPolicy/tiphys-steps" in more and "changed   EventBus/default" in more
    assert "No change" in install(), "the overlay is remembered"
    fewer = install("--overlay", "single-node")
    assert "removed   NetworkPolicy/tiphys-steps" in fewer
    assert kube.all(kube.resource("networking.k8s.io/v1", "NetworkPolicy")) == []
    assert ours(kube) == wanted | own

    kube.create(CONTROL)
    shown = run("uninstall", "--dry-run").output
    assert "stays: ConfigMap/mine" in shown and "would be removed: Namespace" not in shown
    kept = run("uninstall", "--yes", "--keep-secrets").output
    assert "Namespace tiphys stays" in kept
    assert kube.cluster.secret("tiphys-webhook")["token"] == token
    install()
    assert kube.cluster.secret("tiphys-webhook")["token"] == token
    live = kube.find(CONTROL)
    assert live is not None
    kube.delete(live)
    assert "Namespace tiphys stays: it was there before" in run("uninstall", "--yes").output
    assert ours(kube) == set()
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        resource = kube.resource("rbac.authorization.k8s.io/v1", kind)
        assert [one for one in kube.all(resource) if "tiphys" in one["metadata"]["name"]] == []
    run("uninstall", "--yes", code=1)


def test_an_uninstall_ends_when_pods_and_namespace_are_gone(kube: Kube) -> None:
    def named(kind: str, name: str, version: str = "v1", **meta: Any) -> dict[str, Any]:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "trial", **meta}}

    here = Kube(kube.cluster, "trial")
    run("install", "-n", "trial", "--no-wait", "--skip-checks")
    source = here.find(named("EventSource", "runbooks", "argoproj.io/v1alpha1"))
    assert source is not None
    owner = {key: source[key] for key in ("apiVersion", "kind")} | {
        "name": "runbooks",
        "uid": source["metadata"]["uid"],
    }
    pod = named("Pod", "runbooks-abc", ownerReferences=[owner], finalizers=["test.tiphys.dev/slow"])
    pod["spec"] = {"containers": [{"name": "main", "image": "localhost/host:1", "command": ["true"]}]}
    here.create(pod)
    slow = run("uninstall", "-n", "trial", "--yes", "--timeout", "2", code=1).output
    assert "waiting   for Pod/runbooks-abc\n" in slow and "removed   EventSource/runbooks" in slow
    assert "1 objects that Argo Events had made are still there: Pod/runbooks-abc" in slow
    assert here.find(named("ConfigMap", applyset.PARENT)) is not None, "it can be run again"
    held = {"metadata": {"finalizers": None}}
    here.call("PATCH", here.path_of(pod), held, content_type="application/merge-patch+json")
    assert "removed   Namespace/trial" in run("uninstall", "-n", "trial", "--yes").output
    assert here.find({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "trial"}}) is None


def test_github_is_let_in_only_where_it_was_asked_for(kube: Kube) -> None:
    install()
    named = {("EventSource", "github"), ("Sensor", "github"), ("Secret", "tiphys-github")}
    assert not named & ours(kube)
    text = install("--github", "dba/runbooks")
    assert named <= ours(kube) and "dba/runbooks" in text
    secret = kube.cluster.secret("tiphys-github")["secret"]
    assert len(secret) > 40 and secret not in text
    assert "No change" in install(), "the repository is remembered"
    assert kube.cluster.secret("tiphys-github")["secret"] == secret
    assert "--github OWNER/NAME" in run("install", "--skip-checks", "--github", "runbooks", code=1).output
    assert ("EventSource", "github") in ours(kube)
    install("--overlay", "single-node")
    assert ("EventSource", "github") not in ours(kube) and ("Sensor", "github") not in ours(kube)
    run("uninstall", "--yes")
    assert not named & ours(kube)


def test_the_doctor_asks_for_the_certificate_of_the_webhooks_pods(kube: Kube) -> None:
    def seen() -> list[str]:
        found = json.loads(run("doctor", "--json", "--overlay", "webhook-tls", code=31).stdout)["findings"]
        return [one["text"] for one in found if one["check"] == "certificate"]

    (text,) = seen()
    assert "no Secret tiphys-webhook-tls" in text
    certificate = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tiphys-webhook-tls"}, "data": {}}
    kube.create(certificate)
    try:
        assert seen() == []
    finally:
        kube.delete(certificate)


def test_runs_that_go_on_keep_their_rights(kube: Kube) -> None:
    install()
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "drill-1"}, "spec": {}}
    kube.create(workflow)
    refused = run("uninstall", "--yes", code=1).output
    assert "run drill-1 has not ended" in refused and "nothing was removed" in refused
    assert ("Role", "tiphys-runbooks") in ours(kube)
    live = kube.find(workflow)
    assert live is not None
    kube.delete(live)
    book = "/api/v1/namespaces/tiphys/configmaps/tiphys-drills"
    kube.call("PATCH", book, {"data": {"drill-1": "{}"}}, content_type="application/merge-patch+json")
    assert "what drill-1 changed is not put back yet" in run("uninstall", "--yes", code=1).output
    run("uninstall", "--yes", "--force")


def test_a_field_that_somebody_else_applies_is_not_taken(kube: Kube) -> None:
    install()
    bus = {"apiVersion": "argoproj.io/v1alpha1", "kind": "EventBus", "metadata": {"name": "default"}}
    theirs = {**bus, "spec": {"jetstream": {"version": "2.10.10"}}}
    query = {"fieldManager": "gitops", "force": "true"}
    kube.call("PATCH", kube.path_of(bus), theirs, query=query, content_type="application/apply-patch+yaml")
    refused = run("install", "--no-wait", "--skip-checks", code=1).output
    assert "EventBus/default" in refused and "gitops" in refused and "nothing was changed" in refused
    shown = run("install", "--diff", "--skip-checks").output
    assert '-    version: "2.10.10"' in shown and '+    version: "2.10.29"' in shown
    install("--force-conflicts")
    live = kube.find(bus)
    assert live is not None and live["spec"]["jetstream"]["version"] == "2.10.29"
    run("uninstall", "--yes")


def test_the_doctor_says_what_is_missing(kube: Kube) -> None:
    done = run("doctor", "--json", code=31)
    answer = json.loads(done.stdout)
    found = {one["check"]: one for one in answer["findings"]}
    assert answer["level"] == "error"
    assert found["kubernetes"]["level"] == "ok" and found["rights"]["level"] == "ok"
    assert found["workflows-kinds"]["level"] == "ok"
    assert found["workflows-controller"]["level"] == "warning", "only the API server runs here"
    assert any("v4.1.2/install.yaml" in line for line in found["workflows-controller"]["fix"])
    assert found["s3"]["level"] == "error" and "tiphys-s3" in found["s3"]["text"]
    container = {"name": "controller", "image": "quay.io/argoproj/workflow-controller:v4.1.2"}
    labels = {"app": "workflow-controller"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod}
    controller: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}
    controller["metadata"] = {"name": "workflow-controller"}
    kube.create(controller)
    refused = run("install", code=1)
    assert "none of its pods is ready" in refused.output and "--no-wait" in refused.output
    assert ours(kube) == set()
    kube.delete(controller)


def test_the_local_platform_is_not_installed_into(
    kube: Kube, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(settings.kubeconfig))
    assert "`tiphys up` applies the pack" in run("install", code=1).output
    assert "`tiphys up` applies the pack" in run("uninstall", "--yes", code=1).output
    found = {one["check"]: one for one in json.loads(run("doctor", "--json", code=31).stdout)["findings"]}
    assert found["workflows-controller"]["level"] == "ok"
