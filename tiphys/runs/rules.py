"""What a WorkflowTemplate's parameters must be like, from the steps that it runs: types, ranges, patterns, help.

The template in the cluster names its steps (``command: [step, NAME]``), and this installation knows their options, as
the webhook's filter does. Neither Argo nor Hera is needed, so asking takes some hundredths of a second.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from steps.cli import template_options
from steps.parameters import Parameter


def rules_of(template: dict[str, Any]) -> dict[str, Parameter]:
    """Return a template's parameters by name, in its order; what the template itself says goes first."""
    options = template_options(template, skip_strangers=True)
    found = {}
    for argument in (template["spec"].get("arguments") or {}).get("parameters") or []:
        name, enum = argument["name"], tuple(str(item) for item in argument.get("enum") or ())
        known = options.get(name) or Parameter(name, "", None, enum, "text")
        value = argument.get("value")
        if value is None and "valueFrom" in argument:
            value = ""
        found[name] = dataclasses.replace(
            known,
            help=str(argument.get("description") or known.help),
            default=None if value is None else str(value),
            enum=enum or known.enum,
        )
    return found


def fault(rule: Parameter, value: str) -> str:
    """Return why a value does not fit a parameter, "" if it does."""
    if value == rule.default:
        return ""
    if value == "":
        return f"must not be empty{_expected(rule)}"
    if "{{" in value:
        return "holds '{{', which Argo would expand; write the value itself"
    if rule.enum:
        if value in rule.enum:
            return ""
        import difflib

        close = difflib.get_close_matches(value, rule.enum, n=1)
        return f"is not one of: {', '.join(rule.enum)}{f' (did you mean {close[0]}?)' if close else ''}"
    if rule.kind in ("integer", "number"):
        return _number_fault(rule, value)
    if rule.text and not re.fullmatch(rule.text.regex[1:-1], value, re.DOTALL):
        return f"is not {rule.text.name}{_expected(rule)}"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value):
        return "holds a control character"
    return ""


def expected(rule: Parameter) -> str:
    """Return which values a parameter takes, in a few words; "" where any text will do."""
    if rule.enum:
        return "|".join(rule.enum)
    if rule.kind in ("integer", "number"):
        low, high = _number(rule.minimum), _number(rule.maximum)
        article = "an integer" if rule.kind == "integer" else "a number"
        if low and high:
            return f"{article} from {low} to {high}"
        return article + (f", at least {low}" if low else "") + (f", at most {high}" if high else "")
    if rule.text:
        first = "" if rule.text.first == rule.text.alphabet else f", the first of [{rule.text.first}]"
        last = "" if rule.text.last == rule.text.alphabet else f", the last of [{rule.text.last}]"
        return f"at most {rule.text.max_length} characters of [{rule.text.alphabet}]{first}{last}"
    return ""


def _expected(rule: Parameter) -> str:
    words = expected(rule)
    return f": {words}" if words else ""


def _number_fault(rule: Parameter, value: str) -> str:
    form = r"-?\d{1,19}" if rule.kind == "integer" else r"-?\d{1,19}(\.\d{0,19})?"
    if not re.fullmatch(form, value, re.ASCII):
        return f"is not {expected(rule)}"
    number = float(value)
    too_small = rule.minimum is not None and number < rule.minimum
    if too_small or rule.maximum is not None and number > rule.maximum:
        return f"is not {expected(rule)}"
    return ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
