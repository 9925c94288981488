"""The check of a webhook's body as a Lua script for ``filters.script``, made from a runbook's parameters.

Argo Events' own filters cannot do this: they match single values and let unknown ones through. Lua is what both
homes run: Argo Events with gopher-lua, the local gateway with Lua 5.1.

Argo Events hands a Sensor's pod its whole spec in one environment variable, and Linux runs no program with one of
more than 128 KiB. So the scripts hold their rules only; the check itself stands once, in a variable of the pod.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from steps.parameters import Parameter, Text

VARIABLE = "TIPHYS_FILTER"
"""Variable of the Sensor's pod that holds the check."""


def naming(prefix: str) -> str:
    """Return the script for ``transform`` that adds `run`: the run's name by its Idempotency-Key, empty without one.

    A transformation has a second good: Argo parses the event and writes it anew. Without it the filter would read the
    last of two keys of one name and the trigger the first, so that a value could walk past the filter; and a null would
    arrive as the text "null" instead of being as good as absent.
    """
    return (
        'local keys = event.header["Idempotency-Key"]\n'
        f'event.run = keys and "{prefix}" .. tostring(keys[1]) or ""\n'
        "return event\n"
    )


def script(parameters: Iterable[Parameter]) -> str:
    """Return the script that passes an event whose body fits `parameters`; it needs :func:`environment`.

    The local gateway tells its caller what the script leaves in the global `reason`.

    Args:
        parameters: what the runbook takes; one without a default is required.
    """
    rules = "\n".join(f"  {_table(_rule(parameter))}," for parameter in parameters)
    return (
        f"local rules = {{\n{rules}\n}}\n"
        "local passed\n"
        f'passed, reason = assert(loadstring(os.getenv("{VARIABLE}")))(event, rules)\n'
        "return passed\n"
    )


def environment() -> dict[str, str]:
    """Return the variables that the scripts need where they run."""
    return {VARIABLE: Path(__file__).with_name("filter.lua").read_text()}


def _rule(parameter: Parameter) -> dict[str, object]:
    rule: dict[str, object] = {"name": parameter.name, "kind": parameter.kind}
    if parameter.default is None:
        rule["required"] = True
    if parameter.default == "":
        rule["may_be_empty"] = True
    if parameter.enum:
        rule["allowed"] = parameter.enum
    if parameter.minimum is not None:
        rule["least"] = parameter.minimum
    if parameter.maximum is not None:
        rule["most"] = parameter.maximum
    if parameter.text and not parameter.enum:
        rule |= _text_rule(parameter.text)
    return rule


def _text_rule(text: Text) -> dict[str, object]:
    rule: dict[str, object] = {part: lua_class(getattr(text, part)) for part in ("alphabet", "first", "last")}
    pattern = f"[{text.first}][{text.alphabet}]*[{text.last}], at most {text.max_length} characters"
    return rule | {"longest": text.max_length, "pattern": pattern}


def lua_class(characters: str) -> str:
    """Return the inside of a regular expression's character class as the inside of a Lua set.

    A hyphen between two letters or digits is a range in both; everything else that is no letter or digit is
    escaped with ``%``.
    """
    made = []
    for position, character in enumerate(characters):
        before, after = characters[position - 1 : position], characters[position + 1 : position + 2]
        is_range = character == "-" and before.isalnum() and after.isalnum()
        made.append(character if character.isalnum() or is_range else f"%{character}")
    return "".join(made)


def _table(values: dict[str, object]) -> str:
    return "{" + ", ".join(f"{key} = {_value(value)}" for key, value in values.items()) + "}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "{" + ", ".join(_value(item) for item in value) + "}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
