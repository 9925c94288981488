"""set-config on a real group: the API server is real, its kubelet is a thread that gives servers their ConfigMap."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from book_help import make_book
from mysql_group import ROOT, SETTINGS, Server
from test_mysql_restart import Kubelet, leave, object_of, primary, started
from test_mysql_restart import place as place  # a fixture

from steps.drill import intent, undo
from steps.errors import BadParameters, Refused
from steps.kube import client
from steps.kube.client import Kube
from steps.mysql import set_config as step
from steps.mysql.connection import close, query
from steps.mysql.set_config import Configured, set_config
from steps.mysql.settings_apply import NotTaken
from steps.mysql.settings_files import EXTRA, Files, read
from steps.mysql.topology import read_topology

RUN = "set-config-1"
MYCNF = "# the shop's\n[mysqld]\nlong_query_time = 10\n"
FILES = Files(MYCNF, f"# from spec.mycnf\n{MYCNF}")

pytestmark = pytest.mark.timeout(900)


class Pods(Kubelet):
    """Gives each new pod's server what the ConfigMap says, and tells of one that does not start with it."""

    def __init__(self, kube: Kube, servers: list[Server], home: Path) -> None:
        super().__init__(kube, servers)
        self.home, self.ends = home, dict.fromkeys(self.servers, 0)

    def run(self) -> None:
        while not self._over.wait(0.1):
            for pod in self.kube.servers("demo"):
                name, server = str(pod["metadata"]["name"]), self.servers[str(pod["metadata"]["name"])]
                assert server.process is not None
                if pod["metadata"].get("deletionTimestamp"):
                    if server.process.poll() is None:
                        leave(server)
                    self.kube.delete("pods", name, grace_seconds=0)
                    text = self.kube.get("configmaps", "demo-initconf")["data"][EXTRA]
                    (server.folder / "my.cnf").write_text(SETTINGS + text)
                    self.ends[name] = 0
                    self.make(name)
                    self.begin(name)
                elif server.process.poll() is not None:
                    self.begin(name)

    def begin(self, name: str) -> None:
        server = self.servers[name]
        (server.folder / "error.log").unlink(missing_ok=True)
        server.start()
        try:
            server.wait()
        except AssertionError:
            self.ends[name] += 1
            pod = self.kube.get("pods", name)
            folder = self.home / "pods" / pod["metadata"]["uid"]
            folder.mkdir(parents=True, exist_ok=True)
            for file in ("mysql.log", "mysql.prev.log"):
                (folder / file).write_text((server.folder / "error.log").read_text())
            ended = {"terminated": {"exitCode": 1}}
            waits = {"waiting": {"reason": "CrashLoopBackOff"}}
            status = {"name": "mysql", "restartCount": self.ends[name], "state": waits, "lastState": ended}
            held = [{"type": "Ready", "status": "False"}]
            self.kube.patch(
                "pods",
                name,
                {"status": {"conditions": held, "containerStatuses": [{**status, "containerID": "x"}]}},
                subresource="status",
            )
            return
        self.tell(name)
        server.join()


