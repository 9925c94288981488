"""A member that is away while settings are set or put back: nobody can tell what it has on its volume."""

from __future__ import annotations

import pytest
from test_drill_reap_worst import kube as kube  # a fixture
from test_drill_reap_worst import server as server  # a fixture

from steps.errors import Temporary
from steps.kube.client import Kube
from steps.mysql import set_config, settings_undo
from steps.mysql.connection import Credentials
from steps.mysql.settings_apply import Kept
from steps.mysql.settings_files import Files
from steps.mysql.settings_plan import Plan, State

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
