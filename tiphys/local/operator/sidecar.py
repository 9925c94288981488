"""Container `sidecar`: makes a server's own accounts, says that the pod is configured, then sleeps."""

from __future__ import annotations

import os
import pwd
import sys
import time
from collections.abc import Sequence

from tiphys.local.operator import names
from tiphys.local.operator.accounts import Account, account, create_local, local_statements, root_account
from tiphys.local.operator.helper import Api, become_quiet, options, say
from tiphys.local.operator.sql import Session, SqlError

_IN_GROUP = (
    "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state IN ('ONLINE', 'RECOVERING')"
)


_DENIED = (1045, 1130, 1698)
"""Access denied; no account from this host at all; access denied without a password."""


class NotYet(Exception):
    """The server cannot be configured now; the message says why. Try again."""


def configure(address: str, socket: str, root: Account, admin: Account, recovery: Account) -> str:
    """Make the server's own accounts unless it has them; return what was found.

    A server that knows the operator's account is configured. A fresh one lets root in through the socket
    without a password. One with the data of an earlier cluster of the same name knows other passwords: it is
    entered as `localroot`, and given the new ones.

    Raises:
        NotYet: the server does not answer yet, or may not be changed now.
    """
    try:
        with Session(admin.user, admin.password, address=address):
            return "configured already"
    except SqlError as error:
        if error.errno not in _DENIED:  # it is not up yet
            raise NotYet(f"mysqld does not answer: {error}") from error
    system_user = pwd.getpwuid(os.geteuid()).pw_name
    for user, found in (("root", "fresh data"), (names.LOCAL_ROOT, "data of an earlier cluster")):
        try:
            with Session(user, "", socket=socket, read_seconds=30) as session:
                if session.rows(_IN_GROUP) != [(0,)]:
                    raise NotYet("the server is in a group and does not know the operator's account")
                create_local(session, local_statements(root, admin, recovery, system_user))
                return found
        except SqlError as error:
            if error.errno not in _DENIED:
                raise NotYet(f"configuring as {user} failed: {error}") from error
    raise NotYet(
        f"neither {admin.user} nor root nor {names.LOCAL_ROOT} may log in: the data folder belongs to another"
        " server; remove the claim's data or restore its accounts"
    )


def _populate(api: Api, pod: str, admin: Account) -> None:
    """Fill a new cluster's first server as its initDB asks; a failure ends the sidecar, and it is started again."""
    cluster = api.cluster(api.pod(pod)["metadata"]["labels"][names.LABEL_CLUSTER])
    # Imported only here: every other server's sidecar starts without the loader.
    if not (cluster["spec"].get("initDB") and pod.endswith("-0")):
        return
    from tiphys.local.operator import init_db
    from tiphys.local.operator.backup_spec import parse_init

    spec = parse_init(cluster)
    if spec is None or not init_db.wanted(cluster, pod):
        return
    say("initDB", place=f"s3://{spec.place.bucket}/{spec.place.folder()}")
    try:
        rows = init_db.fill(os.environ["POD_IP"], spec, api.secret(spec.place.secret), admin)
    except Exception as error:
        api.event(cluster, "InitDBFailed", f"{pod}: {error}")
        raise
    say("initDB loaded", rows=rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sidecar."""
    given = options("sidecar", argv, "socket")
    api = Api(given.home, given.namespace)
    pod = api.pod(given.pod)
    cluster = pod["metadata"]["labels"][names.LABEL_CLUSTER]
    root = root_account(api.secret(api.cluster(cluster)["spec"]["secretName"]))
    private = api.secret(f"{cluster}-privsecrets")
    admin = account(private, "clusterAdminUsername", "clusterAdminPassword")
    recovery = account(private, "recoveryUsername", "recoveryPassword")
    told = ""
    while True:
        try:
            found = configure(os.environ["POD_IP"], given.socket, root, admin, recovery)
            break
        except NotYet as reason:
            if str(reason)[:60] != told:
                told = str(reason)[:60]
                say("waiting", reason=str(reason))
            time.sleep(0.2)
    _populate(api, given.pod, admin)
    api.set_condition(given.pod, names.GATE_CONFIGURED, True, "Configured")
    say("configured", found=found)
    become_quiet()
    return 0


if __name__ == "__main__":
    sys.exit(main())