@pytest.fixture
def pods(place: tuple[str, list[Server]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    monkeypatch.setenv("KUBECONFIG", place[0])
    kube = client.connect("tiphys")
    made = Pods(kube, place[1], Path(place[0]).parent)
    if kube.find("innodbclusters", "demo") is None:
        make_book(kube)
        login = {"rootUser": "root", "rootPassword": ROOT.password}
        kube.create("secrets", object_of("Secret", "demo-secret", stringData=login))
        kube.create("configmaps", object_of("ConfigMap", "demo-initconf", data={EXTRA: FILES.file}))
        spec = {"secretName": "demo-secret", "instances": 3, "router": {"instances": 0}, "mycnf": MYCNF}
        kube.create("innodbclusters", object_of("InnoDBCluster", "demo", "mysql.oracle.com/v2", spec=spec))
        for name in made.servers:
            made.make(name)
    for name in made.servers:
        made.tell(name)
    made.start()
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)
    deadline = time.monotonic() + 60
    while not read_topology(kube, "demo").is_whole:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    made.stop()
    intent.remove(kube, "demo", RUN)
    kube.patch("innodbclusters", "demo", {"spec": {"mycnf": MYCNF}})
    kube.patch("configmaps", "demo-initconf", {"data": {EXTRA: FILES.file}})
    for name in made.servers:
        sql(made, name, "RESET PERSIST", "SET GLOBAL max_connections = 151", "SET GLOBAL long_query_time = 10")
    kube.close()


def sql(pods: Pods, pod: str, *statements: str) -> list[tuple[Any, ...]]:
    connection = pods.servers[pod].connect()
    try:
        return [query(connection, statement) for statement in statements][-1]
    finally:
        close(connection)


def run(settings: str | None, *, dry_run: bool = False, workflow: str = RUN) -> Configured:
    done = set_config.function(
        namespace="tiphys",
        cluster="demo",
        workflow=workflow,
        settings=settings,
        member_timeout_seconds=0,
        dry_run=dry_run,
    )
    assert isinstance(done, Configured)
    assert all(len(line) <= 80 for line in done.summary.splitlines()), done.summary
    return done


def everything(pods: Pods) -> dict[str, Any]:
    """All that set-config may change: variables, what is persisted, what is written down, and the note."""
    table = "SELECT * FROM performance_schema.{} ORDER BY 1"
    own = ("gtid_", "super_read_only", "read_only", "server_uuid", "pid_file", "group_replication_")
    found: dict[str, Any] = {
        f"{pod}.{name}.{row[0]}": row[1]
        for pod in pods.servers
        for name in ("global_variables", "persisted_variables")
        for row in sql(pods, pod, table.format(name))
        if not row[0].startswith(own)
    }
    return {**found, "files": read(pods.kube, "demo"), "note": intent.read(pods.kube.cluster("demo"))}


def of_all(pods: Pods, name: str) -> list[Any]:
    return [sql(pods, pod, f"SELECT @@GLOBAL.{name}")[0][0] for pod in sorted(pods.servers)]


def test_every_member_and_all_that_is_written_down_has_the_setting_and_nobody_was_restarted(pods: Pods) -> None:
    before, servers = everything(pods), started(pods)
    planned = run("max_connections=300", dry_run=True)
    assert everything(pods) == before
    assert "max_connections  dynamic  demo-0, demo-1, demo-2  151      300     at once" in planned.summary

    done = run("[mysqld]\nmax-connections = 300  # the shop's pool\n")

    assert done.changed == "max_connections" and done.restarted == ""
    assert of_all(pods, "max_connections") == [300, 300, 300]
    assert read(pods.kube, "demo") == Files(f"{MYCNF}max_connections=300\n", f"{FILES.file}max_connections=300\n")
    for pod in pods.servers:
        persisted = sql(pods, pod, "SELECT * FROM performance_schema.persisted_variables")
        assert persisted == [("max_connections", "300")]
    assert started(pods) == servers and intent.read(pods.kube.cluster("demo")) is None
    again = run("max_connections=300")
    assert again.changed == "" and "everything is so already" in again.summary

    pods.kube.patch("configmaps", "demo-initconf", {"data": {"00-basics.cnf": "[mysqld]\nsync_binlog=1\n"}})
    with pytest.raises(BadParameters, match="sync_binlog=DEFAULT: 00-basics.cnf of the cluster's ConfigMap sets it"):
        run("max_connections=DEFAULT; sync_binlog=DEFAULT")
    back = run("max_connections=DEFAULT")
    assert back.changed == "max_connections" and back.restarted == ""
    assert "note: max_connections: a container that starts again in its pod" in " ".join(back.summary.split())
    assert of_all(pods, "max_connections") == [151, 151, 151] and read(pods.kube, "demo") == FILES
    for pod in pods.servers:
        assert sql(pods, pod, "SELECT * FROM performance_schema.persisted_variables") == []


def test_where_the_third_member_refuses_all_is_as_it_was(pods: Pods) -> None:
    run("max_connections=222")
    first = primary(pods.kube)
    third = max(pods.servers)
    for pod in pods.servers:
        if pod != third:
            sql(
                pods,
                pod,
                "SET SESSION sql_log_bin = 0",
                "SET GLOBAL super_read_only = 0",
                "CREATE SCHEMA words",
                "CREATE TABLE words.stop (value VARCHAR(30) PRIMARY KEY) ENGINE = InnoDB",
                f"SET GLOBAL super_read_only = {int(pod != first)}",
            )
    before = everything(pods)
    with pytest.raises(NotTaken) as raised:
        run("max_connections=DEFAULT; innodb_ft_server_stopword_table=words/stop")
    assert str(raised.value).startswith(
        f"{third} did not take the settings: Variable 'innodb_ft_server_stopword_table'"
    )
    assert "Everything is as it was" in str(raised.value) and raised.value.exit_code == 1
    assert everything(pods) == before
    for pod in pods.servers:
        if pod != third:
            sql(
                pods,
                pod,
                "SET SESSION sql_log_bin = 0",
                "SET GLOBAL super_read_only = 0",
                "DROP SCHEMA words",
                f"SET GLOBAL super_read_only = {int(pod != first)}",
            )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("max_conections=300", "there is no variable max_conections in this server (did you mean max_connections?)"),
        ("max_connections=300; innodb_ft_sort_pll_degree=17", "is out of range: expected 1 to 16"),
        ("group_replication_group_name=x", "the operator sets it"),
        ("binlog_format=STATEMENT", "group replication takes rows only"),
    ],
)
def test_what_a_server_would_not_take_touches_nothing(pods: Pods, settings: str, says: str) -> None:
    before = everything(pods)
    with pytest.raises(BadParameters, match="Nothing was changed") as raised:
        run(settings)
    assert says in str(raised.value)
    assert everything(pods) == before


