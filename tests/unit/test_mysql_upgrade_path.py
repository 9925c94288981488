"""Which version may follow which, what the new one does not know, and how it is told: values in, values out."""

from __future__ import annotations

import pytest

from steps.mysql.upgrade_checks import Finding, Inventory, findings
from steps.mysql.upgrade_images import hopeless, tag_of
from steps.mysql.upgrade_path import Back, Path, Version, judge, parse
from steps.mysql.upgrade_plan import WIDTH, Plan


def v(text: str) -> Version:
    found = parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("current", "target", "back"),
    [
        ("9.7.3", "9.7.4", Back.IN_PLACE),
        ("8.4.0", "8.4.6", Back.IN_PLACE),
        ("9.7.4", "9.7.4", Back.IN_PLACE),
        ("8.4.6", "9.7.4", Back.COPY),
        ("8.0.36", "8.4.6", Back.COPY),
        ("8.4.6", "9.3.0", Back.COPY),
        ("9.3.0", "9.6.0", Back.COPY),
        ("9.6.0", "9.7.4", Back.COPY),
        ("8.0.36", "8.3.0", Back.COPY),
        ("9.7.4", "10.1.0", Back.COPY),
        # Within an LTS series patch releases go back in place.
        ("9.7.4", "9.7.3", Back.IN_PLACE),
        ("8.4.6", "8.4.5", Back.IN_PLACE),
        # Innovation releases have no patch releases that go back.
        ("9.3.0", "9.3.1", Back.COPY),
        # Nor does 8.0 start on the data files of a later 8.0.
        ("8.0.36", "8.0.37", Back.COPY),
    ],
)
def test_ways_that_mysql_goes(current: str, target: str, back: Back) -> None:
    path = judge(v(current), v(target))
    assert path.refused == ""
    assert path.back is back


@pytest.mark.parametrize(
    ("current", "target", "says"),
    [
        ("8.0.36", "9.7.4", "skips the LTS series 8.4"),
        ("8.0.36", "9.0.0", "skips the LTS series 8.4"),
        ("8.3.0", "9.1.0", "skips the LTS series 8.4"),
        ("9.3.0", "10.0.0", "skips the LTS series 9.7"),
        ("8.4.6", "10.0.0", "skips the LTS series 9.7"),
        ("9.7.4", "9.6.0", "is a downgrade"),
        ("9.7.4", "8.4.6", "is a downgrade"),
        ("9.3.1", "9.3.0", "is a downgrade"),
        ("8.0.37", "8.0.36", "is a downgrade"),
        ("5.7.44", "8.0.36", "older than 8.0"),
    ],
)
def test_ways_that_mysql_does_not_go(current: str, target: str, says: str) -> None:
    assert says in judge(v(current), v(target)).refused


@pytest.mark.parametrize(
    ("text", "version"),
    [("9.7.4", "9.7.4"), ("9.7.4-1+b1", "9.7.4"), ("8.4.6-aarch64", "8.4.6"), ("9.7", ""), ("latest", ""), ("", "")],
)
def test_versions_as_servers_and_tags_say_them(text: str, version: str) -> None:
    assert str(parse(text) or "") == version


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("container-registry.oracle.com/mysql/community-server:9.7.4", "9.7.4"),
        ("localhost:5000/mysql/community-server:9.7.4-aarch64", "9.7.4"),
        ("localhost:5000/mysql/community-server", ""),
        ("registry/mysql/community-server:9.7.4@sha256:abc", "9.7.4"),
    ],
)
def test_an_image_is_of_the_version_that_its_tag_says(image: str, tag: str) -> None:
    assert tag_of(image) == tag


def names(found: list[Finding]) -> list[str]:
    return [one.name for one in found if one.stops and one.name != "series"]


@pytest.mark.parametrize(
    ("inventory", "current", "target", "expected"),
    [
        (Inventory(cnf={"spec.mycnf": "[mysqld]\ninnodb-log-file-size=1G"}), "8.4.6", "9.7.4", ["removed-setting"]),
        (Inventory(cnf={"spec.mycnf": "[mysqld]\nloose_innodb_log_file_size=1G"}), "8.4.6", "9.7.4", []),
        (Inventory(cnf={"spec.mycnf": "[mysqld]\ninnodb_log_file_size=1G"}), "9.7.3", "9.7.4", []),
        (Inventory(cnf={"spec.mycnf": "[mysqld]\nmax_connections=300"}), "8.4.6", "9.7.4", []),
        (Inventory(persisted={"demo-1": frozenset({"replica_parallel_type"})}), "8.4.6", "9.7.4", ["removed-setting"]),
        (Inventory(accounts={"mysql_native_password": ["app@%"]}), "8.4.6", "9.7.4", ["account"]),
        (Inventory(accounts={"mysql_native_password": ["app@%"]}), "8.0.36", "8.4.6", ["account"]),
        (
            Inventory(accounts={"mysql_native_password": ["app@%"]}, cnf={"c": "[mysqld]\nmysql_native_password=ON"}),
            "8.0.36",
            "8.4.6",
            [],
        ),
        (Inventory(accounts={"caching_sha2_password": ["app@%"]}), "8.4.6", "9.7.4", []),
        (Inventory(accounts={"sha256_password": ["app@%"]}), "8.4.6", "9.7.4", []),
        (Inventory(plugins=frozenset({"keyring_file"})), "8.0.36", "8.4.6", ["plugin"]),
        (Inventory(code={"view a.b": "select MD5(`x`) from t"}), "8.4.6", "9.7.4", ["function"]),
        (Inventory(code={"view a.b": "select my_md5(`x`), md5sum from t"}), "8.4.6", "9.7.4", []),
        (Inventory(drift=("max_connections: ConfigMap 300, spec.mycnf 151",)), "9.7.3", "9.7.4", []),
    ],
)
def test_what_the_new_version_does_not_know_stops_it(
    inventory: Inventory, current: str, target: str, expected: list[str]
) -> None:
    assert names(findings(inventory, v(current), v(target))) == expected


