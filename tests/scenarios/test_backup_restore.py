"""Back up a cluster, lose things, restore into a new one, with whatever can be killed killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_run import Finished, Platform, kill_server
from whole_cluster import topology, until_whole

from steps.backup.layout import FOLDER
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
from steps.mysql.connection import SERVER_PORT, query, root_credentials, session
from tiphys.local.s3.credentials import load_or_make
from tiphys.local.settings import Settings

SCHEMA = "payroll"
TABLES = ("departments", "employees", "dept_manager", "dept_emp", "titles", "salaries", "odd")
SUMS = "CHECKSUM TABLE " + ", ".join(f"{SCHEMA}.{table}" for table in TABLES)
ROWS = 150_000
MADE = (
    f"CREATE TABLE {SCHEMA}.odd (k VARCHAR(20) CHARACTER SET sjis PRIMARY KEY, e ENUM('a', ''), b BIT(3), j JSON)",
    rf"INSERT INTO {SCHEMA}.odd VALUES (X'5C', '', b'101', '[1, null]'), ('\t', 'a', NULL, NULL)",
    f"CREATE VIEW {SCHEMA}.paid AS SELECT emp_no, SUM(salary) AS total FROM {SCHEMA}.salaries GROUP BY emp_no",
    f"CREATE TRIGGER {SCHEMA}.shout BEFORE INSERT ON {SCHEMA}.departments FOR EACH ROW"
    " SET NEW.dept_name = UPPER(NEW.dept_name)",
    f"CREATE EVENT {SCHEMA}.nightly ON SCHEDULE EVERY 1 DAY STARTS '2099-01-01' DO SET @a = 1",
    "CREATE USER clerk IDENTIFIED BY 'a clerk''s' COMMENT 'ü'",
    f"GRANT SELECT, UPDATE (salary) ON {SCHEMA}.salaries TO clerk",
)
OBJECTS = (
    f"SHOW CREATE VIEW {SCHEMA}.paid",
    f"SELECT event_name, status FROM information_schema.events WHERE event_schema = '{SCHEMA}'",
    f"SELECT trigger_name, action_statement FROM information_schema.triggers WHERE trigger_schema = '{SCHEMA}'",
    "SHOW CREATE USER clerk",
    "SHOW GRANTS FOR clerk",
)


def ask(platform: Platform, cluster: str, *statements: str, address: str = "") -> list[list[Any]]:
    """Return what the primary, or the member at an address, answers to each statement."""
    if not address:
        primary = topology(platform, cluster).primary
        assert primary is not None
        address = primary.address
    credentials = root_credentials(platform.kube, platform.kube.cluster(cluster))
    with session(address, SERVER_PORT, credentials) as connection:
        query(connection, "SET SESSION print_identified_with_as_hex = ON")
        return [query(connection, statement) for statement in statements]


def eventually(what: str, check: Callable[[], Any], seconds: float = 180.0) -> Any:
    limit = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return found


def started(platform: Platform, template: str, **parameters: object) -> str:
    """Submit a run, and return its name at once."""
    given = [word for key, value in parameters.items() for word in ("-p", f"{key.replace('_', '-')}={value}")]
    made = platform.tiphys("submit", template, *given, "-o", "json")
    return str(json.loads(made.stdout)["metadata"]["name"])


def ended(platform: Platform, name: str) -> Finished:
    def over() -> Finished | None:
        found = Finished(platform.kube.get("workflows", name))
        return found if found.workflow.get("status", {}).get("finishedAt") else None

    return eventually(f"the end of {name}", over, 240)


def step_of(platform: Platform, name: str) -> int | None:
    """Return the process of a run's step, where it runs now."""
    for pid in platform.leftovers():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"/step") for word in words) and f"TIPHYS_WORKFLOW={name}".encode() in variables:
            return pid
    return None


@pytest.fixture(scope="module")
def bucket(platform: Platform) -> Iterator[Bucket]:
    credentials = load_or_make(Settings.load(platform.home))
    made = Bucket(credentials.client(), "tiphys")
    yield made
    made.close()


def finished_backups(bucket: Bucket) -> list[Manifest]:
    found = [key for key in bucket.keys(f"{FOLDER}/") if key.endswith(f"/{FILE}")]
    return [Manifest.parse(bucket.get(key)) for key in found]


@pytest.fixture(scope="module")
def moment(platform: Platform, demo: str) -> Iterator[dict[str, Any]]:
    """The cluster with rows and objects, backed up, and then changed: what it was at the moment."""
    ask(platform, demo, f"DROP SCHEMA IF EXISTS {SCHEMA}", "DROP USER IF EXISTS clerk")  # of a first try
    platform.succeeds("load-sample-data", cluster=demo, schema=SCHEMA, rows=ROWS)
    ask(platform, demo, *MADE)
    # One table more than TABLES: load-sample-data notes there what it has loaded.
    (tables,) = ask(platform, demo, f"SHOW FULL TABLES IN {SCHEMA} WHERE table_type = 'BASE TABLE'")
    counts = ask(platform, demo, *(f"SELECT COUNT(*) FROM {SCHEMA}.`{name}`" for name, _ in tables))
    rows = sum(count for ((count,),) in counts)
    sums, *objects = ask(platform, demo, SUMS, *OBJECTS)
    done = platform.succeeds("backup", cluster=demo, include=SCHEMA)
    assert int(done.outputs["rows"]) == rows
    ask(
        platform,
        demo,
        f"DROP TABLE {SCHEMA}.titles",
        f"DELETE FROM {SCHEMA}.salaries LIMIT 1000",
        f"UPDATE {SCHEMA}.employees SET first_name = 'Nobody'",
        f"DROP VIEW {SCHEMA}.paid",
        "DROP USER clerk",
    )
    yield {"backup": done.outputs["backup"], "rows": rows, "sums": sums, "objects": objects}
    ask(platform, demo, f"DROP SCHEMA {SCHEMA}")


