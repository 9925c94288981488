"""What a server, its configuration and its accounts have that the wanted version has not. Pure functions.

A part of what MySQL Shell's util.checkForServerUpgrade() looks for: what keeps a member from starting, clients from
logging in, or statements from working. Names and series are from the release notes and, for 9.7, from the variables
that mysqld 9.7.4 lists (tried).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps.mysql.cnf import loose_in, settings_of
from steps.mysql.upgrade_path import Version

REMOVED: dict[tuple[int, int], tuple[str, ...]] = {
    (8, 3): (
        "character_set_client_handshake",
        "expire_logs_days",
        "group_replication_ip_whitelist",
        "log_bin_use_v1_row_events",
        "master_info_repository",
        "relay_log_info_file",
        "relay_log_info_repository",
        "skip_host_cache",
        "slave_rows_search_algorithms",
        "transaction_write_set_extraction",
    ),
    (8, 4): (
        "abort_slave_event_count",
        "admin_ssl",
        "avoid_temporal_upgrade",
        "binlog_transaction_dependency_tracking",
        "default_authentication_plugin",
        "keyring_file_data",
        "new",
        "old",
        "show_old_temporals",
        "skip_ssl",
        "ssl",
    ),
    (9, 0): ("mysql_native_password", "mysql_native_password_proxy_users"),
    # At the latest: 9.7.4 does not have them any more.
    (9, 7): (
        "group_replication_view_change_uuid",
        "innodb_log_file_size",
        "innodb_log_files_in_group",
        "innodb_undo_tablespaces",
        "replica_parallel_type",
        "slave_parallel_type",
        "temptable_use_mmap",
    ),
}
"""Settings that a series does not know any more: with one of them in its configuration mysqld does not start."""

PLUGINS: dict[tuple[int, int], tuple[str, ...]] = {
    (8, 4): ("authentication_fido", "keyring_file", "keyring_encrypted_file", "keyring_oci"),
    (9, 0): ("mysql_native_password",),
}
"""Plugins that a series does not have any more."""

NATIVE = "mysql_native_password"
GONE_FUNCTIONS: dict[tuple[int, int], tuple[str, ...]] = {(9, 7): ("md5", "sha1", "sha")}
"""SQL functions that a series does not have any more (9.7.4, tried)."""


@dataclass(frozen=True)
class Finding:
    """Something that speaks against an upgrade, or that whoever does it should know.

    Attributes:
        name: short, the same for all of its kind: what `accept` takes.
        seen: what was seen, and where.
        means: what would come of it, and what to do.
        stops: whether the upgrade does not begin unless it is accepted.
    """

    name: str
    seen: str
    means: str
    stops: bool = True

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.name}: {self.seen}; {self.means}"


@dataclass(frozen=True)
class Inventory:
    """What was found on the servers and in the cluster's objects.

    Attributes:
        cnf: text of each configuration, by where it stands.
        persisted: names that each server has in its mysqld-auto.cnf, by pod.
        accounts: authentication plugin to the accounts that use it, as user@host.
        plugins: names of the plugins that are active on any server.
        code: stored program, view or generated column to its text.
        drift: what the ConfigMap of the servers says otherwise than spec.mycnf.
        skipped: what could not be looked at, and why.
    """

    cnf: Mapping[str, str] = field(default_factory=dict)
    persisted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    accounts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    plugins: frozenset[str] = frozenset()
    code: Mapping[str, str] = field(default_factory=dict)
    drift: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


ACCEPTABLE = ("series", "downgrade", "removed-setting", "account", "plugin", "function")
"""Findings that a person may accept."""


def gone(table: Mapping[tuple[int, int], Sequence[str]], current: Version, target: Version) -> dict[str, str]:
    """Return what of a table is lost on the way from one version to another, and in which series."""
    return {
        name: ".".join(map(str, series))
        for series, names in table.items()
        if current.series < series <= target.series
        for name in names
    }


def findings(found: Inventory, current: Version, target: Version) -> list[Finding]:
    """Return everything that was noticed, the worst first."""
    made = [*_settings(found, current, target), *_accounts(found, current, target), *_plugins(found, current, target)]
    made += [*_code(found, current, target), *_direction(current, target)]
    made += [
        Finding(
            "configuration",
            line,
            "with a change of version the operator writes the ConfigMap anew from spec.mycnf: put into spec.mycnf what "
            "has to stay",
            stops=False,
        )
        for line in found.drift
    ]
    made += [Finding("not-looked-at", line, "look at it yourself", stops=False) for line in found.skipped]
    return sorted(made, key=lambda one: not one.stops)


def _direction(current: Version, target: Version) -> list[Finding]:
    if current.series != target.series:
        means = (
            "once a server has run it there is no way back in place, only forward or into a new cluster from a backup: "
            "accept that with accept=series"
        )
        return [Finding("series", f"{target} is of another series than {current}", means)]
    if target < current:
        means = "MySQL allows it as long as no feature of the newer release is in use: accept it with accept=downgrade"
        return [Finding("downgrade", f"{target} is older than {current}", means)]
    return []


def _settings(found: Inventory, current: Version, target: Version) -> list[Finding]:
    lost, places = gone(REMOVED, current, target), dict[str, list[str]]()
    for where, text in found.cnf.items():
        loose = loose_in(text)
        for name in sorted(set(settings_of(text)) & set(lost)):
            if name not in loose:
                places.setdefault(name, []).append(where)
    for pod, names in found.persisted.items():
        for name in sorted(names & set(lost)):
            places.setdefault(name, []).append(f"mysqld-auto.cnf of {pod}")
    return [
        Finding(
            "removed-setting",
            f"{name} stands in {', '.join(where)}",
            f"series {lost[name]} does not know it, and mysqld does not start with it: take it out (set-config; RESET "
            "PERSIST)",
        )
        for name, where in places.items()
    ]


def _accounts(found: Inventory, current: Version, target: Version) -> list[Finding]:
    lost = gone(PLUGINS, current, target)
    made = []
    for plugin, accounts in sorted(found.accounts.items()):
        few = ", ".join(accounts[:5]) + (f" and {len(accounts) - 5} more" if len(accounts) > 5 else "")
        if plugin in lost:
            means = f"series {lost[plugin]} has no such plugin, so they cannot log in: ALTER USER ... IDENTIFIED WITH "
            made.append(Finding("account", f"{few} log in with {plugin}", f"{means}caching_sha2_password"))
        elif plugin == NATIVE and current.series < (8, 4) <= target.series and not _turned_on(found):
            means = "8.4 has it turned off: set mysql_native_password=ON, or ALTER USER to caching_sha2_password"
            made.append(Finding("account", f"{few} log in with {plugin}", means))
        elif plugin == "sha256_password":
            means = "it is deprecated, and a later series will not have it: caching_sha2_password"
            made.append(Finding("account", f"{few} log in with {plugin}", means, stops=False))
    return made


def _turned_on(found: Inventory) -> bool:
    said = [settings_of(text).get(NATIVE, "") for text in found.cnf.values()]
    return any(value.upper() in ("ON", "1", "FORCE") for value in said)


def _plugins(found: Inventory, current: Version, target: Version) -> list[Finding]:
    lost = gone({key: [one for one in names if one != NATIVE] for key, names in PLUGINS.items()}, current, target)
    return [
        Finding("plugin", f"plugin {name} is active", f"series {lost[name]} does not have it: move to its component")
        for name in sorted(found.plugins & set(lost))
    ]


def _code(found: Inventory, current: Version, target: Version) -> list[Finding]:
    lost = gone(GONE_FUNCTIONS, current, target)
    made = []
    for name, series in lost.items():
        users = sorted(what for what, text in found.code.items() if re.search(rf"\b{name}`?\s*\(", text, re.IGNORECASE))
        if users:
            few = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
            means = f"series {series} has no such function: use SHA2() there"
            made.append(Finding("function", f"{name.upper()}() is called by {few}", means))
    return made
