"""Settings of a running cluster, as a person asks for them: read and judged. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.errors import BadParameters
from steps.mysql import cnf
from steps.mysql.definition import OURS

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")
"""Of a variable; those of a component are named after it, such as validate_password.length."""
DEFAULT = "DEFAULT"
"""Asks for what the server has where nobody says anything else."""
_SIZE = re.compile(r"(\d+)([KMGTPE])", re.IGNORECASE)
_UNITS = "KMGTPE"
_SEPARATOR = re.compile(r"""('[^'\n]*'|"[^"\n]*")|[^\S\n]*;[^\S\n]*""")

_OPERATORS = "the operator sets it, and each member has to have its own or the same"
_OTHERS = "another runbook or the group itself changes it"
_DATA = "the data files were made with it, and the server does not start with another value"
_ACCESS = "it decides who gets into the server"
_GROUP = "group replication does not work without it"
_FILES = "it says which files the server touches"
_NO_OPTION = "a my.cnf cannot have it: no server would start with it; sessions set it for themselves"
_TOLD = "it only tells what the server is"

FORBIDDEN: dict[str, str] = {
    **dict.fromkeys(
        (
            "group_replication_group_name",
            "group_replication_local_address",
            "group_replication_group_seeds",
            "group_replication_communication_stack",
            "group_replication_ip_allowlist",
            "group_replication_view_change_uuid",
            "group_replication_start_on_boot",
            "group_replication_bootstrap_group",
            "group_replication_force_members",
            "group_replication_advertise_recovery_endpoints",
            "skip_replica_start",
            "mysqlx_port",
            "log_bin",
            "auto_increment_increment",
            "auto_increment_offset",
        ),
        _OPERATORS,
    ),
    **dict.fromkeys(
        (
            "group_replication_single_primary_mode",
            "group_replication_enforce_update_everywhere_checks",
            "read_only",
            "super_read_only",
            "offline_mode",
            "gtid_purged",
            "gtid_executed",
        ),
        _OTHERS,
    ),
    **dict.fromkeys(("lower_case_table_names", "innodb_page_size"), _DATA),
    **dict.fromkeys(("innodb_read_only", "innodb_force_recovery"), "a member in that state cannot serve its group"),
    **dict.fromkeys(
        ("mandatory_roles", "authentication_policy", "admin_address", "admin_port", "partial_revokes"), _ACCESS
    ),
    **dict.fromkeys(("tmpdir", "innodb_tmpdir", "replica_load_tmpdir"), _FILES),
    **dict.fromkeys(("relay_log", "relay_log_index", "log_bin_index", "innodb_redo_log_archive_dirs"), _FILES),
    # Of 9.7.4: variables without an option of the same name (tried).
    **dict.fromkeys(
        (
            "character_set_client",
            "character_set_connection",
            "character_set_database",
            "character_set_results",
            "collation_connection",
            "collation_database",
            "default_collation_for_utf8mb4",
            "foreign_key_checks",
            "max_insert_delayed_threads",
            "profiling",
            "sql_auto_is_null",
            "sql_big_selects",
            "sql_buffer_result",
            "sql_log_off",
            "sql_notes",
            "sql_quote_show_create",
            "sql_replica_skip_counter",
            "sql_safe_updates",
            "sql_select_limit",
            "sql_warnings",
            "unique_checks",
        ),
        _NO_OPTION,
    ),
    **dict.fromkeys(
        (
            "build_id",
            "character_set_system",
            "gtid_owned",
            "hostname",
            "innodb_version",
            "large_files_support",
            "large_page_size",
            "license",
            "locked_in_memory",
            "log_bin_basename",
            "lower_case_file_system",
            "protocol_version",
            "relay_log_basename",
            "server_uuid",
            "system_time_zone",
            "version",
            "version_comment",
            "version_compile_machine",
            "version_compile_os",
            "version_compile_zlib",
        ),
        _TOLD,
    ),
    "disabled_storage_engines": "tables that a group cannot replicate could be made",
    **dict.fromkeys(("log_replica_updates", "skip_log_bin", "sql_log_bin"), _GROUP),
}
"""Settings that must not be changed here at all, and why, beside those of :data:`steps.mysql.definition.OURS`."""

ONLY: dict[str, tuple[frozenset[str], str]] = {
    "binlog_format": (frozenset({"ROW"}), "group replication takes rows only"),
    "replica_preserve_commit_order": (frozenset({"ON", "1"}), "members would commit in different orders"),
    "default_storage_engine": (frozenset({"INNODB"}), "a group replicates InnoDB tables only"),
}
"""Settings with the only values that are safe for a group (in capitals), and why."""

