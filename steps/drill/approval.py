"""Step `drill-approval`: reads the answer that a person gave in the Argo UI."""

from __future__ import annotations

import click

from steps.declare import option, step
from steps.errors import Refused


@step("drill-approval")
@option("--approve", type=click.Choice(["YES", "NO"]), default="NO", help="Whether the drill may hit this cluster.")
def drill_approval(approve: str) -> None:
    """Go on with YES, refuse with anything else."""
    if approve != "YES":
        raise Refused(
            f"The drill was not approved (approve is {approve!r}, expected 'YES'; an answer that nobody gives in time "
            "is a NO); nothing was changed."
        )
