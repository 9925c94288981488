"""Letting a suspended run go on, as `argo resume` and `argo node set` do it: by setting the node's outputs."""

from __future__ import annotations

from collections.abc import Mapping

from steps.errors import BadParameters
from steps.kube import workflows
from tiphys.runs.api import Object
from tiphys.runs.errors import ToolError


def resume_patch(workflow: Object, given: Mapping[str, str]) -> Object:
    """Return the merge patch that lets every suspended step of a run go on.

    Args:
        workflow: the run.
        given: values for the parameters that the suspended steps ask for.

    Raises:
        ToolError: if nothing waits, or a value is unknown, not allowed, or missing.
    """
    try:
        return workflows.resume_patch(workflow, given)
    except BadParameters as error:
        raise ToolError(str(error)) from error
