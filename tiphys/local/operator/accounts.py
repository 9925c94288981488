"""SQL of the accounts: those that every server has of its own, and those that the group carries."""

from __future__ import annotations

from dataclasses import dataclass

from tiphys.local.operator import names
from tiphys.local.operator.metadata import SCHEMA
from tiphys.local.operator.sql import Session

Statement = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Account:
    """An account with a password.

    Attributes:
        user: name.
        password: in clear; it comes from a Secret and goes nowhere else.
        host: from where it may come.
    """

    user: str
    password: str
    host: str = "%"


def account(secret: dict[str, str], user_key: str, password_key: str) -> Account:
    """Read an account from a Secret's values.

    Raises:
        KeyError: the Secret lacks a key.
    """
    return Account(secret[user_key], secret[password_key])


def root_account(secret: dict[str, str]) -> Account:
    """Read the root account from the user's Secret; rootUser and rootHost have defaults as in the real operator.

    Raises:
        KeyError: there is no rootPassword.
    """
    return Account(secret.get("rootUser") or "root", secret["rootPassword"], secret.get("rootHost") or "%")


def _with_password(who: Account) -> list[Statement]:
    return [
        ("CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s", (who.user, who.host, who.password)),
        # Data of an earlier cluster may know the account with another password.
        ("ALTER USER %s@%s IDENTIFIED BY %s", (who.user, who.host, who.password)),
    ]


def _superuser(user: str, host: str) -> list[Statement]:
    return [
        ("GRANT ALL ON *.* TO %s@%s WITH GRANT OPTION", (user, host)),
        ("GRANT PROXY ON ''@'' TO %s@%s WITH GRANT OPTION", (user, host)),
    ]


def local_statements(root: Account, admin: Account, recovery: Account, system_user: str) -> list[Statement]:
    """Return what makes the accounts that a server needs before it can be in any group.

    Args:
        root: the user's root account.
        admin: the operator's account.
        recovery: the account by which members join and copy from each other.
        system_user: the operating system's user that may be `localroot` through the socket.
    """
    statements = [*_with_password(root), *_superuser(root.user, root.host)]
    statements += [*_with_password(admin), *_superuser(admin.user, admin.host)]
    privileges = (
        "REPLICATION SLAVE, BACKUP_ADMIN, CLONE_ADMIN, CONNECTION_ADMIN, SERVICE_CONNECTION_ADMIN,"
        " GROUP_REPLICATION_STREAM"
    )
    statements += _with_password(recovery)
    statements.append((f"GRANT {privileges} ON *.* TO %s@%s", (recovery.user, recovery.host)))
    for user in (names.LOCAL_ROOT, names.HEALTH_USER):
        statements.append(
            (f"CREATE USER IF NOT EXISTS {user}@localhost IDENTIFIED WITH auth_socket AS %s", (system_user,))
        )
    statements += _superuser(names.LOCAL_ROOT, "localhost")
    if (root.user, root.host) != ("root", "localhost"):
        statements.append(("DROP USER IF EXISTS root@localhost", ()))
    return statements


def create_local(session: Session, statements: list[Statement]) -> None:
    """Run `local_statements` on a server that is in no group.

    Without the binary log, because every server makes these for itself: logged, they would be transactions
    that only this server has, and the group would refuse it. On a live group that would be wrong.
    """
    session.run("SET sql_log_bin=0", "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
    for statement, values in statements:
        session.rows(statement, values)
    session.run("SET GLOBAL super_read_only=ON", "SET sql_log_bin=1")


def group_statements(router: Account, backup: Account) -> list[Statement]:
    """Return what makes the accounts that the group carries: Router's and the backups'."""
    who = (router.user, router.host)
    statements = _with_password(router)
    statements.append((f"GRANT SELECT, EXECUTE ON {SCHEMA}.* TO %s@%s", who))
    for table in ("routers", "v2_routers"):
        statements.append((f"GRANT INSERT, UPDATE, DELETE ON {SCHEMA}.{table} TO %s@%s", who))
    for table in ("replication_group_members", "replication_group_member_stats", "global_variables"):
        statements.append((f"GRANT SELECT ON performance_schema.{table} TO %s@%s", who))
    who = (backup.user, backup.host)
    statements += _with_password(backup)
    statements.append(("GRANT SELECT, SHOW DATABASES, SHOW VIEW, LOCK TABLES, RELOAD ON *.* TO %s@%s", who))
    statements.append(("GRANT BACKUP_ADMIN, SHOW_ROUTINE ON *.* TO %s@%s", who))
    return statements
