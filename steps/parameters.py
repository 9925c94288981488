"""What a step's options are, as values: the one source of its form in the Argo UI, the Sensor's checks and the docs.

A click option is turned into a :class:`Parameter`; the templates, the webhook's filter and the docs tables are
all made from these, so they cannot disagree with what the step itself accepts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


class Text(click.ParamType[str]):
    r"""Text of a limited alphabet: an anchored pattern that a regular expression and a Lua pattern both express.

    Args:
        name: what the text is, for messages ("a cluster's name").
        alphabet: the characters allowed, as the inside of a character class, without ``\``, ``]`` or ``^``; a
            literal hyphen stands last.
        first: the same for the first character; the alphabet where None.
        last: the same for the last character; the alphabet where None.
        max_length: in characters.
    """

    def __init__(
        self, name: str, alphabet: str, max_length: int, first: str | None = None, last: str | None = None
    ) -> None:
        self.name = name
        self.alphabet, self.max_length = alphabet, max_length
        self.first, self.last = first or alphabet, last or alphabet

    @property
    def regex(self) -> str:
        """The anchored regular expression."""
        return f"^(?=.{{1,{self.max_length}}}$)[{self.first}]([{self.alphabet}]*[{self.last}])?$"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `value` if it fits the pattern, else fail with the pattern and a cut of what was seen."""
        text = str(value)
        if not re.fullmatch(self.regex[1:-1], text, re.DOTALL):
            self.fail(
                f"{text[:60]!r} is not {self.name}: at most {self.max_length} characters of [{self.alphabet}], "
                f"the first of [{self.first}], the last of [{self.last}]",
                param,
                ctx,
            )
        return text


CLUSTER_NAME = Text("a cluster's name", "a-z0-9-", 28, first="a-z", last="a-z0-9")
"""Name of an InnoDBCluster: the operator takes at most 28 characters."""
OBJECT_NAME = Text("a Kubernetes name", "a-z0-9.-", 63, first="a-z0-9", last="a-z0-9")
"""Name of a Kubernetes object: a pod, a node, a backup."""
NAMESPACE_NAME = Text("a namespace's name", "a-z0-9-", 63, first="a-z0-9", last="a-z0-9")


class InputFile(click.ParamType[Path]):
    """A file that an earlier step made: an input artifact in a workflow, a path on the command line."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path of the file, which must exist."""
        path = Path(value)
        if not path.is_file():
            self.fail(f"{path} is no file: the step before makes it, or name one of your own", param, ctx)
        return path


@dataclass(frozen=True)
class Parameter:
    """One option of a step, as the rest of the pack sees it.

    Attributes:
        name: as in ``-p name=value`` and in the webhook's body.
        help: one or two sentences.
        default: the text used where the caller says nothing; None means that the caller must say it.
        enum: the only values allowed, or empty.
        kind: "integer", "number", "boolean", "enum" or "text".
        minimum: of a number, or None.
        maximum: of a number, or None.
        text: the pattern of a text, or None where any text is taken.
    """

    name: str
    help: str
    default: str | None
    enum: tuple[str, ...]
    kind: str
    minimum: float | None = None
    maximum: float | None = None
    text: Text | None = None


def as_text(value: Any) -> str:
    """Return a value as it is written into a parameter: booleans as true/false, None as the empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)


def describe(option: click.Option) -> Parameter:
    """Return what an option is, read from its click type."""
    kind, text = "text", None
    enum: tuple[str, ...] = ()
    minimum = maximum = None
    match option.type:
        case click.Choice(choices=choices):
            kind, enum = "enum", tuple(str(choice) for choice in choices)
        case click.IntRange(min=low, max=high) | click.FloatRange(min=low, max=high):
            kind = "integer" if isinstance(option.type, click.IntRange) else "number"
            minimum, maximum = low, high
        case Text():
            text = option.type
        case other if other is click.BOOL:
            kind, enum = "boolean", ("true", "false")
        case other if other is click.INT:
            kind = "integer"
        case other if other is click.FLOAT:
            kind = "number"
    name = max(option.opts, key=len).removeprefix("--")
    default = None if option.required else as_text(option.default)
    return Parameter(name, option.help or "", default, enum, kind, minimum, maximum, text)
