"""upgrade-cluster on a real group of 9.7.4, whatever the images say: any other version ends in going back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from book_help import make_book
from mysql_group import ROOT, Server
from test_mysql_restart import Kubelet, leave, object_of, primary, started
from test_mysql_restart import place as place  # a fixture

from steps.drill import intent
from steps.drill.undo import drill_undo
from steps.errors import Refused, StepError
from steps.kube import client
from steps.kube.client import Kube
from steps.mysql import restart
from steps.mysql.restart_plan import SERVER_CONTAINER
from steps.mysql.topology import read_topology
from steps.mysql.upgrade_back import NAME, set_version
from steps.mysql.upgrade_cluster import Looked, Upgraded, check_upgrade, upgrade_cluster
from steps.mysql.upgrade_images import HELD, hold, tags, template_tag

RUN = "upgrade-1"
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}

pytestmark = pytest.mark.timeout(900)


def containers(version: str) -> list[dict[str, Any]]:
    return [{"name": SERVER_CONTAINER, "image": f"registry/mysql/community-server:{version}"}]


class Platform(Kubelet):
    """Also the operator, which brings spec.version into the template, and a registry without some versions.

    Attributes:
        absent: versions that have no image.
    """

    def __init__(self, kube: Kube, servers: list[Server]) -> None:
        super().__init__(kube, servers)
        self.absent = {"9.7.6"}

    def version(self) -> str:
        return template_tag(self.kube.get("statefulsets", "demo"), SERVER_CONTAINER)

    def make(self, name: str) -> None:
        version = self.version()
        labels = {"mysql.oracle.com/cluster": "demo", "component": "mysqld"}
        spec = {"containers": containers(version), "nodeName": "node-1", "terminationGracePeriodSeconds": 9}
        self.kube.create("pods", object_of("Pod", name, labels=labels, spec=spec))
        if version in self.absent:
            waiting = {"name": SERVER_CONTAINER, "state": {"waiting": {"reason": "ErrImagePull", "message": "none"}}}
            status = {"phase": "Pending", "containerStatuses": [waiting]}
            self.kube.patch("pods", name, {"status": status}, subresource="status")
        else:
            self.tell(name)

    def bring(self, name: str, tell: Any) -> None:
        if self.version() in self.absent:
            self.make(name)
        else:
            super().bring(name, tell)

    def run(self) -> None:
        while not self._over.wait(0.1):
            wanted = self.kube.cluster("demo")["spec"]["version"]
            if wanted != self.version():
                template = {"spec": {"containers": containers(wanted)}}
                self.kube.patch("statefulsets", "demo", {"spec": {"template": template}})
            for pod in self.kube.servers("demo"):
                name = str(pod["metadata"]["name"])
                server = self.servers[name]
                if pod["metadata"].get("deletionTimestamp"):
                    if server.process is not None and server.process.poll() is None:
                        leave(server)
                    self.kube.delete("pods", name, grace_seconds=0)
                    self.bring(name, self.make)


@pytest.fixture
def platform(place: tuple[str, list[Server]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setenv("KUBECONFIG", place[0])
    monkeypatch.setattr(restart, "HOPELESS_SECONDS", 1.0)
    kube = client.connect("tiphys")
    made = Platform(kube, place[1])
    if kube.find("innodbclusters", "demo") is None:
        make_book(kube)
        login = {"rootUser": "root", "rootPassword": ROOT.password}
        kube.create("secrets", object_of("Secret", "demo-secret", stringData=login))
        spec = {"secretName": "demo-secret", "instances": 3, "version": "9.7.3", "router": {"instances": 0}}
        kube.create("innodbclusters", object_of("InnoDBCluster", "demo", "mysql.oracle.com/v2", spec=spec))
        labels = {"a": "b"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": containers("9.7.3")}}
        servers = {"selector": {"matchLabels": labels}, "serviceName": "demo", "template": template, "replicas": 3}
        kube.create("statefulsets", object_of("StatefulSet", "demo", "apps/v1", spec=servers))
        for name in made.servers:
            made.make(name)
    made.start()
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)
    deadline = time.monotonic() + 120
    while not read_topology(kube, "demo").is_whole:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    intent.remove(kube, "demo", RUN)
    made.stop()
    kube.close()


def upgrade(version: str, **more: Any) -> Upgraded:
    given = {"backup_max_age": "0", "accept": None, "measure": False, "member_timeout_seconds": 0, **more}
    done = upgrade_cluster.function(namespace="tiphys", cluster="demo", workflow=RUN, version=version, **given)
    assert isinstance(done, Upgraded)
    return done


def looked(version: str, **more: Any) -> Looked:
    given = {"backup_max_age": "0", "make_backup": False, "accept": None, "measure": False, "dry_run": False, **more}
    done = check_upgrade.function(namespace="tiphys", cluster="demo", workflow=RUN, version=version, **given)
    assert isinstance(done, Looked)
    return done


def assert_settled(kube: Kube, version: str) -> None:
    """Every image is of the version, the StatefulSet rolls by itself again, and no note is left."""
    assert set(tags(kube.servers("demo"), SERVER_CONTAINER).values()) == {version}
    servers = kube.get("statefulsets", "demo")
    assert servers["spec"]["updateStrategy"] == ROLLING and template_tag(servers, SERVER_CONTAINER) == version
    assert HELD not in (servers["metadata"].get("annotations") or {})
    assert intent.read(kube.cluster("demo")) is None
    assert read_topology(kube, "demo").is_whole


def test_secondaries_first_then_the_old_primary_and_every_server_says_its_version(platform: Platform) -> None:
    assert looked("9.7.4").goes_on
    before, old = started(platform), primary(platform.kube)
    done = upgrade("9.7.4")
    order = done.upgraded.split(",")
    assert sorted(order) == sorted(before) and order[-1] == old
    assert (done.old_version, done.version) == ("9.7.3", "9.7.4")
    assert done.new_primary == primary(platform.kube) != old
    after = started(platform)
    assert all(after[name] != before[name] for name in before)
    assert_settled(platform.kube, "9.7.4")
    assert not looked("9.7.4").goes_on, "nothing is left to do"


def test_a_version_without_an_image_stops_at_the_first_server_and_goes_back(platform: Platform) -> None:
    upgrade("9.7.4")
    before, old = started(platform), primary(platform.kube)
    with pytest.raises(StepError, match=r"mysql has no image \(ErrImagePull: none\).*taken back to 9\.7\.4"):
        upgrade("9.7.6")
    changed = {name for name, pid in started(platform).items() if pid != before[name]}
    assert len(changed) == 1 and old not in changed and primary(platform.kube) == old
    assert_settled(platform.kube, "9.7.4")


def test_a_server_that_is_of_another_version_than_its_image_fails_it(platform: Platform) -> None:
    upgrade("9.7.4")
    before = started(platform)
    with pytest.raises(StepError, match=r"says it is 9\.7\.4, though its image is 9\.7\.5.*taken back to 9\.7\.4"):
        upgrade("9.7.5")
    assert sum(pid != before[name] for name, pid in started(platform).items()) == 1
    assert_settled(platform.kube, "9.7.4")


def test_a_run_that_was_cut_off_is_taken_back_by_its_exit_handler(platform: Platform) -> None:
    upgrade("9.7.4")
    kube = platform.kube
    chosen = max(set(platform.servers) - {primary(kube)})
    before = {"version": "9.7.4", "target": "9.7.6", "back": "in place", "servers": {}}
    intent.write(kube, "demo", intent.Intent(RUN, NAME, intent.now(), before))
    hold(kube, "demo")
    set_version(kube, "demo", "9.7.6", None)
    while platform.version() != "9.7.6":
        time.sleep(0.1)
    kube.evict(chosen)
    while tags(kube.servers("demo"), SERVER_CONTAINER).get(chosen) != "9.7.6":
        time.sleep(0.1)
    drill_undo.function(namespace="tiphys", cluster="demo", workflow=RUN, keep_ledger=True)
    assert_settled(kube, "9.7.4")


@pytest.mark.parametrize(
    ("version", "more", "says"),
    [
        ("9.6.0", {}, "is a downgrade"),
        ("9.7.3", {}, "downgrade: 9.7.3 is older than 9.7.4"),
        ("10.0.0", {}, "series: 10.0.0 is of another series"),
        ("9.7.5", {"backup_max_age": "24h"}, "no bucket is set"),
        ("9.7.5", {"measure": True}, "no Router is ready"),
    ],
)
def test_what_speaks_against_it_is_said_before_anything_is_changed(
    platform: Platform, version: str, more: dict[str, Any], says: str
) -> None:
    upgrade("9.7.4")
    before = platform.kube.cluster("demo")["spec"], started(platform)
    told = []
    for act, ask in ((looked, {}), (upgrade, {}), (looked, {"dry_run": True})):
        with pytest.raises(Refused, match=f"nothing was changed.*{says}") as refused:
            act(version, **more, **ask)
        told.append(refused.value)
    assert str(told[0]) == str(told[2]) and says in " ".join(told[2].outputs.summary.split())
    assert (platform.kube.cluster("demo")["spec"], started(platform)) == before


def test_another_run_keeps_it_away(platform: Platform) -> None:
    intent.write(platform.kube, "demo", intent.Intent("another", "crash", intent.now()))
    try:
        with pytest.raises(Refused, match="a drill of workflow 'another'"):
            upgrade("9.7.5")
    finally:
        intent.remove(platform.kube, "demo", "another")