def test_what_has_no_way_back_is_for_people_to_accept() -> None:
    assert [one.name for one in findings(Inventory(), v("8.4.6"), v("9.7.4")) if one.stops] == ["series"]
    assert [one.name for one in findings(Inventory(), v("9.7.4"), v("9.7.3")) if one.stops] == ["downgrade"]
    assert findings(Inventory(), v("9.7.3"), v("9.7.4")) == []


def plan(path: Path, **more: object) -> Plan:
    made: dict[str, object] = {
        "cluster": "demo",
        "path": path,
        "versions": {f"demo-{n}": path.current for n in range(3)},
        "images": {f"demo-{n}": str(path.current) for n in range(3)},
        "order": ("demo-2", "demo-1", "demo-0"),
        "primary": "demo-0",
        "routers": 1,
        "routers_behind": ("demo-router-x 9.7.3",),
        "old": str(path.current),
    }
    return Plan(**{**made, **more})  # type: ignore[arg-type]


def test_the_plan_tells_the_order_and_the_way_back_within_a_terminal() -> None:
    told = plan(judge(v("9.7.3"), v("9.7.4"))).told(dry_run=True)
    steps = [line.strip() for line in told.splitlines()]
    at = [next(i for i, line in enumerate(steps) if text in line) for text in ("evict demo-2", "evict demo-1")]
    moved = next(i for i, line in enumerate(steps) if "switch the primary from demo-0" in line)
    last = next(i for i, line in enumerate(steps) if "evict demo-0" in line)
    assert at[0] < at[1] < moved < last
    assert "nothing was changed" in told and "Going back:" in told and "version=9.7.3" in " ".join(steps)
    assert max(map(len, told.splitlines())) <= WIDTH


def test_another_series_tells_that_the_way_back_ends_with_the_first_server() -> None:
    told = " ".join(plan(judge(v("8.4.6"), v("9.7.4"))).told(dry_run=True).split())
    assert "8.4.6 does not start on data files of another series" in told and "delete first its claim" in told


def test_what_speaks_against_it_is_told_before_the_plan() -> None:
    told = plan(judge(v("9.7.3"), v("9.7.4")), against=("it skips",)).told(dry_run=True)
    assert told.index("1. it skips") < told.index("evict demo-2")


def test_nothing_is_left_to_do_only_where_servers_and_routers_are_of_the_version() -> None:
    path = judge(v("9.7.4"), v("9.7.4"))
    assert plan(path, order=(), routers_behind=()).is_done
    assert not plan(path, order=()).is_done
    assert not plan(path, order=(), routers_behind=(), against=("no",)).is_done


def pod(image: str, **status: object) -> dict[str, object]:
    containers = [{"name": "mysql", "image": f"mysql/community-server:{image}"}]
    return {"metadata": {"name": "demo-2"}, "spec": {"containers": containers}, "status": status}


NO_IMAGE = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}, "name": "initmysql"}
CRASHED = {
    "name": "mysql",
    "restartCount": 3,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1}},
}


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (pod("9.7.9", initContainerStatuses=[NO_IMAGE]), "initmysql has no image (ErrImagePull: no such image)"),
        (pod("9.7.4", initContainerStatuses=[NO_IMAGE]), ""),
        (pod("9.7.9", containerStatuses=[CRASHED]), "exit code 1 and was started again 3 times"),
        (pod("9.7.9", containerStatuses=[{**CRASHED, "restartCount": 1}]), ""),
        (pod("9.7.9", containerStatuses=[{**CRASHED, "state": {"running": {}}}]), ""),
        (pod("9.7.9"), ""),
    ],
)
def test_a_pod_is_given_up_only_where_waiting_does_not_help(seen: dict[str, object], says: str) -> None:
    found = hopeless(seen, "9.7.9")
    assert says in found and bool(found) == bool(says)


def test_a_way_that_leads_nowhere_has_no_plan() -> None:
    told = plan(judge(v("9.7.4"), v("8.4.6")), against=("it is a downgrade",)).told(dry_run=True)
    assert "1. it is a downgrade" in told and "evict" not in told


def test_a_strategy_that_was_left_behind_is_something_to_do() -> None:
    assert not plan(judge(v("9.7.4"), v("9.7.4")), order=(), routers_behind=(), held=True).is_done
