"""The fault `freeze`: the primary's mysqld is stopped where it stands (SIGSTOP), and goes on later (SIGCONT).

Nobody inside a container can stop its process 1: the kernel ignores a SIGSTOP from there. So this fault needs a server
that is not process 1 of its container, which is so on the local platform, and where the pod shares one process
namespace.
"""

from __future__ import annotations

import shlex
from typing import Any

from steps.drill.evidence import Evidence, Process, Proof, Target, no_answer
from steps.drill.fault import Fault, Scene
from steps.drill.samples import pod_sample
from steps.errors import StepError
from steps.mysql.connection import SERVER_PORT, query, session
from steps.mysql.topology import Topology

STOPPED = "T"
"""State of a stopped process in `/proc/PID/stat`."""
GONE = "gone"
"""What the scripts say of a process that has ended."""

# The name in the second field may have blanks, so fields are counted from behind it: state is 1st, start is 20th.
_LOOK = 'look() { read -r line < "/proc/$1/stat" || return 1; set -- ${line##*) }; state=$1 started=${20}; }\n'
_IDENTIFY = _LOOK + 'pid=$(cat %s) && look "$pid" && echo "$pid $started"'
_SIGNAL = (
    _LOOK
    + """look %(pid)d 2>/dev/null && [ "$started" = %(started)d ] || { echo gone; exit 0; }
before=$state
kill -%(signal)s %(pid)d || exit 1
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  look %(pid)d 2>/dev/null && [ "$started" = %(started)d ] || { echo gone; exit 0; }
  [ "$state" %(until)s T ] && break
  sleep 0.1
done
echo "$before $state"
"""
)
_STATE = (
    _LOOK
    + """look %(pid)d 2>/dev/null && [ "$started" = %(started)d ] || { echo gone; exit 0; }
echo "$state"
"""
)
_SECONDS = 15.0
"""How long a command in the container may take."""


class Freeze(Fault):
    """mysqld is stopped and goes on later: what a primary that hangs costs the clients."""

    name = "freeze"
    event = "the primary's mysqld was frozen"
    lasts = True

    def process(self, scene: Scene, topology: Topology) -> Process | None:
        """Return mysqld's process, from its own pid file."""
        primary = topology.primary
        assert primary is not None
        with session(primary.address, SERVER_PORT, scene.credentials, what=primary.pod) as connection:
            pid_file = str(query(connection, "SELECT @@pid_file")[0][0])
        pid, started = _run(scene, primary.pod, _IDENTIFY % shlex.quote(pid_file)).split()
        return Process(int(pid), int(started))

    def obstacles(self, target: Target) -> list[str]:
        """Refuse a server that is process 1 of its container: it could not be stopped, and the drill would be void."""
        if target.process is None or target.process.pid != 1:
            return []
        return [
            f"mysqld is process 1 of container mysql in {target.pod}, which nobody in that container can stop: the "
            "kernel ignores such a SIGSTOP. Take fault=crash, or an InnoDBCluster that was created with "
            "spec.podSpec.shareProcessNamespace: true"
        ]

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        return f"kill -STOP of mysqld in container mysql of {target.pod}, and kill -CONT after hold-seconds"

    def inject(self, scene: Scene, target: Target) -> str | None:
        """Stop the process, and see that it has stopped."""
        assert target.process is not None
        state = _signal(scene, target.pod, target.process, "STOP")
        if state[-1] != STOPPED:
            raise StepError(f"mysqld in {target.pod} did not stop: its state is {state[-1]}, expected {STOPPED}")
        return f"process {target.process.pid} (mysqld) of {target.pod} is in state {STOPPED} (stopped)"

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the state of the process, and by the server that answers no more."""
        silent = no_answer(target, evidence)
        if not evidence.witness or silent is None:
            return None
        # The server was stopped by the time its state was read, and may be seen silent only a second later.
        first, last = sorted((silent, evidence.witnessed_at))
        return Proof(first, last, f"{evidence.witness}; it no longer answers")

    def stop(self, scene: Scene, target: Target) -> None:
        """Let the process go on, and see that it does."""
        assert target.process is not None
        _thaw(scene, target.pod, target.before.uid, target.before.container, target.process)

    def ended(self, scene: Scene, target: Target) -> str:
        """Look at the very process: it goes on, or it is gone."""
        assert target.process is not None
        process, pod = target.process, target.pod
        if not _is_there(scene, pod, target.before.uid, target.before.container):
            return f"the container of {pod} that was frozen is gone, and its mysqld with it"
        state = _run(scene, pod, _STATE % {"pid": process.pid, "started": process.started}).strip()
        if state == STOPPED:
            raise StepError(
                f"mysqld (process {process.pid}) in {pod} is still stopped (state {STOPPED}): delete the pod"
            )
        if state == GONE:
            return f"mysqld (process {process.pid}) of {pod} is gone"
        return f"mysqld (process {process.pid}) of {pod} goes on: it is in state {state}"

    def undo(self, scene: Scene, before: dict[str, Any]) -> list[str]:
        """Let the very process go on that was to be frozen; nothing where it is gone or goes on already."""
        try:
            process = Process(int(before["process"]["pid"]), int(before["process"]["started"]))
            pod, uid, container = (str(before[key]) for key in ("primary", "uid", "container"))
        except (KeyError, TypeError, ValueError):
            return []  # noted by somebody who froze nothing
        return _thaw(scene, pod, uid, container, process)


def _thaw(scene: Scene, pod: str, uid: str, container: str, process: Process) -> list[str]:
    """Let a process go on and return what was done; nothing where it, its container or its pod is gone.

    Raises:
        StepError: it is still stopped, or nobody can tell.
    """
    if not _is_there(scene, pod, uid, container):
        return []
    state = _signal(scene, pod, process, "CONT")
    if state[-1] == STOPPED:
        raise StepError(f"mysqld (process {process.pid}) in {pod} is still stopped after SIGCONT: delete the pod")
    return [f"mysqld (process {process.pid}) in {pod} goes on"] if state[0] == STOPPED else []


def _is_there(scene: Scene, pod: str, uid: str, container: str) -> bool:
    """Tell whether that very container still runs, as far as the API server knows."""
    found = scene.kube.find("pods", pod)
    now = pod_sample(0.0, found) if found is not None else None
    return now is not None and now.uid == uid and now.container == container


def _signal(scene: Scene, pod: str, process: Process, signal: str) -> list[str]:
    """Send STOP or CONT to a process and return its state before and after; `gone` for one that has ended."""
    until = "=" if signal == "STOP" else "!="
    script = _SIGNAL % {"pid": process.pid, "started": process.started, "signal": signal, "until": until}
    return _run(scene, pod, script).split()


def _run(scene: Scene, pod: str, script: str) -> str:
    done = scene.kube.execute(pod, "mysql", ["sh", "-c", script], timeout=_SECONDS)
    if done.exit_code or not done.stdout.strip():
        raise StepError(
            f"A command in container mysql of {pod} failed with exit code {done.exit_code}: {done.stderr[:300]}"
        )
    return done.stdout
