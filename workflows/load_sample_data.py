"""Fills a cluster with sample rows."""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.mysql.load_sample_data import load_sample_data
from workflows.pack import container, runbook, workflow_parameters

DESCRIPTION = """\
Fills a cluster with rows to try things on: employees with their departments, titles and salaries, linked by foreign
keys. The same seed and number of rows give the same data, byte for byte; a load that broke off goes on where it
stopped.

Leaves a schema alone that it did not make, unless `replace` is set.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    with runbook(
        "load-sample-data",
        title="Load sample data",
        summary="Fills a cluster with rows to try things on.",
        description=DESCRIPTION,
        parameters=workflow_parameters([load_sample_data]),
    ) as template:
        container(load_sample_data)
    return template