def test_all_that_speaks_against_settings_is_told_at_once(pods: Pods) -> None:
    wrong = "server_id=7; max_conections=300; sql_mode=NONSENSE; max_connections=1; long_query_time=2"
    before = everything(pods)
    with pytest.raises(BadParameters) as raised:
        run(wrong)
    with pytest.raises(BadParameters) as dry:
        run(wrong, dry_run=True)
    assert str(dry.value) == str(raised.value) and raised.value.outputs is None
    for text in (" ".join(dry.value.outputs.summary.split()), str(raised.value)):
        for why in ("server_id must not", "did you mean max_connections?", "sql_mode=NONSENSE", "keep clients out"):
            assert why in text, (why, text)
    assert dry.value.outputs.changed == "", "of what is refused nothing is changed"
    shown = [line.split()[0] for line in dry.value.outputs.summary.splitlines()]
    assert "long_query_time" in shown and "max_conections" not in shown, "what no server knows has no kind"
    assert everything(pods) == before


def test_a_dry_run_of_what_would_be_refused_is_refused_where_a_member_is_away(pods: Pods) -> None:
    away = max(set(pods.servers) - {primary(pods.kube)})
    gone = {"podIP": "127.0.0.9", "conditions": [{"type": "Ready", "status": "False"}]}
    pods.kube.patch("pods", away, {"status": gone}, subresource="status")
    try:
        for dry_run in (False, True):
            with pytest.raises(Refused, match=f"nothing was changed: .*{away}"):
                run("max_connections=300", dry_run=dry_run)
    finally:
        pods.tell(away)


