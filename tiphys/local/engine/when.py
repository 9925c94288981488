"""The language of ``when``: govaluate's, in which a word without quotes is a string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.local.engine.expression import Evaluate, Parser
from tiphys.local.engine.operators import APPLY, truth
from tiphys.local.engine.tokens import ExpressionError, Token


class WhenParser(Parser):
    """The parser of `when`: barewords are strings, numbers are floats, ``in (a, b)`` takes a list."""

    strength = {"||": 10, "&&": 15, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100}
    strength |= dict.fromkeys(["==", "!=", "<", "<=", ">", ">=", "=~", "!~", "in"], 20)
    unary = {"!": 200, "-": 200}

    def name(self, token: Token) -> Evaluate:
        """Return the word itself; true and false are booleans."""
        constant = {"true": True, "false": False}.get(token.text, token.text)
        return lambda env: constant

    def postfix(self, value: Evaluate) -> Evaluate:
        """Return `value`: there are no members here."""
        return value

    def operand(self) -> Evaluate:
        """Read a value; a parenthesis with commas is a list."""
        if self.token.kind == "number":
            number = float(self.take().text)
            return lambda env: number
        if self.skip("("):
            items = self.items(")")
            if len(items) == 1:
                return items[0]
            return lambda env: [item(env) for item in items]
        if self.token.text in ("[", "{"):
            raise self.error("a value was expected")
        return super().operand()

    def combine(self, name: str, left: Evaluate, right: Evaluate) -> Evaluate:
        """Return the function of a binary operator; a single value on the right of `in` is a list of one."""
        if name == "in":

            def contained(env: Mapping[str, Any]) -> Any:
                items = right(env)
                return APPLY["in"](left(env), items if isinstance(items, list) else [items])

            return contained
        if name in ("=~", "!~"):
            wanted = name == "=~"
            return lambda env: APPLY["matches"](left(env), right(env)) is wanted
        return super().combine(name, left, right)


def should_execute(when: str) -> bool:
    """Evaluate a `when` whose variables are already substituted; an empty one is true.

    Raises:
        ExpressionError: it cannot be read or is neither true nor false. A value with a hyphen needs quotes.
    """
    if not when.strip():
        return True
    try:
        return truth(WhenParser(when).parse()({}), "when")
    except ExpressionError as error:
        hint = "put values into quotes, as in \"'{{inputs.parameters.x}}' == 'yes'\""
        raise ExpressionError(f"Invalid 'when' expression '{when}': {error} (hint: {hint})") from error
