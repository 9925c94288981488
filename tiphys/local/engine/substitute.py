"""Substitution of ``{{variable}}`` and ``{{=expression}}`` in templates.

A wanted difference from Argo: values are put in once and never looked at again. Where a value itself contains
``{{workflow.name}}``, Argo substitutes that too, so that a caller of a webhook can inject variables into a
container's arguments (seen, facts/argo.md); here it stays the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tiphys.local.engine.expression import evaluate
from tiphys.local.engine.functions import to_text
from tiphys.local.engine.tokens import ExpressionError

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


class UnresolvedError(Exception):
    """A variable has no value, or an expression cannot be evaluated; the message names it."""


def substitute(value: Any, variables: Mapping[str, Any]) -> Any:
    """Return `value` (any JSON) with every tag in its strings replaced; keys are left alone.

    Raises:
        UnresolvedError: a tag has no value.
    """
    if isinstance(value, str):
        return _TAG.sub(lambda match: resolve(match.group(1), variables), value) if "{{" in value else value
    if isinstance(value, dict):
        return {key: substitute(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, variables) for item in value]
    return value


def resolve(tag: str, variables: Mapping[str, Any]) -> str:
    """Return the text that stands for ``{{tag}}``.

    Raises:
        UnresolvedError: there is none.
    """
    if tag.startswith("="):
        try:
            result = evaluate(tag[1:], variables)
        except ExpressionError as error:
            raise UnresolvedError(f"failed to evaluate expression {{{{{tag}}}}}: {error}") from error
        if result is None:
            raise UnresolvedError(f"failed to evaluate expression {{{{{tag}}}}}: it has no value")
        return to_text(result)
    name = tag.strip()
    if name not in variables:
        raise UnresolvedError(f"failed to resolve {{{{{tag}}}}}")
    value = variables[name]
    if value is None:
        raise UnresolvedError(
            f"unable to substitute {{{{{tag}}}}}: the step was skipped and the output has no default; "
            "give it valueFrom.default, or use an expression with ??"
        )
    if not isinstance(value, str):
        raise UnresolvedError(f"failed to resolve {{{{{tag}}}}} to a string")
    return value


def references(value: Any) -> list[str]:
    """Return the names in all plain tags of `value` (any JSON), without those of expressions."""
    if isinstance(value, str):
        return [tag.strip() for tag in _TAG.findall(value) if not tag.startswith("=")]
    if isinstance(value, dict):
        return [name for item in value.values() for name in references(item)]
    if isinstance(value, list):
        return [name for item in value for name in references(item)]
    return []
