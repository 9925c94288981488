"""The spec that is read, the objects that are made, and a server's configuration."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tiphys.local.operator import names, objects
from tiphys.local.operator.accounts import Account, local_statements
from tiphys.local.operator.mycnf import Identity, compose
from tiphys.local.operator.router_start import configuration, state
from tiphys.local.operator.rundir import short_link
from tiphys.local.operator.spec import InvalidSpec, merged, parse
from tiphys.local.operator.workloads import router_deployment, stateful_set


def cluster(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mysql.oracle.com/v2",
        "kind": "InnoDBCluster",
        "metadata": {"name": "demo", "namespace": "tiphys", "uid": "5c1f"},
        "spec": {"secretName": "demo-root", "instances": 3, "router": {"instances": 2}, **spec},
    }


SPEC = parse(cluster())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secretName": ""}, "spec.secretName"),
        ({"instances": 0}, "spec.instances"),
        ({"instances": 10}, "spec.instances"),
        ({"instances": "3"}, "spec.instances"),
        ({"router": {"instances": -1}}, "spec.router.instances"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_with_its_path(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        parse(cluster(**change))


def test_a_long_name_is_refused() -> None:
    obj = cluster()
    obj["metadata"]["name"] = "a" * 29
    with pytest.raises(InvalidSpec, match="28"):
        parse(obj)


def test_the_group_is_one_for_a_cluster_and_another_for_its_successor() -> None:
    assert parse(cluster()).group_name == SPEC.group_name
    successor = cluster()
    successor["metadata"]["uid"] = "77aa"
    assert parse(successor).group_name != SPEC.group_name


def test_names_labels_and_owners_are_those_of_the_real_operator() -> None:
    servers, routers = stateful_set(SPEC, 7), router_deployment(SPEC, 0)
    made = [servers, routers, *objects.account_secrets(SPEC), objects.initconf(SPEC), *objects.services(SPEC)]
    made += [objects.disruption_budget(SPEC), objects.service_account(SPEC)]
    assert [item["metadata"]["name"] for item in made] == [
        "demo",
        "demo-router",
        "demo-privsecrets",
        "demo-router",
        "demo-backup",
        "demo-initconf",
        "demo-instances",
        "demo",
        "demo-pdb",
        "demo-sidecar-sa",
    ]
    assert all(item["metadata"]["ownerReferences"][0]["uid"] == "5c1f" for item in made)
    template = servers["spec"]["template"]
    for obj in (servers, routers):
        selector = obj["spec"]["selector"]["matchLabels"].items()
        assert selector <= obj["spec"]["template"]["metadata"]["labels"].items()
    assert {"component": "mysqld", "tier": "mysql", names.LABEL_CLUSTER: "demo"}.items() <= template["metadata"][
        "labels"
    ].items()
    assert [item["name"] for item in template["spec"]["containers"]] == ["sidecar", "mysql"]
    gates = [gate["conditionType"] for gate in template["spec"]["readinessGates"]]
    assert gates == ["mysql.oracle.com/configured", "mysql.oracle.com/ready"]
    assert template["spec"]["terminationGracePeriodSeconds"] == 120
    assert "sleep 7;" in template["spec"]["containers"][1]["lifecycle"]["preStop"]["exec"]["command"][2]
    ports = {port["port"]: port["targetPort"] for port in objects.services(SPEC)[1]["spec"]["ports"]}
    assert ports == {
        3306: 6446,
        33060: 6448,
        6446: 6446,
        6447: 6447,
        6448: 6448,
        6449: 6449,
        6450: 6450,
        8443: 8443,
    }


def test_passwords_are_random_and_nowhere_but_in_secrets() -> None:
    first, second = (
        [objects.decoded(item) for item in objects.account_secrets(SPEC)],
        objects.account_secrets(SPEC),
    )
    passwords = {value for item in first for key, value in item.items() if key.endswith("Password")}
    assert len(passwords) == 4
    assert not passwords & {value for item in second for value in objects.decoded(item).values()}
    text = str([stateful_set(SPEC, 1), router_deployment(SPEC, 1), objects.initconf(SPEC)])
    assert not any(password in text for password in passwords)


def test_pod_spec_is_laid_over_the_template() -> None:
    pod_spec = {
        "nodeSelector": {"disk": "fast"},
        "terminationGracePeriodSeconds": 30,
        "containers": [{"name": "mysql", "resources": {"requests": {"memory": "2Gi"}}}],
    }
    template = stateful_set(parse(cluster(podSpec=pod_spec, podLabels={"team": "a"})), 1)["spec"]["template"]
    assert template["spec"]["nodeSelector"] == {"disk": "fast"}
    assert template["spec"]["terminationGracePeriodSeconds"] == 30
    mysql = template["spec"]["containers"][1]
    assert mysql["resources"] and mysql["image"]
    assert template["metadata"]["labels"]["team"] == "a"


def test_merging_lists_goes_by_name_only_where_kubernetes_does() -> None:
    assert merged({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B", "value": "2"}]}) == {
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    }
    assert merged({"tolerations": [1]}, {"tolerations": [2]}) == {"tolerations": [2]}


def test_group_ports_differ_between_all_pods_of_a_platform_and_leave_ours_alone() -> None:
    ports = [names.group_port(f"127.71.{node}.{host}") for node in range(1, 10) for host in range(1, 255)]
    assert len(set(ports)) == len(ports)
    assert min(ports) > 12000
    assert max(ports) < 32768
    with pytest.raises(ValueError, match="loopback|127"):
        names.group_port("10.0.0.1")


def test_a_servers_identity_comes_after_the_clusters_own_settings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    identity = Identity("127.71.2.3", 1001, tmp_path / "data", run, run / "s", run / "p")
    text = compose(identity, tmp_path / "conf.d")
    own = text.partition(f"!includedir {tmp_path / 'conf.d'}")[2]
    for line in ("server_id=1001", "bind_address=127.71.2.3", "report_host=127.71.2.3", f"pid_file={run / 'p'}"):
        assert line in own
    assert "innodb_buffer_pool_size=128M" not in own  # so that spec.mycnf can say otherwise
    assert "innodb_buffer_pool_size=128M" in text


def test_a_deep_folder_gets_a_socket_path_that_fits(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    link = short_link(deep)
    path = link / "mysql.sock"
    assert len(str(path)) < 107
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    assert (deep / "mysql.sock").is_socket()
    assert short_link(deep) == link
    other = deep.with_name("f" * 90)
    deep.rename(other)
    swept = short_link(other)
    assert not os.path.lexists(link)  # a link that leads nowhere is swept
    swept.unlink()
    assert short_link(Path("/run/pod")) == Path("/run/pod")


def test_router_is_told_no_password() -> None:
    text = configuration("r1", 7, "127.71.1.9", "demo", "mysqlrouter", Path("/run/r"), Path("/plugins"))
    assert "password" not in text
    for line in ("bind_address=127.71.1.9", "router_id=7", "ttl=0.5", "bind_port=6446", "bind_port=6447"):
        assert line in text.splitlines()
    assert "mysql://127.71.2.1:3306" in state("g", ["127.71.2.1"])


def test_a_router_s_sections_have_names_that_it_takes_whatever_the_cluster_s_is() -> None:
    text = configuration("my-shop-r1", 7, "127.71.1.9", "my-shop", "mysqlrouter", Path("/run/r"), None)
    sections = [line for line in text.splitlines() if line.startswith("[")]
    # Router ends at a section whose key has anything else in it.
    assert len(sections) == 5 and all(re.fullmatch(r"\[\w+(:\w+)?\]", line) for line in sections), sections
    assert "\nmetadata_cluster=my-shop\n" in text and "metadata-cache://my-shop/?role=PRIMARY\n" in text


def test_statements_carry_passwords_as_values_only() -> None:
    root, admin, recovery = Account("root", "p'w1"), Account("mysqladmin", "p'w2"), Account("rec", "p'w3")
    statements = local_statements(root, admin, recovery, "nobody")
    assert not any("p'w" in text for text, _ in statements)
    assert ("DROP USER IF EXISTS root@localhost", ()) in statements
    here = local_statements(Account("root", "x", "localhost"), admin, recovery, "nobody")
    assert ("DROP USER IF EXISTS root@localhost", ()) not in here
