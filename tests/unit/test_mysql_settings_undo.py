"""A member that is away while settings are set or put back: nobody can tell what it has on its volume."""

from __future__ import annotations

from typing import Any

import mysql.connector
import pytest
from test_drill_reap_worst import kube as kube  # a fixture
from test_drill_reap_worst import server as server  # a fixture

from steps.errors import Temporary
from steps.kube.client import Kube
from steps.mysql import connection, set_config, settings_undo
from steps.mysql.connection import Credentials
from steps.mysql.settings import parse
from steps.mysql.settings_apply import Kept
from steps.mysql.settings_files import Files
from steps.mysql.settings_plan import Plan, State
from steps.mysql.settings_survey import too_big

ROOT = Credentials("root", "only-for-tests")
FILES = Files(None, "")


def cluster(kube: Kube, instances: int) -> None:
    spec = {"secretName": "root", "instances": instances}
    made = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": {"name": "a"}, "spec": spec}
    kube.create("innodbclusters", made)


@pytest.mark.parametrize("instances", [2, 3])
def test_the_undo_waits_for_a_member_that_is_away_and_not_for_one_that_was_removed(kube: Kube, instances: int) -> None:
    cluster(kube, instances)
    before = settings_undo.Before(FILES, FILES, {"a-2": (Kept("max_connections", "151", None),)}, {})
    if instances == 3:
        with pytest.raises(Temporary, match="a-2: it is away"):
            settings_undo._each(kube, "a", ROOT, before, lambda connection, kept: None)
    else:
        assert settings_undo._each(kube, "a", ROOT, before, lambda connection, kept: None) == {}


def test_what_a_member_has_that_is_away_was_not_read_back(kube: Kube) -> None:
    cluster(kube, 1)
    plan = Plan((), {}, (State("a-0", {}),), FILES, FILES)
    with pytest.raises(Temporary, match="a-0 went away meanwhile"):
        set_config._read_back(kube, "a", ROOT, plan, "a-0")


def test_who_is_locked_out_is_told_the_way_in(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(kube, 1)
    before = settings_undo.Before(FILES, FILES, {"a-0": (Kept("max_connections", "151", None),)}, {})
    monkeypatch.setattr(settings_undo, "server_addresses", lambda pods: {"a-0": "127.0.0.1"})

    def full(*told: Any, **options: Any) -> Any:
        raise mysql.connector.Error("Too many connections", errno=1040)

    monkeypatch.setattr(connection, "connect", full)
    with pytest.raises(Temporary, match="1040: all its connections are taken.*kubectl exec -it a-0 -c mysql"):
        settings_undo._each(kube, "a", ROOT, before, lambda connection, kept: None)


def test_a_buffer_pool_has_to_have_room_in_its_container() -> None:
    def pod(name: str, **limits: str) -> dict[str, Any]:
        containers = [{"name": "sidecar"}, {"name": "mysql", "resources": {"limits": limits}}]
        return {"metadata": {"name": name}, "spec": {"containers": containers}}

    big, small = parse("innodb_buffer_pool_size=2G"), parse("innodb_buffer_pool_size=1G; back_log=9999999999999")
    pods = [pod("a-0", memory="4Gi"), pod("a-1", memory="1536Mi"), pod("a-2", cpu="1")]
    (why,) = too_big(pods, big)
    assert "innodb_buffer_pool_size=2G has no room in the 1536Mi of memory" in why and "of a-1" in why
    assert too_big(pods, small) == [] and too_big([pod("a-0")], big) == []
