"""One image for every container of a cluster on real Kubernetes: ``python -m tiphys.local.operator.entrypoint ROLE``.

On the local platform the kubelet decides by an image's name what a container runs; here the container's command names
the role, and the process becomes what the local kubelet would have started (`images.launch`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiphys.local.kubelet.launch import Launch
from tiphys.local.mysql_versions import default_version
from tiphys.local.operator import names
from tiphys.local.operator.backups import AWS_FOLDER
from tiphys.local.operator.dressing import POD
from tiphys.local.operator.images import launch

IMAGES = {
    "initmysql": names.SERVER_IMAGE,
    "server": names.SERVER_IMAGE,
    "router": names.ROUTER_IMAGE,
    "sidecar": names.OPERATOR_IMAGE,
    "backup": names.OPERATOR_IMAGE,
}
"""Which of Oracle's images a role stands for."""

FOLDERS = {
    # Below the volume's own folder, which cannot be replaced whole, and where a file system may have its own files.
    "/var/lib/mysql": Path("/var/lib/mysql/data"),
    "/var/run/mysqld": Path("/var/run/mysqld"),
    "/etc/my.cnf.d": Path("/etc/my.cnf.d"),
    AWS_FOLDER: Path(AWS_FOLDER),
}
"""Where what is mounted there is used."""


class NotARole(Exception):
    """The command line or the environment is not one of a container of a cluster; the message says what is."""


def launch_of(argv: Sequence[str], environ: Mapping[str, str], version: str) -> Launch:
    """Return what a container runs.

    Args:
        argv: the role and the container's own arguments.
        environ: the container's variables.
        version: of the MySQL in this image.

    Raises:
        NotARole: no such role, or the container is not told what its pod is.
        LaunchError: what the role needs is not there.
    """
    role, args = (argv[0] if argv else ""), list(argv[1:])
    if role not in IMAGES:
        raise NotARole(f"no role {role!r}: the roles are operator, {', '.join(sorted(IMAGES))}")
    if missing := [name for name in POD if not environ.get(name)]:
        raise NotARole(f"role {role} needs {', '.join(missing)} from its pod's fields, as the operator writes its pods")
    container = {
        "name": role,
        "image": f"{IMAGES[role]}:{version}",
        "command": [role, *args] if role == "backup" else [],
        "args": args,
        "env": [{"name": name, "value": value} for name, value in environ.items()],
    }
    pod: dict[str, dict[str, str]] = {"metadata": {}, "status": {}}
    for name, path in POD.items():
        part, _, key = path.partition(".")
        pod[part][key] = environ[name]
    return launch(container, pod, FOLDERS, None)


def main(argv: Sequence[str] | None = None) -> int:
    """Become the process of a role; the operator's runs here."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["operator"]:
        from tiphys.local.operator.__main__ import run_in_cluster

        return run_in_cluster()
    try:
        made = launch_of(words, os.environ, default_version())
    except NotARole as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    program = str(made.argv[0])
    os.execvpe(program, list(made.argv), {**os.environ, "TIPHYS_ROOT": "/", **made.env})


if __name__ == "__main__":
    sys.exit(main())
