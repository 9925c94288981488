"""The InnoDBCluster that is made, and how an existing one is compared with what is asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from apiserver_help import ApiServer

from steps.errors import BadParameters
from steps.kube import client
from steps.kube.client import Kube
from steps.mysql.definition import (
    SETTINGS,
    Asked,
    compare,
    drills_of,
    even_count_warning,
    my_cnf,
    new_cluster,
    root_secret,
)
from steps.mysql.deploy_cluster import bring, left_claims, on_old_data

USUAL = Asked(3, 2)


def existing(asked: Asked = USUAL, **labels: str) -> dict[str, Any]:
    made = new_cluster("demo", asked)
    made["metadata"]["labels"].update(labels)
    return made


def test_a_new_cluster_is_for_tests_and_may_be_drilled() -> None:
    made = new_cluster("demo", Asked(3, 2))
    assert made["metadata"]["labels"] == {"tiphys.dev/environment": "test", "tiphys.dev/drills": "allowed"}
    assert made["spec"]["instances"] == 3 and made["spec"]["router"]["instances"] == 2
    assert made["spec"]["secretName"] == "demo-root"
    assert "version" not in made["spec"] and "mycnf" not in made["spec"]


def test_what_is_asked_is_in_it() -> None:
    asked = Asked(5, 0, "9.7.1", "max_connections=500; innodb_buffer_pool_size=1G", "8Gi", "production", "forbidden")
    made = new_cluster("demo", asked)
    assert made["metadata"]["labels"] == {"tiphys.dev/environment": "production", "tiphys.dev/drills": "forbidden"}
    assert made["spec"]["version"] == "9.7.1"
    assert made["spec"]["mycnf"] == "[mysqld]\nmax_connections=500\ninnodb_buffer_pool_size=1G\n"
    assert made["spec"]["datadirVolumeClaimTemplate"]["resources"]["requests"]["storage"] == "8Gi"


def test_the_same_again_changes_nothing() -> None:
    for asked in (Asked(3, 2), Asked(3, 2, mycnf="a=1"), Asked(3, 2, environment="production")):
        same = compare(existing(asked), asked)
        assert (same.patch, same.refusals, same.notes) == ({}, [], [])


def test_labels_of_an_existing_cluster_change_only_when_named() -> None:
    forbidden = existing(**{"tiphys.dev/drills": "forbidden"})
    assert compare(forbidden, Asked(3, 2)).patch == {}
    asked = Asked(3, 2, drills="allowed")
    assert compare(forbidden, asked).patch == {"metadata": {"labels": {"tiphys.dev/drills": "allowed"}}}


def test_it_grows_and_never_shrinks() -> None:
    assert compare(existing(), Asked(5, 3)).patch == {"spec": {"instances": 5, "router": {"instances": 3}}}
    refusals = compare(existing(), Asked(1, 0)).refusals
    assert len(refusals) == 2 and "run scale-cluster with servers=1" in refusals[0]


def test_what_the_operator_ignores_is_refused() -> None:
    assert "upgrade" in compare(existing(), Asked(3, 2, version="9.8.0")).refusals[0]
    assert "spec.mycnf" in compare(existing(), Asked(3, 2, mycnf="a=2")).refusals[0]
    assert "do" not in compare(existing(), Asked(3, 2, storage="9Gi")).patch
    assert "5Gi" in compare(existing(), Asked(3, 2, storage="9Gi")).notes[0]


def test_settings_become_lines() -> None:
    assert my_cnf("a=1; b = 2;;") == "[mysqld]\na=1\nb = 2\n"
    assert my_cnf(" ") == ""
    with pytest.raises(click.BadParameter):
        SETTINGS.convert("a={{workflow.name}}", None, None)


def test_even_numbers_are_warned_about() -> None:
    assert [bool(even_count_warning(n)) for n in range(1, 6)] == [True, True, False, True, False]


def test_the_root_secret_is_what_the_operator_reads() -> None:
    secret = root_secret("demo", "p")
    assert secret["stringData"] == {"rootUser": "root", "rootHost": "%", "rootPassword": "p"}


@pytest.mark.parametrize(
    "settings",
    [
        "skip_grant_tables=1",
        "general_log_file=/tmp/x",
        "max_connections=9; Loose-Init-File=/tmp/x",
        "init_slave='DROP USER root'",
        "plugin-load-add=x.so",
        "secure_file_priv=",
        "datadir=/tmp",
        "= 3",
    ],
)
def test_settings_that_open_the_server_are_refused(settings: str) -> None:
    with pytest.raises(BadParameters, match="mycnf"):
        my_cnf(settings)


def test_ordinary_settings_are_taken() -> None:
    usual = "group_replication_member_expel_timeout=0; max_connections=300; sync_binlog=1; local-infile=ON"
    assert my_cnf(usual).count("\n") == 5
    assert "\nloose_group_replication_member_expel_timeout=0\n" in my_cnf(usual), "plugins come after the first start"
    assert my_cnf("max_user_connections=50") == "[mysqld]\nmax_user_connections=50\n"


def test_a_setting_without_a_value_is_refused_for_a_server_might_not_start_with_it() -> None:
    for name in ("max_connections", "skip-name-resolve"):
        with pytest.raises(BadParameters, match=f"{name} has no value: give {name}=VALUE. A switch needs one here"):
            my_cnf(f"back_log=200; {name}")
    assert my_cnf("skip-name-resolve=ON; sql_mode=") == "[mysqld]\nskip-name-resolve=ON\nsql_mode=\n"


def test_settings_that_are_refused_leave_nothing_behind() -> None:
    made: list[str] = []
    kube = SimpleNamespace(find=lambda *named: None, create=lambda resource, obj: made.append(resource))
    for settings in ("max_connections", "datadir=/tmp"):
        with pytest.raises(BadParameters, match="mycnf"):
            bring(cast(Kube, kube), "demo", Asked(3, 2, mycnf=settings))
    assert made == []
    assert bring(cast(Kube, kube), "demo", USUAL) == "created" and made == ["secrets", "innodbclusters"]


def test_whether_drills_are_allowed_is_told_from_the_label() -> None:
    assert drills_of(new_cluster("demo", Asked(3, 2))) == "allowed", "the default of a new cluster"
    assert drills_of(new_cluster("demo", Asked(3, 2, drills="forbidden"))) == "forbidden"
    assert drills_of({"metadata": {"labels": {"tiphys.dev/drills": "yes"}}}) == "forbidden"
    assert drills_of({"metadata": {}}) == "forbidden"


def test_schedules_back_up_only_what_has_opted_in() -> None:
    assert "tiphys.dev/backups" not in new_cluster("demo", Asked(3, 2))["metadata"]["labels"]
    assert new_cluster("demo", Asked(3, 2, backups="on"))["metadata"]["labels"]["tiphys.dev/backups"] == "on"
    assert compare(existing(), Asked(3, 2, backups="off")).patch == {
        "metadata": {"labels": {"tiphys.dev/backups": "off"}}
    }
    assert compare(existing(**{"tiphys.dev/backups": "on"}), Asked(3, 2)).patch == {}


def test_a_new_cluster_on_the_volumes_of_an_earlier_one_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = ApiServer(tmp_path)
    api.start()
    try:
        monkeypatch.setenv("KUBECONFIG", str(api.settings.kubeconfig))
        kube = client.connect("tiphys")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        about = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec}
        assert left_claims(kube, "demo", 3) == []
        for name in ("datadir-demo-0", "datadir-demo-1", "datadir-demo-7", "datadir-demo-x-2", "uploads"):
            kube.create("persistentvolumeclaims", {**about, "metadata": {"name": name}})
        assert left_claims(kube, "demo", 3) == ["datadir-demo-0", "datadir-demo-1"], "those that its pods will take"
        said = on_old_data("demo", left_claims(kube, "demo", 3))
        assert "an earlier cluster of this name left: PVC datadir-demo-0, datadir-demo-1." in said
        kube.create("innodbclusters", new_cluster("demo", USUAL))
        assert left_claims(kube, "demo", 3) == [], "a cluster that is there has its own"
        kube.close()
    finally:
        api.stop()
