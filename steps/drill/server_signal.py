"""Signals to a member's mysqld, sent from within its container."""

from __future__ import annotations

import shlex

from steps.drill.evidence import Target
from steps.drill.fault import Scene
from steps.errors import StepError
from steps.mysql.connection import SERVER_PORT, query, session

KILL = 'if [ "$pid" = 1 ]; then kill -6 1; else kill -9 "$pid"; fi'
"""Ends mysqld at once, whose process number is in `$pid`.

The kernel does not let a container's process 1 be killed by SIGKILL from inside; SIGABRT, for which mysqld has a
handler, ends it as a crash does.
"""


def pid_file(scene: Scene, target: Target) -> str:
    """Ask a server where the number of its process stands."""
    with session(target.before.address, SERVER_PORT, scene.credentials, what=target.pod) as connection:
        return str(query(connection, "SELECT @@pid_file")[0][0])


def signal_server(scene: Scene, target: Target, script: str, *, file: str = "") -> None:
    """Run a line of shell in a member's container, with the number of mysqld's process in `$pid`.

    Args:
        scene: where.
        target: the member.
        script: the line.
        file: where that number stands; the server is asked for it where this is empty.

    Raises:
        StepError: the line failed.
    """
    command = ["sh", "-c", f"pid=$(cat {shlex.quote(file or pid_file(scene, target))}) && {script}"]
    done = scene.kube.execute(target.pod, "mysql", command, timeout=10.0)
    if done.exit_code:
        raise StepError(f"The kill in {target.pod} failed with exit code {done.exit_code}: {done.stderr[:300]}")
