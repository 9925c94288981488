"""Letting a suspended run go on, and ending one: the changes of `argo resume`, `node set`, `stop` and `terminate`.

What they change is read from Argo 4.1.2's workflow/util/util.go. None of them needs Argo's server.
"""

from __future__ import annotations

from collections.abc import Mapping

from steps.errors import BadParameters
from steps.kube.workflows import is_over, never_began, phase_of, resume_patch
from tiphys.runs.api import Cluster, Object
from tiphys.runs.errors import Conflict, ToolError

TRIES = 5
"""The controller writes the run as well, at times in between reading and answering it."""


def let_go_on(cluster: Cluster, name: str, given: Mapping[str, str]) -> None:
    """Let every suspended step of a run go on.

    Args:
        cluster: where the run is.
        name: the run's.
        given: values for the parameters that the suspended steps ask for.

    Raises:
        ToolError: if nothing waits, a value is unknown, not allowed or missing, or the person may not.
    """
    for number in range(1, TRIES + 1):
        try:
            cluster.patch_workflow(name, resume_patch(cluster.workflow(name), given))
            return
        except BadParameters as error:
            raise ToolError(str(error)) from error
        except Conflict as error:
            if number == TRIES:
                raise ToolError(f"run {name} changed each of {TRIES} times that it was answered; try again") from error


def shut_down(cluster: Cluster, name: str, how: str) -> str:
    """Ask Argo to end a run, and return how it will.

    One that still waits for a lock has nothing to clean up, and is terminated: Argo looks at Stop only once it has the
    lock. One that is suspended as a whole goes on for this: Argo looks at nothing of it before.

    Args:
        cluster: where the run is.
        name: the run's.
        how: ``Stop`` (its exit handler still runs) or ``Terminate``.

    Raises:
        ToolError: if the run has ended, or is being terminated already, or the person may not.
    """
    for _ in range(TRIES):
        run = cluster.workflow(name)
        spec = run.get("spec") or {}
        if is_over(run):
            raise ToolError(f"run {name} has ended already: {phase_of(run)}; there is nothing to end")
        if how == "Stop" and spec.get("shutdown") == "Terminate":
            raise ToolError(
                f"run {name} is being terminated already, without its exit handler; it cannot be stopped now"
            )
        change: Object = {"spec": {"shutdown": "Terminate" if never_began(run) else how}}
        if spec.get("suspend"):
            change["spec"]["suspend"] = None
        if never_began(run):
            change["metadata"] = {"resourceVersion": run["metadata"]["resourceVersion"]}
        try:
            cluster.patch_workflow(name, change)
        except Conflict:
            continue  # it may have begun meanwhile
        return str(change["spec"]["shutdown"])
    raise ToolError(f"run {name} changed each of {TRIES} times that it was to be ended; try again")
