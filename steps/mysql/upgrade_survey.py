"""Reads from servers and objects what an upgrade may break."""

from __future__ import annotations

from collections.abc import Mapping

from steps.errors import StepError
from steps.kube.client import Kube, Object
from steps.mysql.cnf import same, settings_of
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.topology import Topology
from steps.mysql.upgrade_checks import Inventory
from steps.mysql.upgrade_path import Version, parse

VERSION_SQL = "SELECT @@global.version"
PERSISTED_SQL = "SELECT variable_name FROM performance_schema.persisted_variables"
PLUGINS_SQL = "SELECT plugin_name FROM information_schema.plugins WHERE plugin_status = 'ACTIVE'"
ACCOUNTS_SQL = (
    "SELECT plugin, CONCAT(user, '@', host) FROM mysql.user"
    " WHERE user NOT IN ('mysql.sys', 'mysql.session', 'mysql.infoschema') ORDER BY user, host"
)
_SYSTEM = "('mysql', 'sys', 'information_schema', 'performance_schema', 'mysql_innodb_cluster_metadata')"
CODE_SQL = (
    f"SELECT CONCAT('view ', table_schema, '.', table_name), view_definition FROM information_schema.views"
    f" WHERE table_schema NOT IN {_SYSTEM}"
    f" UNION ALL SELECT CONCAT(LOWER(routine_type), ' ', routine_schema, '.', routine_name), routine_definition"
    f" FROM information_schema.routines WHERE routine_schema NOT IN {_SYSTEM}"
    f" UNION ALL SELECT CONCAT('trigger ', trigger_schema, '.', trigger_name), action_statement"
    f" FROM information_schema.triggers WHERE trigger_schema NOT IN {_SYSTEM}"
    f" UNION ALL SELECT CONCAT('event ', event_schema, '.', event_name), event_definition"
    f" FROM information_schema.events WHERE event_schema NOT IN {_SYSTEM}"
    f" UNION ALL SELECT CONCAT('column ', table_schema, '.', table_name, '.', column_name),"
    f" CONCAT(COALESCE(generation_expression, ''), ' ', COALESCE(column_default, '')) FROM information_schema.columns"
    f" WHERE table_schema NOT IN {_SYSTEM} AND (generation_expression <> '' OR extra LIKE '%DEFAULT_GENERATED%')"
    f" UNION ALL SELECT CONCAT('check ', constraint_schema, '.', constraint_name), check_clause"
    f" FROM information_schema.check_constraints WHERE constraint_schema NOT IN {_SYSTEM}"
)
CLUSTER_CNF = "99-extra.cnf"
"""Key of the ConfigMap that is made from spec.mycnf."""


def server_versions(topology: Topology, credentials: Credentials) -> dict[str, Version]:
    """Return what each member says its version is, by pod: the server's own ``@@version``, not its image's tag.

    Raises:
        StepError: a member does not answer, or says no version.
    """
    found = {}
    for member in topology.members:
        with session(member.address, SERVER_PORT, credentials, what=f"server {member.pod}") as connection:
            said = str(query(connection, VERSION_SQL)[0][0])
        version = parse(said)
        if version is None:
            raise StepError(f"server {member.pod} says its version is {said!r}, expected one such as 9.7.4")
        found[member.pod] = version
    return found


def survey(kube: Kube, cluster: Object, topology: Topology, credentials: Credentials) -> Inventory:
    """Return what there is on the servers and in the cluster's objects; what cannot be read is named in it."""
    name = str(cluster["metadata"]["name"])
    cnf = {"spec.mycnf": str(cluster["spec"].get("mycnf") or "")}
    files, skipped = _initconf(kube, name)
    cnf |= {f"ConfigMap {name}-initconf, {key}": text for key, text in files.items() if key.endswith(".cnf")}
    persisted: dict[str, frozenset[str]] = {}
    plugins: set[str] = set()
    for member in topology.members:
        with session(member.address, SERVER_PORT, credentials, what=f"server {member.pod}") as connection:
            persisted[member.pod] = frozenset(str(row[0]).lower() for row in query(connection, PERSISTED_SQL))
            plugins |= {str(row[0]).lower() for row in query(connection, PLUGINS_SQL)}
    accounts: dict[str, list[str]] = {}
    code: dict[str, str] = {}
    if topology.primary is not None:
        primary = topology.primary
        with session(primary.address, SERVER_PORT, credentials, what=f"primary {primary.pod}") as connection:
            for plugin, account in query(connection, ACCOUNTS_SQL):
                accounts.setdefault(str(plugin), []).append(str(account))
            code = {str(what): str(text or "") for what, text in query(connection, CODE_SQL)}
    apart = drift(cnf["spec.mycnf"], files.get(CLUSTER_CNF)) if CLUSTER_CNF in files else ()
    return Inventory(cnf, persisted, accounts, frozenset(plugins), code, apart, tuple(skipped))


def drift(wanted: str, there: str | None) -> tuple[str, ...]:
    """Return which settings the ConfigMap has otherwise than spec.mycnf, in words."""
    spec, now = settings_of(wanted), settings_of(there or "")
    return tuple(
        f"{name}: ConfigMap {now.get(name, '(nothing)')}, spec.mycnf {spec.get(name, '(nothing)')}"
        for name in sorted(spec.keys() | now.keys())
        if not same(spec.get(name, ""), now.get(name, ""))
    )


def _initconf(kube: Kube, name: str) -> tuple[Mapping[str, str], list[str]]:
    try:
        return kube.get("configmaps", f"{name}-initconf").get("data") or {}, []
    except StepError as error:
        return {}, [f"ConfigMap {name}-initconf: {error}"]