_OURS = {
    re.compile(".*(plugin|keyring|component).*"): "it decides which code the server loads",
    re.compile(".*(user|bind_address|init_connect|init_replica).*|skip_(grant_tables|networking)|port"): _ACCESS,
    re.compile(r"(.*_)?(file|dir|datadir|basedir|socket|path|directory|directories)|secure_.*|log_error"): _FILES,
}
"""Which of the reasons of :data:`steps.mysql.definition.OURS` applies; else it is the operator's."""

_KINDS = {re.compile(r"(.*_)?ssl_(ca|cert|crl|key)(path)?"): _FILES, re.compile("have_.*"): _TOLD}

RISKY: dict[str, str] = {
    "require_secure_transport": "with OFF, clients may send what they say and read in the clear",
    "tls_version": "a client that speaks none of these is kept out",
    "innodb_flush_log_at_trx_commit": "with another value than 1, a server that crashes may lose what it acknowledged",
    "sync_binlog": "with another value than 1, a server that crashes may lose what it acknowledged",
    "group_replication_consistency": "it decides what readers of a secondary may see, and how long writes wait",
    "transaction_isolation": "SERIALIZABLE is not supported where a group has several primaries",
}
"""Settings that may be changed, with what whoever does so should know."""


@dataclass(frozen=True)
class Setting:
    """One setting that is asked for.

    Attributes:
        name: of the variable, with underscores.
        value: a number where it is one (sizes such as 1G in bytes), else the text.
        written: the value as it was written, for a my.cnf.
        is_bare: whether only the name was written, which switches on.
        is_default: whether the server's own default is asked for, and nothing is to be written down.
    """

    name: str
    value: int | float | str
    written: str
    is_bare: bool = False
    is_default: bool = False


def parse(text: str) -> list[Setting]:
    """Return the settings in a text: ``name=value``, on lines or separated by semicolons, or a piece of a my.cnf.

    ``name=DEFAULT`` asks for the server's default. ``name=`` is the empty text, which is a value of its own (sql_mode).

    Raises:
        BadParameters: a line is no setting, a section is not mysqld's, or a variable is given twice.
    """
    found: dict[str, Setting] = {}
    # A value in quotes may have semicolons in it.
    for line in cnf.read(_SEPARATOR.sub(lambda found: found[1] or "\n", text), "mysqld"):
        if not line.is_servers:
            raise BadParameters(
                f"settings: section [{line.section}] is not the server's; give only settings of [mysqld]"
            )
        is_text = bool(line.name) or line.value is not None or line.raw.strip().startswith("!")
        if is_text and not _NAME.fullmatch(line.name):
            raise BadParameters(
                f"settings: {line.raw.strip()[:60]!r} is no setting; give name=value, one a line or between semicolons"
            )
        if line.name in found:
            was = found[line.name].written
            raise BadParameters(f"settings: {line.name} is given twice ({was!r} and {line.written!r}); say which")
        if line.name:
            default = line.written.upper() == DEFAULT
            written = DEFAULT if default else line.written
            found[line.name] = Setting(line.name, _typed(written), written, line.value is None, default)
    if not found:
        raise BadParameters("settings: there is none in it; give name=value, such as max_connections=300")
    return list(found.values())


def of_names(settings: Mapping[str, str]) -> list[Setting]:
    """Return settings that a my.cnf has, from name to value (:func:`steps.mysql.cnf.settings_of`)."""
    return [Setting(name, _typed(written), written) for name, written in settings.items()]


def _typed(written: str) -> int | float | str:
    if size := _SIZE.fullmatch(written):
        return int(size[1]) << 10 * (_UNITS.index(size[2].upper()) + 1)
    if re.fullmatch(r"[+-]?\d+", written):
        return int(written)
    return float(written) if re.fullmatch(r"[+-]?\d+\.\d+", written) else written


def forbidden(settings: Sequence[Setting]) -> list[str]:
    """Return why settings must not be changed here, a sentence for each that must not."""
    found = []
    for one in settings:
        name = one.name.replace("slave", "replica")  # both say the same variable
        own = name.rpartition(".")[2]  # without the component's name
        if OURS.fullmatch(name) or OURS.fullmatch(own):
            says = (why for names, why in _OURS.items() if names.fullmatch(name) or names.fullmatch(own))
            why = next(says, _OPERATORS)
            found.append(f"{one.name} must not be changed here: {why}")
        elif why := FORBIDDEN.get(name) or next((why for names, why in _KINDS.items() if names.fullmatch(name)), ""):
            found.append(f"{one.name} must not be changed here: {why}")
        elif name in ONLY and one.written.upper() not in ONLY[name][0]:
            values, why = ONLY[name]
            found.append(f"{one.name}={one.written}: {why}; allowed: {', '.join(sorted(values))}")
    return found


def warnings(settings: Sequence[Setting]) -> list[str]:
    """Return what whoever changes these settings should know."""
    return [f"{one.name}: {RISKY[one.name]}" for one in settings if one.name in RISKY]
