"""Settings as a person writes them, what must not be changed, how a my.cnf takes them, and what a real server says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mysql_group import ROOT, mysql_group

from steps.errors import BadParameters
from steps.kube.client import Kube
from steps.mysql import set_config
from steps.mysql.cnf import agrees, merged, settings_of
from steps.mysql.connection import close, connect, query
from steps.mysql.settings import Setting, forbidden, parse, warnings
from steps.mysql.settings_apply import Kept, NotTaken, differing, put_back, remember, set_everywhere
from steps.mysql.settings_check import Answer, check, sources_of
from steps.mysql.settings_files import Files, of_operator
from steps.mysql.settings_plan import Plan, State, to_mend, to_set
from steps.mysql.settings_survey import not_by_default
from steps.mysql.settings_undo import Before
from tiphys.local import mysql_packages

NET = f"127.88.{os.getpid() % 250 + 1}"
ADDRESS = f"{NET}.41"


def values(text: str) -> dict[str, int | float | str]:
    return {one.name: one.value for one in parse(text)}


def test_lines_semicolons_and_a_piece_of_a_my_cnf_say_the_same() -> None:
    expected = {
        "max_connections": 300,
        "innodb_buffer_pool_size": 2**30,
        "long_query_time": 0.5,
        "skip_name_resolve": "ON",
    }
    line = "max_connections=300; innodb-buffer-pool-size = 1G; long_query_time=0.5; skip-name-resolve"
    assert values(line) == expected
    cnf = "# ours\n[mysqld]\nmax_connections = 300   # more\nloose_innodb_buffer_pool_size=1g\n\n"
    assert values(f"{cnf}long_query_time=0.5\nskip_name_resolve") == expected
    assert values("sql_mode='STRICT_ALL_TABLES,NO_ZERO_DATE'") == {"sql_mode": "STRICT_ALL_TABLES,NO_ZERO_DATE"}
    assert values("init_file=") == {"init_file": ""} and values("a=-1;b=0x1;c=12kg") == {
        "a": -1,
        "b": "0x1",
        "c": "12kg",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is none in it"),
        ("# nothing", "there is none in it"),
        ("=3", "'=3' is no setting"),
        ("max connections=3", "is no setting"),
        ("!include /etc/passwd", "is no setting"),
        ("[client]\nport=1", "section [client] is not the server's"),
        ("a=1; A=2", "a is given twice ('1' and '2')"),
        ("a-b=1\nloose_a_b=1", "a_b is given twice"),
    ],
)
def test_what_is_no_setting_is_said(text: str, says: str) -> None:
    with pytest.raises(BadParameters) as raised:
        parse(text)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("server_id=7", "server_id must not be changed here: the operator sets it"),
        ("loose_plugin_load_add=x.so", "plugin_load_add must not be changed here: it decides which code"),
        ("group-replication-group-name=x", "the operator sets it"),
        ("super_read_only=OFF", "another runbook or the group"),
        ("lower_case_table_names=1", "the data files were made with it"),
        ("binlog_format=STATEMENT", "binlog_format=STATEMENT: group replication takes rows only; allowed: ROW"),
        ("replica_preserve_commit_order=0", "different orders"),
        ("innodb_data_file_path=ibdata1:9M", "it says which files"),
        ("innodb_force_recovery=4", "cannot serve its group"),
        ("mandatory_roles=admin", "who gets into the server"),
        ("init_slave='DROP USER root'", "it decides who gets in"),
        ("slave_load_tmpdir=/data", "which files"),
        ("slave_preserve_commit_order=OFF", "different orders"),
        ("group_replication_recovery_ssl_ca=/tmp/ca.pem", "which files"),
        ("sql_safe_updates=1", "no server would start with it"),
        ("hostname=db", "only tells"),
        ("have_symlink=YES", "only tells"),
    ],
)
def test_what_a_group_would_not_survive_is_refused_with_its_reason(text: str, says: str) -> None:
    (refusal,) = forbidden(parse(text))
    assert says in refusal


def test_what_is_safe_is_not_refused_and_what_is_risky_is_told() -> None:
    safe = parse("max_connections=300;binlog_format=row;replica_preserve_commit_order=1;sync_binlog=0")
    assert forbidden(safe) == [] and len(warnings(safe)) == 1 and "sync_binlog" in warnings(safe)[0]


def test_a_my_cnf_keeps_what_it_says_of_others() -> None:
    cnf = "# theirs\n[mysqld]\nmax-connections = 151\nback_log=9\nmax_connections=152\n\n[client]\nmax_connections=1\n"
    told = merged(cnf, {"max_connections": "300", "sort_buffer_size": "1M"})
    assert told == (
        "# theirs\n[mysqld]\nmax_connections=300\nback_log=9\nsort_buffer_size=1M\n\n[client]\nmax_connections=1\n"
    )
    assert merged(told, {"sort_buffer_size": "1M", "max_connections": "300"}) == told, "again changes nothing"
    assert merged("", {"a": "1"}) == "[mysqld]\na=1\n"
    assert merged("[client]\nuser=x\n", {"a": "1", "b": "2"}) == "[client]\nuser=x\n[mysqld]\na=1\nb=2\n"
    assert merged("[mysqld]\n#a=1\n", {"a": "2"}) == "[mysqld]\n#a=1\na=2\n"


def test_a_line_that_a_server_may_pass_over_remains_one() -> None:
    files = Files("[mysqld]\nloose_thread_pool_size=8\nback_log=9\n", "[mysqld]\nback_log=9\n")
    assert to_mend(files)[0].file == "[mysqld]\nback_log=9\nloose_thread_pool_size=8\n"
    files = Files(files.mycnf, "[mysqld]\nloose-thread-pool-size=4\nback_log=9\n")
    assert to_mend(files)[0].file == files.mycnf
    # A new pod's server starts before its plugins are there.
    wanted = parse("group_replication_member_weight=60")
    assert to_set(Files(None, ""), wanted).file == "[mysqld]\nloose_group_replication_member_weight=60\n"


def test_the_time_zone_stands_in_a_my_cnf_by_the_name_of_its_option() -> None:
    told = merged("[mysqld]\ndefault-time-zone=SYSTEM\n", {"time_zone": "+01:00"})
    assert told == "[mysqld]\ndefault_time_zone=+01:00\n" and settings_of(told) == {"time_zone": "+01:00"}
    assert values("default_time_zone=+01:00") == {"time_zone": "+01:00"}


def test_a_table_keeps_to_a_terminal_and_has_every_name_whole() -> None:
    names = ("max_connections", "innodb_buffer_pool_size", "group_replication_recovery_compression_algorithms")
    wanted = parse("; ".join(f"{name}=123456789012" for name in names))
    has = dict.fromkeys(names, "zlib,zstd,uncompressed,and_more")
    states = tuple(State(f"orders-eu-{n}", has, dict.fromkeys(names, "9876543210")) for n in range(3))
    table = Plan(tuple(wanted), dict.fromkeys(names, True), states, Files(None, ""), Files(None, "")).table()
    assert max(map(len, table.splitlines())) <= 80
    assert all(name in table for name in names) and "orders-eu-2" in table, table


def test_a_default_is_asked_for_by_its_word_and_taken_out_of_what_is_written_down() -> None:
    asked = parse("max_connections=default; long-query-time = DEFAULT; sql_mode=; back_log=200")
    assert {one.name for one in asked if one.is_default} == {"max_connections", "long_query_time"}
    assert values("sql_mode=") == {"sql_mode": ""}, "the empty text is a value"
    text = "# ours\n[mysqld]\nlong_query_time = 10\nloose_x.y=1\n"
    written = to_set(Files(text, f"{text}max_connections=300\n"), asked)
    kept = "# ours\n[mysqld]\nloose_x.y=1\nsql_mode=\nback_log=200\n"
    assert (written.mycnf, written.file) == (kept, kept)
    assert to_set(Files(None, "[mysqld]\n"), asked[:1]) == Files(None, "[mysqld]\n"), "nothing is written for it"
    assert forbidden(parse("super_read_only=DEFAULT; binlog_format=DEFAULT")) == [
        "super_read_only must not be changed here: another runbook or the group itself changes it",
        "binlog_format=DEFAULT: group replication takes rows only; allowed: ROW",
    ]


def test_a_default_is_there_where_nobody_has_said_anything_else() -> None:
    (one,) = parse("back_log=DEFAULT")
    said, now = {"back_log": "200"}, {"back_log": "151"}
    states = (
        State("a", now, {}, {"back_log": "COMPILED"}),
        State("b", said, {}, {"back_log": "EXPLICIT"}),
        State("c", now, {"back_log": "200"}, {"back_log": "COMPILED"}),
        State("d", now, {}, {"back_log": "DYNAMIC"}),
    )
    assert [each.has(one) for each in states] == [True, False, False, False]
    assert [each.took(one) for each in states] == [True, False, False, True]
    plan = Plan((one,), {"back_log": False}, states, Files("", ""), Files("", ""))
    assert plan.restarts == ["b", "d"] and list(plan.lacking) == ["b", "c", "d"]
    lines = [line.split() for line in plan.table().splitlines()]
    assert ["back_log", "static", "a", "151", "DEFAULT", "is", "so"] in lines
    assert ["b", "200", "DEFAULT", "restart"] in lines and ["spec.mycnf,", "nothing", "DEFAULT", "is", "so"] in lines
    assert not_by_default([one], {"back_log": "00-basics.cnf"})[0].startswith("back_log=DEFAULT: 00-basics.cnf of the")
    assert not_by_default([one], {"other": "00-basics.cnf"}) == []


def test_what_the_operator_s_own_files_set_has_no_default() -> None:
    data = {
        "my.cnf.in": "[mysqld]\nserver_id=@@SERVER_ID@@\nlocal-infile=1\n[mysql]\nsocket=/x\n!includedir /etc/my.cnf.d",
        "00-basic.cnf": "[mysqld]\nlog_error_verbosity=3",
        "99-extra.cnf": "[mysqld]\nback_log=200",
        "initdb-localroot.sql": "set sql_log_bin=0;",
    }

    class Operator:
        def get(self, resource: str, name: str) -> dict[str, Any]:
            return {"data": data} if (resource, name) == ("configmaps", "demo-initconf") else {}

    told = of_operator(cast(Kube, Operator()), "demo")
    assert told == {"server_id": "my.cnf.in", "local_infile": "my.cnf.in", "log_error_verbosity": "00-basic.cnf"}


def test_a_components_variable_has_a_dot_and_may_be_unknown_to_a_new_server() -> None:
    (one,) = parse("validate_password.length = 12")
    assert (one.name, one.value, forbidden([one])) == ("validate_password.length", 12, [])
    assert merged("", {one.name: one.written}) == "[mysqld]\nloose_validate_password.length=12\n"
    assert settings_of("[mysqld]\nloose_validate_password.length=12\n") == {one.name: "12"}
    assert [
        "files the server touches" in why for why in forbidden(parse("validate_password.dictionary_file=x; x.path=y"))
    ] == [True, True]
    with pytest.raises(BadParameters, match="is no setting"):
        parse("a.b.c=1")


def test_semicolons_in_quotes_are_part_of_a_value() -> None:
    text = "log_error_services='log_filter_internal; log_sink_json'; max_connections=300"
    assert values(text) == {"log_error_services": "log_filter_internal; log_sink_json", "max_connections": 300}


def test_a_comment_begins_anywhere_but_in_quotes() -> None:
    assert settings_of("a=1#one\nb='2 # two' # three\nc = 3 # don't\n") == {"a": "1", "b": "2 # two", "c": "3"}
    told = merged("[mysqld]\n", {"b": "2 # two", "c": '"#"'})
    assert told == '[mysqld]\nb="2 # two"\nc=\'"#"\'\n' and settings_of(told) == {"b": "2 # two", "c": '"#"'}


def test_what_a_server_rounds_is_not_another_value() -> None:
    assert agrees("max_allowed_packet", "100000000", {"max_allowed_packet": "99999744"})
    assert not agrees("max_allowed_packet", "100000000", {"max_allowed_packet": "99998720"})
    assert not agrees("max_connections", "300", {"max_connections": "299"})
    assert agrees("character_set_server", "utf8", {"character_set_server": "utf8mb3"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as (only,):
        connection = only.connect()
        yield connection
        close(connection)


def test_a_real_server_says_what_it_would_not_take_and_stays_as_it_is(server: Any) -> None:
    before = query(server, "SELECT * FROM performance_schema.global_variables ORDER BY 1")
    asked = parse(
        "max_connections=300; back_log=200; no_such=1; timestamp=5; long_query_time=-0.5;"
        "table_open_cache=9999999999; innodb_ft_sort_pll_degree=17; thread_cache_size=many; general_log=perhaps"
    )
    said = {one.name: one for one in check(server, asked)}
    assert said["max_connections"] == Answer("max_connections", True, "151")
    assert (said["back_log"].dynamic, said["back_log"].refused) == (False, "")
    assert said["no_such"].refused == "there is no variable no_such in this server"
    assert "SESSION variable" in said["timestamp"].refused or "no variable" in said["timestamp"].refused
    assert "expected 0 or more" in said["long_query_time"].refused
    assert "out of range: expected 1 to 524288" in said["table_open_cache"].refused
    assert said["innodb_ft_sort_pll_degree"].refused.endswith("out of range: expected 1 to 16")
    assert not said["innodb_ft_sort_pll_degree"].dynamic
    assert "expected a whole number" in said["thread_cache_size"].refused
    assert "expected ON or OFF" in said["general_log"].refused
    assert query(server, "SELECT * FROM performance_schema.global_variables ORDER BY 1") == before
    assert query(server, "SELECT * FROM performance_schema.persisted_variables") == []


def test_a_word_that_the_server_does_not_know_is_found_before_anything_is_set(server: Any) -> None:
    before = query(server, "SELECT * FROM performance_schema.global_variables ORDER BY 1")
    session = (
        "SELECT * FROM performance_schema.session_variables WHERE variable_name NOT IN ('statement_id', 'timestamp')"
    )
    sessions = query(server, session)
    for text, says in {
        "sql_mode=NONSENSE": "sql_mode=NONSENSE: Variable 'sql_mode' can't be set to the value of 'NONSENSE'",
        "character_set_server=klingon": "Unknown character set: 'klingon'",
        "collation_server=klingon_ci": "Unknown collation: 'klingon_ci'",
        "time_zone=Mars/Olympus": "Unknown or incorrect time zone",
        "binlog_row_image=HALF": "can't be set to the value of 'HALF'",
        "lc_messages=tlh_QO": "Unknown locale",
        "max_connections": "max_connections has no value: give max_connections=VALUE (now 151)",
        "sql_mode": "sql_mode has no value",
        "slow_query_log": "",
        "character_set_server=latin1": "",
        "transaction_isolation=READ-COMMITTED": "",
    }.items():
        (said,) = check(server, parse(text))
        assert says in said.refused and bool(says) == bool(said.refused), said
    assert query(server, "SELECT * FROM performance_schema.global_variables ORDER BY 1") == before
    assert query(server, session) == sessions


def test_a_server_is_asked_for_its_default_and_keeps_what_it_has(server: Any) -> None:
    query(server, "SET GLOBAL long_query_time = 3")
    asked = parse("long_query_time=DEFAULT; back_log=DEFAULT; no_such=DEFAULT; max_connections=DEFAULT")
    before = sources_of(server, asked)
    assert before == {"long_query_time": "DYNAMIC", "back_log": "COMPILED", "max_connections": "COMPILED"}
    late, static, unknown, limit = check(server, asked)
    assert late == Answer("long_query_time", True, "3.000000") and (static.dynamic, static.refused) == (False, "")
    assert "there is no variable no_such" in unknown.refused and limit.refused == ""
    assert "timestamp" in check(server, parse("timestamp=DEFAULT"))[0].refused
    check(server, parse("max_connections=300"))
    assert sources_of(server, asked) == before, "to ask is not to set"
    set_everywhere({"a": server}, {"a": asked[:1]}, set())
    assert remember(server, {"long_query_time": True}) == [Kept("long_query_time", "10.000000", None)]


def test_a_components_variable_is_set_kept_and_given_back(server: Any) -> None:
    asked = parse("validate_password.length=12")
    assert check(server, asked)[0].refused.startswith("there is no variable validate_password.length in this server")
    query(server, "INSTALL COMPONENT 'file://component_validate_password'")
    try:
        assert check(server, asked) == [Answer("validate_password.length", True, "8")]
        kept = remember(server, {"validate_password.length": True})
        set_everywhere({"a": server}, {"a": asked}, set())
        assert remember(server, {"validate_password.length": True}) == [Kept("validate_password.length", "12", "12")]
        put_back(server, kept)
        assert remember(server, {"validate_password.length": True}) == kept
    finally:
        query(server, "UNINSTALL COMPONENT 'file://component_validate_password'")


def test_nothing_of_a_name_reaches_the_server_as_sql(server: Any) -> None:
    (answer,) = check(server, [Setting("x`; DROP SCHEMA mysql; --", 1, "1")])
    assert answer.refused.startswith("there is no variable")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Three members; the third lacks a plugin that the others have, and so refuses its variable."""
    with mysql_group(tmp_path_factory.mktemp("three"), [f"{NET}.{number}" for number in (42, 43, 44)]) as servers:
        found = {f"demo-{number}": server.connect() for number, server in enumerate(servers)}
        for pod in ("demo-0", "demo-1"):
            query(found[pod], "SET SESSION sql_log_bin = 0")
            query(found[pod], "SET GLOBAL super_read_only = 0")
            query(found[pod], "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
            query(found[pod], "SET SESSION sql_log_bin = 1")
        query(found["demo-1"], "SET GLOBAL super_read_only = 1")
        yield found
        for connection in found.values():
            close(connection)


def everything(members: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    sql = "SELECT * FROM performance_schema.{} ORDER BY 1"
    tables = ("global_variables", "persisted_variables")
    return {
        f"{pod}.{table}": [row for row in query(connection, sql.format(table)) if not row[0].startswith("gtid_")]
        for pod, connection in members.items()
        for table in tables
    }


def keep(members: dict[str, Any], text: str) -> dict[str, list[Kept]]:
    names = {one.name: True for one in parse(text)}
    return {pod: remember(connection, names) for pod, connection in members.items()}


def set_all(members: dict[str, Any], text: str) -> None:
    set_everywhere(members, {pod: parse(text) for pod in members}, set())


def test_every_member_has_the_value_and_keeps_it_over_a_restart(members: dict[str, Any]) -> None:
    before, text = everything(members), "max_connections=300; sql_mode=STRICT_ALL_TABLES; long_query_time=2.5"
    kept = keep(members, text)
    set_all(members, text)
    for connection in members.values():
        assert query(connection, "SELECT @@GLOBAL.max_connections, @@GLOBAL.sql_mode") == [(300, "STRICT_ALL_TABLES")]
        persisted = dict(query(connection, "SELECT * FROM performance_schema.persisted_variables"))
        assert persisted["max_connections"] == "300" and len(persisted) == 3
    assert len(differing(kept["demo-0"], keep(members, text)["demo-0"])) == 3
    for pod, connection in members.items():
        put_back(connection, kept[pod])
        put_back(connection, kept[pod])
        assert differing(kept[pod], keep(members, text)[pod]) == []
    assert everything(members) == before


@pytest.mark.parametrize(
    ("text", "pod", "says"),
    [
        ("max_connections=300; sql_mode=NOPE", "demo-0", "Variable 'sql_mode' can't be set to the value of 'NOPE'"),
        ("max_connections=300; table_open_cache=9999999999", "demo-0", "table_open_cache"),
        ("max_connections=300; rpl_semi_sync_source_timeout=1234", "demo-2", "there is no variable"),
    ],
)
def test_who_refused_is_said_and_all_can_be_put_back(members: dict[str, Any], text: str, pod: str, says: str) -> None:
    query(members["demo-1"], "SET PERSIST max_connections = 177")
    query(members["demo-0"], "SET PERSIST_ONLY max_connections = 188")
    before = everything(members)
    known = ("demo-0", "demo-1") if pod == "demo-2" else tuple(members)
    kept = {each: keep({each: members[each]}, text)[each] for each in known}
    kept |= {each: keep({each: members[each]}, "max_connections=1")[each] for each in members if each not in known}
    with pytest.raises(NotTaken) as raised:
        set_all(members, text)
    assert raised.value.pod == pod and says in raised.value.why and pod in str(raised.value)
    assert everything(members) != before
    for each, connection in members.items():
        put_back(connection, kept[each])
    assert everything(members) == before
    for connection in members.values():
        query(connection, "RESET PERSIST IF EXISTS max_connections")
        query(connection, "SET GLOBAL max_connections = 151")


def test_a_setting_that_lets_nobody_in_goes_to_one_member_and_back_through_the_connection_that_set_it(
    members: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = {pod: f"{NET}.{42 + number}" for number, pod in enumerate(members)}
    monkeypatch.setattr(set_config, "_addresses", lambda pods, plan: addresses)
    kube: Any = SimpleNamespace(servers=lambda cluster: [])
    before, wanted = everything(members), parse("max_connections=1; long_query_time=0.5")
    has = {pod: dict(query(one, "SELECT * FROM performance_schema.global_variables")) for pod, one in members.items()}
    dynamic, files = {one.name: True for one in wanted}, Files(None, "")
    plan = Plan(tuple(wanted), dynamic, tuple(State(pod, has[pod]) for pod in members), files, files)
    kept = {pod: tuple(remember(one, dynamic)) for pod, one in members.items()}
    when = "SELECT set_time FROM performance_schema.variables_info WHERE variable_name = 'max_connections'"
    times = {pod: query(one, when) for pod, one in members.items()}

    with pytest.raises(NotTaken) as raised:
        set_config._set(kube, "demo", ROOT, plan, Before(files, files, kept, {}), persist=True)

    assert raised.value.pod == "demo-0" and "no new connection gets in" in str(raised.value)
    assert "error 1040" in str(raised.value) and "Too many connections" in str(raised.value)
    for address in addresses.values():
        close(connect(address, 3306, ROOT))
    assert everything(members) == before
    assert [pod for pod, one in members.items() if query(one, when) != times[pod]] == ["demo-0"]


def test_nothing_is_persisted_before_every_member_has_taken_all(members: dict[str, Any]) -> None:
    text, reached = "long_query_time=2", list[str]()
    kept = keep(members, text)

    def reach(pod: str) -> None:
        reached.append(pod)
        for connection in members.values():
            assert query(connection, "SELECT * FROM performance_schema.persisted_variables") == []

    set_everywhere(members, {pod: parse(text) for pod in members}, set(), reach=reach)
    assert reached == list(members)
    for pod, connection in members.items():
        assert len(query(connection, "SELECT * FROM performance_schema.persisted_variables")) == 1
        put_back(connection, kept[pod])


def test_a_limit_below_what_is_in_use_is_refused_with_the_numbers(server: Any) -> None:
    used = int(query(server, "SHOW GLOBAL STATUS LIKE 'Max_used_connections'")[0][1])
    for text in ("max_connections=1", f"max_connections={used + 19}"):
        (said,) = check(server, parse(text))
        assert f"Max_used_connections {used}" in said.refused and f"at least {used + 20}" in said.refused
    for text in (f"max_connections={used + 20}", "max_user_connections=0", "max_prepared_stmt_count=100"):
        assert check(server, parse(text))[0].refused == "", text
    assert "connections of one user" in check(server, parse("max_user_connections=1"))[0].refused
    assert "Prepared_stmt_count 0" in check(server, parse("max_prepared_stmt_count=0"))[0].refused


def test_what_hides_a_static_setting_at_the_next_start_is_taken_away_and_put_back(members: dict[str, Any]) -> None:
    one = {"demo-1": members["demo-1"]}
    query(members["demo-1"], "SET PERSIST_ONLY back_log = 99")
    before, kept = everything(one), remember(members["demo-1"], {"back_log": False})
    set_everywhere(one, {"demo-1": parse("back_log=200")}, {"back_log"})
    assert query(members["demo-1"], "SELECT * FROM performance_schema.persisted_variables") == []
    put_back(members["demo-1"], kept)
    assert everything(one) == before
    query(members["demo-1"], "RESET PERSIST")


@pytest.mark.parametrize(
    "text",
    [
        "local_infile=0",
        "slow_query_log=true",
        "event_scheduler=0",
        "optimizer_switch='index_merge=off'",
        "sql_mode=TRADITIONAL",
        "time_zone=+01:00",
        "character_set_server=utf8",
        "log_error_services='log_filter_internal; log_sink_internal'",
    ],
)
def test_a_value_however_written_is_taken_and_known_again(server: Any, text: str) -> None:
    (one,) = parse(text)
    assert check(server, [one])[0].refused == ""
    before = remember(server, {one.name: True})
    try:
        set_everywhere({"demo-0": server}, {"demo-0": [one]}, set())
        tables = ("performance_schema.global_variables", "performance_schema.persisted_variables")
        has, kept = (dict(query(server, f"SELECT variable_name, variable_value FROM {table}")) for table in tables)
        assert State("demo-0", has, kept).has(one), (has[one.name], kept.get(one.name))
    finally:
        put_back(server, before)
    assert differing(before, remember(server, {one.name: True})) == []


def test_a_number_that_would_be_rounded_is_refused_with_the_one_to_ask_for(server: Any) -> None:
    (said,) = check(server, parse("max_allowed_packet=100000000"))
    assert said.refused.endswith("would be rounded to 99999744 by the server: ask for that")
    (said,) = check(server, parse("concurrent_insert=2"))
    assert "expected words, as it has now: AUTO" in said.refused


def test_every_variable_that_may_be_set_may_stand_in_a_my_cnf(server: Any) -> None:
    mysql = mysql_packages.find()
    options = [*mysql.server_options, "--plugin-load-add=group_replication.so", "--verbose", "--help"]
    environment = {**os.environ, **mysql.environment}
    command = mysql.command("mysqld", "--no-defaults", *options)
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    known = {found.replace("-", "_") for found in re.findall(r"(?m)^(?: .*?--|)([a-z][a-z0-9-]*)\b", listed)}
    names = [str(row[0]) for row in query(server, "SELECT variable_name FROM performance_schema.global_variables")]
    free = [name for name in names if not forbidden([Setting(name, "x", "x")])]
    assert len(free) > 300
    assert {name for name in free if name not in known} <= {"time_zone", "skip_external_locking", "rbr_exec_mode"}
