"""A changed version on the local platform: what the operator does of it, and which MySQL runs for an image."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer

from tiphys.local import mysql_packages, mysql_versions
from tiphys.local.client import Kube
from tiphys.local.kubelet.launch import LaunchError
from tiphys.local.mysql_installation import MySQLUnavailable
from tiphys.local.mysql_versions import choose, default_version, installed
from tiphys.local.operator import images, names, objects
from tiphys.local.operator.spec import TESTED, parse
from tiphys.local.operator.versions import follow, settled, why_not
from tiphys.local.operator.workloads import router_deployment, stateful_set


def cluster(version: str = "9.7.3", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mysql.oracle.com/v2",
        "kind": "InnoDBCluster",
        "metadata": {"name": "demo", "namespace": "tiphys", "uid": "5c1f", **meta},
        "spec": {
            "secretName": "demo-root",
            "instances": 3,
            "version": version,
            "mycnf": "[mysqld]\nmax_connections=77",
        },
    }


@pytest.mark.parametrize(
    ("tag", "runs", "says"),
    [
        ("9.7.4", "9.7.4", ""),
        ("9.7.3", "9.7.4", "9.7.4, of the same series, runs in its place"),
        ("9.7.9", "9.7.4", "community-server:9.7.9 is not installed here"),
        ("8.4.6", "8.4.6", ""),
        ("8.4.1", "8.4.6", "8.4.6"),
    ],
)
def test_a_tag_runs_its_own_version_or_says_which_patch_release_runs_for_it(tag: str, runs: str, says: str) -> None:
    known = [replace(mysql_packages.ensure(), version=version) for version in ("9.7.4", "8.4.5", "8.4.6")]
    made = choose(f"{names.SERVER_IMAGE}:{tag}", known)
    assert made.mysql.version == runs
    assert says in made.note and bool(made.note) == bool(says)


@pytest.mark.parametrize("tag", ["9.6.0", "10.0.0", "latest", "9.7"])
def test_a_tag_of_another_series_is_no_image_and_the_installed_ones_are_named(tag: str) -> None:
    known = [replace(mysql_packages.ensure(), version=version) for version in ("9.7.4", "8.4.5")]
    with pytest.raises(MySQLUnavailable, match=r"no image .*:" + tag + r": MySQL 8\.4\.5, 9\.7\.4 is installed"):
        choose(f"{names.SERVER_IMAGE}:{tag}", known)


def test_a_version_put_into_the_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mysql_packages.ensure()
    monkeypatch.setenv(mysql_versions.FOLDER, str(tmp_path))
    (tmp_path / "9.9.1/bin").mkdir(parents=True)
    (tmp_path / "9.9.1/bin/mysqld").write_text("")
    (tmp_path / "notes").mkdir()
    assert [one.version for one in installed()] == [found.version, "9.9.1"]
    assert default_version() == found.version
    (tmp_path / "9.9.2").mkdir()
    with pytest.raises(MySQLUnavailable, match=r"9\.9\.2 has no usr/sbin/mysqld"):
        installed()


def test_a_container_of_a_missing_version_cannot_pull_its_image(tmp_path: Path) -> None:
    container = {"name": "mysql", "image": f"{names.SERVER_IMAGE}:10.0.0", "args": ["mysqld"]}
    with pytest.raises(LaunchError, match="installed here") as caught:
        images.launch(container, {"metadata": {"name": "demo-0", "uid": "u"}}, {}, tmp_path)
    assert caught.value.reason == "ErrImagePull"


def test_only_a_version_that_the_operator_takes() -> None:
    assert why_not("9.7.4") == why_not("8.4.0") == ""
    assert "8.0.27 or newer" in why_not("8.0.26") and "n.n.n" in why_not("latest")


def test_a_cluster_without_a_version_keeps_the_one_that_it_was_made_with() -> None:
    bare = cluster("")
    assert settled(parse(bare), bare).version == default_version()
    noted = cluster("", annotations={names.ANNOTATION_SPEC: json.dumps({"version": "9.7.1"})})
    assert settled(parse(noted), noted).version == "9.7.1"
    assert parse(bare).version == TESTED


def test_a_change_reaches_the_images_and_the_configuration_and_leaves_the_rest(tmp_path: Path) -> None:
    asyncio.run(_change(tmp_path))


async def _change(folder: Path) -> None:
    server = ApiServer(folder)
    server.start()
    try:
        async with Kube.from_home(folder) as kube:
            made_first = await kube.create("innodbclusters", cluster())
            spec = parse(made_first)
            assert await follow(kube, spec, made_first) is None
            for resource, made in (
                ("statefulsets", stateful_set(spec, 5)),
                ("deployments", router_deployment(spec, 1)),
                ("configmaps", objects.initconf(spec)),
            ):
                await kube.create(resource, made)
            strategy = {"type": "OnDelete", "rollingUpdate": None}
            await kube.patch("statefulsets", "demo", {"spec": {"updateStrategy": strategy}}, "tiphys")
            await kube.patch("configmaps", "demo-initconf", {"data": {"99-extra.cnf": "by hand"}}, "tiphys")
            wanted = replace(spec, version="9.7.4")
            noted = await kube.get("innodbclusters", "demo", "tiphys")
            said = await follow(kube, wanted, noted)
            assert said is not None and "9.7.4 (was 9.7.3)" in said.text
            assert await follow(kube, wanted, await kube.get("innodbclusters", "demo", "tiphys")) is None
            servers = await kube.get("statefulsets", "demo", "tiphys")
            assert servers["spec"]["updateStrategy"] == {"type": "OnDelete"}
            pod = servers["spec"]["template"]["spec"]
            tags = {one["image"].rpartition(":")[2] for key in ("containers", "initContainers") for one in pod[key]}
            assert tags == {"9.7.4"}
            assert "sleep 5;" in str(pod), "nothing but the images is changed"
            routers = await kube.get("deployments", "demo-router", "tiphys")
            assert routers["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":9.7.4")
            assert routers["spec"]["replicas"] == 1
            data = (await kube.get("configmaps", "demo-initconf", "tiphys"))["data"]
            assert "max_connections=77" in data["99-extra.cnf"]
            refused = await follow(
                kube, replace(spec, version="5.7.44"), await kube.get("innodbclusters", "demo", "tiphys")
            )
            assert refused is not None and refused.reason == "VersionRefused"
            assert (await kube.get("statefulsets", "demo", "tiphys")) == servers
    finally:
        server.stop()
