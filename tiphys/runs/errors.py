"""What goes wrong between the tool and a cluster: one line for the person, with what to do next."""

from __future__ import annotations

import click


class ToolError(click.ClickException):
    """The tool cannot do what it was asked; shown as one line."""


class NotFound(ToolError):
    """The cluster has no such object."""


class Unreachable(ToolError):
    """The API server gave no answer, or one that may pass."""


class Busy(Unreachable):
    """The API server answered that it cannot answer just now."""


class Forbidden(ToolError):
    """The person may not do this."""


class Conflict(ToolError):
    """The object is not as the request wants it to be.

    Attributes:
        causes: what the API server says of each field, where it says anything: ``field`` and ``message``.
    """

    def __init__(self, message: str, causes: list[dict[str, str]] | None = None):
        super().__init__(message)
        self.causes = causes or []
