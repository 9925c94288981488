"""Judging the configuration: members against each other, against the ConfigMap and spec.mycnf."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from steps.check.finding import OK, WARNING, Finding, first
from steps.check.servers import Server, answering
from steps.mysql.cnf import agrees, same, settings_of

MEND = "set-config mends it to spec.mycnf; with settings=NAME=VALUE it writes that everywhere"

_OWN = re.compile(
    r"(.*_)?(port|socket|pid_file|bind_address|dir|datadir|basedir|tmpdir|file|path|basename|index|directories)"
    r"|server_(id|uuid)|hostname|report_.*|gtid_(executed|purged|owned)|(super_)?read_only|offline_mode"
    r"|version.*|build_id|innodb_version|log_error|log_bin|relay_log|ssl_.*|admin_.*|secure_.*|timestamp"
    r"|auto_increment_(offset|increment)|group_replication_(local_address|group_seeds|member_weight|bootstrap_group)"
)
"""Variables in which the members of a group differ without anything being wrong: who and where each is, what it does
just now, and what it is called in a switch; versions are a check of their own."""

_SIZED = frozenset({"back_log", "host_cache_size", "thread_cache_size"})
"""What a server sizes after max_connections when it starts: members that started before that was changed have another
value. One that is written down is held against that all the same."""


def judge_members_settings(servers: Sequence[Server]) -> list[Finding]:
    """Compare the members' settings with each other."""
    known = answering(servers)
    if len(known) < 2:
        return []
    names = set.intersection(*(set(server.settings) for server in known))
    apart = []
    for name in sorted(each for each in names - _SIZED if not _OWN.fullmatch(each)):
        values = {server.pod: server.settings[name] for server in known}
        if len(set(values.values())) > 1:
            apart.append(f"{name}: {_told(values)}")
    if not apart:
        return [Finding("settings", OK, f"the same on {len(known)} members ({len(names)} variables)")]
    return [
        Finding(
            "settings",
            WARNING,
            f"members differ: {'; '.join(apart[:5])}" + (f"; and {len(apart) - 5} more" if len(apart) > 5 else ""),
            "the cluster behaves otherwise after the next failover",
            MEND,
        )
    ]


def _told(values: Mapping[str, str]) -> str:
    """Say who differs from the most: ``demo-1 has 200, the others 151``."""
    ((usual, count), *_) = Counter(values.values()).most_common()
    odd = [f"{pod} has {value!r}" for pod, value in values.items() if value != usual]
    if count == 1:
        return ", ".join(f"{pod} has {value!r}" for pod, value in values.items())
    return f"{', '.join(odd)}, the others {usual!r}"


def judge_wanted_settings(servers: Sequence[Server], spec: str, file: str | None) -> list[Finding]:
    """Hold the members against the configuration that was written down.

    Args:
        servers: as they are.
        spec: ``spec.mycnf`` of the InnoDBCluster.
        file: what the cluster's ConfigMap holds of it; None where it could not be read.
    """
    written = settings_of(spec)
    mounted = written if file is None else settings_of(file)
    names = sorted({*written, *mounted})
    apart = [
        f"{name}: spec.mycnf has {_or_nothing(written.get(name))}, the ConfigMap {_or_nothing(mounted.get(name))}"
        for name in names
        if not same(written.get(name, ""), mounted.get(name, ""))
    ]
    found = []
    if apart:
        means = "the operator ignores a changed spec.mycnf: servers start with what the ConfigMap has"
        found.append(Finding("configuration", WARNING, first(apart), means, MEND))
    missed = [
        f"{server.pod} runs with {name}={server.settings[name]}, not {value}"
        for server in answering(servers)
        for name, value in sorted(mounted.items())
        if name in server.settings and not agrees(name, value, server.settings)
    ]
    if missed:
        means = "the value that was written down is not in force, or goes at the next restart"
        found.append(Finding("configuration", WARNING, first(missed), means, f"{MEND}; or rolling-restart"))
    if names and not found and answering(servers):
        found.append(Finding("configuration", OK, f"{len(names)} settings as written down, on every member"))
    return found


def _or_nothing(value: str | None) -> str:
    return "nothing" if value is None else value


def judge_pending_settings(servers: Sequence[Server]) -> list[Finding]:
    """Return what was persisted and is not in force: it takes effect at the next start."""
    pending = [
        f"{server.pod}: {name}={value} (now {server.settings[name]})"
        for server in answering(servers)
        for name, value in sorted(server.persisted.items())
        if name in server.settings and not _OWN.fullmatch(name) and not same(value, server.settings[name])
    ]
    if not pending:
        return []
    means = "it takes effect at that server's next start, whenever that is"
    return [Finding("pending settings", WARNING, first(pending), means, "rolling-restart")]
