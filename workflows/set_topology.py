"""Lets every member of a cluster take writes, or one alone again."""

from __future__ import annotations

from hera.workflows import Container, Parameter, Step, Steps, Suspend, WorkflowTemplate
from hera.workflows.models import Mutex, Synchronization

from steps.mysql.set_topology import set_topology
from steps.mysql.topology_undo import topology_undo
from workflows.pack import call, container, runbook, workflow_parameters
from workflows.sizes import MEASURING

DESCRIPTION = """\
Switches a cluster from one member that takes writes to all of them (multi-primary mode), or back. Nothing stops.

Looks first for what multi-primary mode does not bear: tables without a key or not InnoDB, cascading foreign keys,
SERIALIZABLE, members of different versions. While a cluster is noted as multi-primary, scale-cluster, rolling-restart,
switch-primary and drills stay away, and the operator's status SPLIT_BRAIN is expected. With `lifetime` it goes back by
itself, also when the run is stopped or terminated. `dry-run` tells what speaks against it.
"""

MUTEX = "cluster-{{workflow.parameters.cluster}}"


def build() -> WorkflowTemplate:
    """Return the template: it holds the mutex only while it switches, so what comes meanwhile is told why not."""
    with runbook(
        "set-topology",
        title="Set topology",
        summary="Lets one member take writes, or all of them.",
        description=DESCRIPTION,
        parameters=workflow_parameters([set_topology]),
        entrypoint="topology",
        on_exit="afterwards",
        mutex=None,
        limited=False,
    ) as template:
        switch = _alone(container(set_topology, size=MEASURING))
        undo = _alone(container(topology_undo, timeout="10m"))
        wait = Suspend(name="lifetime", duration="{{inputs.parameters.lifetime}}", inputs=[Parameter(name="lifetime")])
        with Steps(name="afterwards"):
            call(topology_undo, undo)
        with Steps(name="topology"):
            call(set_topology, switch)
            Step(
                name="lifetime",
                template=wait.name,
                arguments=[Parameter(name="lifetime", value="{{workflow.parameters.lifetime}}")],
                when="{{steps.set-topology.outputs.parameters.goes-back}} == true",
            )
    return template


def _alone(made: Container) -> Container:
    made.synchronization = Synchronization(mutexes=[Mutex(name=MUTEX)])
    return made