@pytest.fixture(scope="module")
def copy(platform: Platform, moment: dict[str, Any]) -> Iterator[str]:
    """A new cluster of three servers, made and filled by one restore."""
    name = f"payroll-{int(time.time()) % 100_000}"  # a second try of this finds the first one's rows
    try:
        done = platform.succeeds("restore", cluster=name, backup=moment["backup"], create="true", servers=3, routers=0)
        assert int(done.outputs["rows"]) == moment["rows"] and done.outputs["backup"] == moment["backup"]
        sums = [ask(platform, name, SUMS, address=member.address) for member in topology(platform, name).members]
        assert sums == [sums[0]] * 3, "a restore is over when every member has applied it"
        yield name
    finally:
        if platform.kube.find("innodbclusters", name):
            platform.kube.delete("innodbclusters", name)


def everywhere(platform: Platform, cluster: str) -> list[Any]:
    """Return the sums of each member, one element where they are the same, once they have all rows."""
    primary = until_whole(platform, cluster, 120).primary
    assert primary is not None
    ((executed,),) = ask(platform, cluster, "SELECT @@gtid_executed")[0]
    found = []
    for member in topology(platform, cluster).members:
        wait = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)".replace("\n", "")
        caught_up, sums = ask(platform, cluster, wait, SUMS, address=member.address)
        assert caught_up == [(0,)]
        if sums not in found:
            found.append(sums)
    return found


def test_a_new_cluster_is_as_the_old_one_was_at_the_moment(
    platform: Platform, demo: str, moment: dict[str, Any], copy: str
) -> None:
    assert everywhere(platform, copy) == [moment["sums"]]
    assert ask(platform, copy, *OBJECTS) == moment["objects"]
    assert ask(platform, demo, SUMS)[0] != moment["sums"], "the old one was changed since"


def test_a_backup_killed_half_way_leaves_nothing_that_looks_whole(
    platform: Platform, demo: str, moment: dict[str, Any], copy: str, bucket: Bucket
) -> None:
    before = {manifest.name for manifest in finished_backups(bucket)}
    name = started(platform, "backup", cluster=demo, include=SCHEMA, rate_limit=1)

    def begun() -> list[str]:
        folders = {key.split("/")[1] for key in bucket.keys(f"{FOLDER}/")} - before
        return [folder for folder in folders if bucket.keys(f"{FOLDER}/{folder}/")]

    (half,) = eventually("files of the backup are written", begun)
    pid = eventually("its process", lambda: step_of(platform, name))
    os.kill(pid, signal.SIGKILL)
    assert f"{FOLDER}/{half}/{FILE}" not in bucket.keys(f"{FOLDER}/"), "it was over before it was killed"
    done = ended(platform, name)
    assert done.phase == "Succeeded", platform.logs(done)
    new = [manifest for manifest in finished_backups(bucket) if manifest.name not in before]
    assert [manifest.name for manifest in new] == [done.outputs["backup"]] != [half]
    # What is whole is whole: every object that its manifest names, and as long as that says.
    there = bucket.keys(f"{FOLDER}/{new[0].name}/")
    assert {f"{FOLDER}/{new[0].name}/{file}": one.size for file, one in new[0].files.items()}.items() <= there.items()
    refused = platform.run("restore", cluster=copy, backup=half, replace="true")
    assert refused.phase == "Failed" and "never finished" in platform.logs(refused)


def test_a_restore_goes_on_when_its_process_and_then_its_primary_are_killed(
    platform: Platform, moment: dict[str, Any], copy: str
) -> None:
    ask(platform, copy, f"DROP SCHEMA IF EXISTS {SCHEMA}")
    name = started(platform, "restore", cluster=copy, backup=moment["backup"], schemas=SCHEMA, parallel=1)
    state = (
        "SELECT c.loaded FROM (SELECT restore_id, SUM(loaded_rows) AS loaded FROM tiphys.restore_chunks GROUP BY 1) c"
    )
    state += " JOIN tiphys.restores r ON r.id = c.restore_id WHERE r.phase = 'rows' AND r.workflow = '{}'"

    def loaded(more_than: int) -> int:
        (rows,) = ask(platform, copy, state.format(name))
        return int(rows[0][0] or 0) if rows and int(rows[0][0] or 0) > more_than else 0

    first = eventually("rows are loaded", lambda: loaded(0))
    os.kill(eventually("its process", lambda: step_of(platform, name)), signal.SIGKILL)
    assert first < moment["rows"]
    second = eventually("it goes on", lambda: loaded(first))
    ((pid_file,),) = ask(platform, copy, "SELECT @@pid_file")[0]
    kill_server(pid_file)
    assert second < moment["rows"]
    done = ended(platform, name)
    assert done.phase == "Succeeded", platform.logs(done)
    assert int(done.outputs["rows"]) == moment["rows"]
    assert everywhere(platform, copy) == [moment["sums"]]
