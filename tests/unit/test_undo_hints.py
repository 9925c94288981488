"""A message that names `step drill-undo` gives a command that starts: with every option that the step asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import steps
from steps.drill.undo import drill_undo

ROOT = Path(steps.__file__).parent
HINT = re.compile(r"step drill-undo\b.{0,250}", re.DOTALL)


def hints() -> list[str]:
    """Return what the sources of the steps say of the command, up to 250 characters from its name."""
    return [hint for path in sorted(ROOT.rglob("*.py")) for hint in HINT.findall(path.read_text("utf-8"))]


@pytest.mark.parametrize("hint", hints())
def test_a_command_that_a_message_names_has_all_that_it_needs(hint: str) -> None:
    assert drill_undo.params, "the step has options"
    for option in drill_undo.params:
        if option.required:
            assert option.opts[0] in hint
