"""What goes wrong between the tool and a cluster: one line for the person, with what to do next."""

from __future__ import annotations

import click


class ToolError(click.ClickException):
    """The tool cannot do what it was asked; shown as one line."""


class NotFound(ToolError):
    """The cluster has no such object."""


class Unreachable(ToolError):
    """The API server gave no answer, or one that may pass."""
