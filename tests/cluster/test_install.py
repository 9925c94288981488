"""Install, again, a person's changes, another overlay, uninstall: on a real API server, through the tool itself.

No node is needed, and of controllers only Kubernetes' own of namespaces (kube-controller-manager), which an uninstall
waits for; only the kinds of Argo, so an install waits for nothing here.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tiphys import rights
from tiphys.cli import cli
from tiphys.install import pack

Object = dict[str, Any]
KUBECONFIG = "TIPHYS_E2E_KUBECONFIG"
Kubectl = Callable[..., str]
KINDS = "eventbus,eventsources,sensors,workflowtemplates,cronworkflows"
EVERYWHERE = f"{KINDS},roles,rolebindings,serviceaccounts,configmaps,secrets,networkpolicies,poddisruptionbudgets"


@pytest.fixture
def kubectl(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubectl]:
    named = os.environ.get(KUBECONFIG, "")
    if not named:
        pytest.skip("no cluster was named: make e2e KUBECONFIG=/path/to/kubeconfig")
    monkeypatch.setenv("KUBECONFIG", named)

    def call(*words: str) -> str:
        return subprocess.run(["kubectl", *words], capture_output=True, text=True, check=True).stdout

    if "workflowtemplates.argoproj.io" not in call("get", "crd", "-o", "name"):
        pytest.skip("the cluster has no Argo: `tiphys doctor` says how to get it")
    if call("get", "namespace", "tiphys", "--ignore-not-found").strip():
        pytest.skip("the cluster has a namespace tiphys already: this test would change what is in it")
    yield call
    if call("-n", "tiphys", "get", "configmap", "tiphys-install", "--ignore-not-found").strip():
        run("uninstall", "--yes", "--force")


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == code, (done.exit_code, done.output[-2000:], done.exception)
    return done.output


def install(*words: str) -> tuple[str, float]:
    began = time.monotonic()
    return run("install", "--no-wait", "--skip-checks", *words), round(time.monotonic() - began, 1)


def told_rights(kubectl: Kubectl, account: str, folder: Path) -> set[tuple[object, ...]]:
    """Return what the API server says that an account may do, without what everybody may."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "tiphys"},
    }
    (folder / "review.json").write_text(json.dumps(review))
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    words = ("create", "--raw", path, "-f", str(folder / "review.json"))
    answer = json.loads(kubectl(*words, f"--as=system:serviceaccount:tiphys:{account}"))
    return {
        (group, resource, tuple(rule.get("resourceNames") or ()), verb)
        for rule in answer["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if not resource.startswith("selfsubject")
    }


def test_an_installation_comes_changes_and_goes(
    kubectl: Kubectl, figures: list[dict[str, object]], tmp_path: Path
) -> None:
    assert "0 would be unchanged" in run("install", "--dry-run", "--skip-checks")
    assert kubectl("get", "namespace", "tiphys", "--ignore-not-found") == ""
    first, first_seconds = install()
    assert "0 changed, 0 unchanged, 0 removed" in first
    again, again_seconds = install()
    assert "No change" in again

    objects = pack.load(pack.Choice(), "tiphys").objects
    accounts = [one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"]
    for account in accounts:
        documented = {(one.group, one.resource, one.names, one.verb) for one in rights.rights_of(account, objects)}
        assert told_rights(kubectl, account, tmp_path) == documented, f"docs/rights.md is wrong about {account}"

    kubectl("-n", "tiphys", "patch", "configmap", "tiphys-settings", "-p", '{"data":{"drills":"off"}}')
    kubectl(
        "-n", "tiphys", "patch", "eventbus", "default", "--type=merge", "-p", '{"spec":{"jetstream":{"replicas":5}}}'
    )
    refused = run("install", "--no-wait", "--skip-checks", code=1)
    assert ".spec.jetstream.replicas" in refused and "kubectl-patch" in refused
    taken, _ = install("--force-conflicts", "--overlay", "production")
    assert "left as people have set it: ConfigMap/tiphys-settings drills: 'off'" in taken
    bus = json.loads(kubectl("-n", "tiphys", "get", "eventbus", "default", "-o", "json"))
    assert bus["spec"]["jetstream"]["replicas"] == 3
    assert '"drills": "off"' in kubectl("-n", "tiphys", "get", "configmap", "tiphys-settings", "-o", "json")
    fewer, _ = install("--overlay", "single-node")
    assert "7 removed" in fewer
    assert kubectl("-n", "tiphys", "get", "networkpolicies,poddisruptionbudgets", "-o", "name") == ""

    began = time.monotonic()
    assert "removed   Namespace/tiphys" in run("uninstall", "--yes")
    left = kubectl("-n", "tiphys", "get", EVERYWHERE, "-o", "name", "--ignore-not-found").split()
    assert [one for one in left if "kube-root-ca" not in one and not one.endswith("/default")] == []
    assert "tiphys" not in kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    figures.append(
        {
            "what": "install",
            "objects": first.partition(" objects: ")[0].rpartition("\n")[2],
            "install_seconds": first_seconds,
            "again_seconds": again_seconds,
            "uninstall_seconds": round(time.monotonic() - began, 1),
        }
    )