def test_drift_is_shown_and_mended_to_what_the_spec_says(pods: Pods) -> None:
    readers = of_all(pods, "super_read_only")
    sql(pods, "demo-1", "SET PERSIST long_query_time = 3")
    sql(pods, "demo-2", "SET GLOBAL long_query_time = 4")
    pods.kube.patch(
        "configmaps", "demo-initconf", {"data": {EXTRA: "[mysqld]\nlong_query_time=5\nmax_connections=9\n"}}
    )
    before = everything(pods)
    shown = run(None, dry_run=True)
    assert everything(pods) == before and shown.drift == 2
    for told in ("demo-1", "3.000000", "4.000000", "max_connections is taken out of the ConfigMap"):
        assert told in shown.summary
    done = run(None)
    assert done.changed == "long_query_time,max_connections"
    assert of_all(pods, "long_query_time") == [10, 10, 10]
    assert read(pods.kube, "demo") == Files(MYCNF, "[mysqld]\nlong_query_time=10\n")
    assert run(None).drift == 0
    mycnf = {"spec": {"mycnf": f"{MYCNF}super_read_only=ON\nno_such=1\n"}}
    pods.kube.patch("innodbclusters", "demo", mycnf)
    shown = run(None, dry_run=True)
    assert shown.changed == "no_such,super_read_only", "in the ConfigMap"
    assert "set on no member: super_read_only must not be changed here" in " ".join(shown.summary.split())
    assert run(None).restarted == "" and of_all(pods, "super_read_only") == readers, "the primary goes on"


def test_a_value_that_a_server_does_not_start_with_is_taken_back_and_it_runs_again(pods: Pods) -> None:
    before, lives = everything(pods), started(pods)
    old = primary(pods.kube)
    with pytest.raises(NotTaken) as raised:
        run("innodb_flush_method=O_NOTHING; max_connections=300")
    text = str(raised.value)
    assert f"{raised.value.pod} did not take the settings: mysqld does not start" in text and "O_NOTHING" in text
    assert "Everything is as it was" in text
    assert everything(pods) == before
    after = started(pods)
    assert [pod for pod in lives if after[pod] != lives[pod]] == [raised.value.pod] != [old]


def cut_off(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die between two members, as of SIGKILL: nothing is undone, the note stays."""
    real = step.set_everywhere

    def dies(members: Any, settings: Any, static: Any, **more: Any) -> None:
        first = sorted(settings)[0]
        real(members, {first: settings[first]}, static, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step, "set_everywhere", dies)
        with pytest.raises(KeyboardInterrupt):
            run("max_connections=300")
    assert of_all(pods, "max_connections") == [300, 151, 151]


def test_a_run_that_was_killed_is_taken_up_again(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(pods, monkeypatch)
    with pytest.raises(Refused, match="nothing was changed: .*has a drill of workflow 'set-config-1'"):
        run("max_connections=400", workflow="another")
    run("max_connections=300")
    assert of_all(pods, "max_connections") == [300, 300, 300]
    assert intent.read(pods.kube.cluster("demo")) is None


def test_a_run_that_was_killed_is_undone_by_its_exit_handler(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(pods)
    cut_off(pods, monkeypatch)
    undo.drill_undo.function(namespace="tiphys", cluster="demo", workflow=RUN, keep_ledger=True)
    assert everything(pods) == before


def test_a_static_setting_comes_with_a_rolling_restart_and_goes_only_to_those_that_lack_it(pods: Pods) -> None:
    old = primary(pods.kube)
    done = run("back_log=200; max_connections=222")
    assert done.restarted.split(",")[-1] == old and len(done.restarted.split(",")) == 3
    assert of_all(pods, "back_log") == [200, 200, 200] and of_all(pods, "max_connections") == [222, 222, 222]
    lives = started(pods)
    sql(pods, "demo-2", "SET PERSIST_ONLY back_log = 77")
    assert run("back_log=200").restarted == "", "only what would come at the next start is mended"
    assert sql(pods, "demo-2", "SELECT COUNT(*) FROM performance_schema.persisted_variables") == [(1,)]
    assert started(pods) == lives
