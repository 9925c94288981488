"""A report's page: one self-contained HTML file, with nothing to fetch and every value escaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tile:
    """One of the numbers at the top.

    Attributes:
        label: what it is.
        value: the number, with its unit.
        note: what it is held against.
        tone: good, bad or empty.
    """

    label: str
    value: str
    note: str
    tone: str = ""


def render(template: Path, context: Mapping[str, Any]) -> str:
    """Return the page of a template that extends ``frame.html.j2``.

    Args:
        template: the template's file.
        context: what it shows; the frame itself needs verdict, mark, sentence and tiles.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**context)
