"""The expression languages of Argo: expr-lang (``{{=...}}``, ``retryStrategy.expression``) in the part used here.

Supported: literals, lists, maps, member and index access (also ``?.``), calls of the functions of
:mod:`tiphys.local.engine.functions`, ``! not - + * / % ** == != < <= > >= in contains startsWith endsWith
matches && and || or ?? ?:`` with expr-lang's precedences. Everything else is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tiphys.local.engine.functions import FUNCTIONS
from tiphys.local.engine.operators import APPLY, truth
from tiphys.local.engine.tokens import ExpressionError, MissingError, Token, tokenize, unquote

Evaluate = Callable[[Mapping[str, Any]], Any]


class Parser:
    """A precedence-climbing parser that compiles an expression into one function of its environment."""

    strength = {"||": 10, "or": 10, "&&": 15, "and": 15, "not": 20, "+": 30, "-": 30}
    strength |= dict.fromkeys(["==", "!=", "<", "<=", ">", ">=", "in"], 20)
    strength |= dict.fromkeys(["contains", "startsWith", "endsWith", "matches"], 20)
    strength |= {"*": 60, "/": 60, "%": 60, "**": 100, "??": 500}
    unary = {"!": 50, "not": 50, "-": 90, "+": 90}

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.at = 0

    @property
    def token(self) -> Token:
        """The token to be read next."""
        return self.tokens[self.at]

    def take(self) -> Token:
        """Return the next token and step over it."""
        token = self.token
        self.at += 1
        return token

    def skip(self, text: str) -> bool:
        """Step over the next token if it is the operator `text`."""
        if self.token.kind == "operator" and self.token.text == text:
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Step over the operator `text`, which has to be next."""
        if not self.skip(text):
            raise self.error(f"{text!r} was expected")

    def error(self, why: str) -> ExpressionError:
        """Return an error that points at the next token."""
        seen = self.token.text or "the end"
        return ExpressionError(f"{why} at {self.token.at} (seen: {seen}) in {self.text!r}")

    def parse(self) -> Evaluate:
        """Read the whole expression."""
        run = self.conditional()
        if self.token.kind != "end":
            raise self.error("the expression should end")
        return run

    def conditional(self) -> Evaluate:
        """Read ``condition ? then : otherwise`` or what is stronger."""
        test = self.binary(0)
        if not self.skip("?"):
            return test
        then = self.conditional()
        self.expect(":")
        otherwise = self.conditional()
        return lambda env: then(env) if truth(test(env), "?:") else otherwise(env)

    def binary(self, weakest: int) -> Evaluate:
        """Read an operand and every operator after it that is stronger than `weakest`."""
        left = self.prefix()
        while (self.token.kind in ("operator", "name")) and (
            strength := self.strength.get(self.token.text, 0)
        ) > weakest:
            name = self.take().text
            negated = name == "not"
            if negated:
                name = self.take().text
                if name not in ("in", "contains", "startsWith", "endsWith", "matches"):
                    raise self.error("an operator such as 'in' was expected after 'not'")
            left = self.combine(name, left, self.binary(strength - 1 if name == "**" else strength))
            if negated:
                left = _negate(left)
        return left

    def combine(self, name: str, left: Evaluate, right: Evaluate) -> Evaluate:
        """Return the function of the binary operator `name`."""
        if name in ("&&", "and"):
            return lambda env: truth(left(env), name) and truth(right(env), name)
        if name in ("||", "or"):
            return lambda env: truth(left(env), name) or truth(right(env), name)
        if name == "??":

            def first_known(env: Mapping[str, Any]) -> Any:
                try:
                    value = left(env)
                except MissingError:
                    value = None
                return right(env) if value is None else value

            return first_known
        apply = APPLY[name]
        return lambda env: apply(left(env), right(env))

    def prefix(self) -> Evaluate:
        """Read a unary operator and its operand, or an operand."""
        text = self.token.text
        if self.token.kind in ("operator", "name") and text in self.unary:
            self.take()
            operand = self.binary(self.unary[text])
            if text in ("!", "not"):
                return _negate(operand)
            zero = APPLY[text]
            return lambda env: zero(0, operand(env))
        return self.postfix(self.operand())

    def operand(self) -> Evaluate:
        """Read a literal, a name, a call, a list, a map or a parenthesis."""
        token = self.take()
        if token.kind == "number":
            number = float(token.text) if re.search(r"[.eE]", token.text) else int(token.text)
            return lambda env: number
        if token.kind == "string":
            text = unquote(token.text)
            return lambda env: text
        if token.kind == "name":
            return self.name(token)
        if token.text == "(":
            inner = self.conditional()
            self.expect(")")
            return inner
        if token.text == "[":
            items = self.items("]")
            return lambda env: [item(env) for item in items]
        if token.text == "{":
            return self.map()
        self.at -= 1
        raise self.error("a value was expected")

    def map(self) -> Evaluate:
        """Read the rest of ``{key: value, ...}``."""
        pairs: list[tuple[str, Evaluate]] = []
        while not self.skip("}"):
            token = self.take()
            if token.kind not in ("name", "string"):
                self.at -= 1
                raise self.error("a key was expected")
            self.expect(":")
            pairs.append((unquote(token.text) if token.kind == "string" else token.text, self.conditional()))
            if not self.skip(",") and not (self.token.kind == "operator" and self.token.text == "}"):
                raise self.error("',' or '}' was expected")
        return lambda env: {key: value(env) for key, value in pairs}

    def name(self, token: Token) -> Evaluate:
        """Read what a name stands for."""
        constants = {"true": True, "false": False, "nil": None}
        if token.text in constants:
            return lambda env: constants[token.text]
        if self.skip("("):
            function = FUNCTIONS.get(token.text)
            if function is None:
                raise ExpressionError(
                    f"unknown function {token.text!r} in {self.text!r}: known are {', '.join(FUNCTIONS)}"
                )
            arguments = self.items(")")
            return _call(token.text, function, arguments)

        def look(env: Mapping[str, Any]) -> Any:
            if token.text not in env:
                raise MissingError(f"unknown name {token.text} in {self.text!r}")
            return env[token.text]

        return look

    def items(self, end: str) -> list[Evaluate]:
        """Read values with commas between them, up to `end`."""
        items: list[Evaluate] = []
        while not self.skip(end):
            items.append(self.conditional())
            if not self.skip(",") and not (self.token.kind == "operator" and self.token.text == end):
                raise self.error(f"',' or {end!r} was expected")
        return items

    def postfix(self, value: Evaluate) -> Evaluate:
        """Read member and index access after `value`."""
        while True:
            if self.skip(".") or self.skip("?."):
                optional = self.tokens[self.at - 1].text == "?."
                token = self.take()
                if token.kind != "name":
                    self.at -= 1
                    raise self.error("a member's name was expected")
                value = _member(value, token.text, optional)
            elif self.skip("["):
                key = self.conditional()
                self.expect("]")
                value = _index(value, key)
            else:
                return value


def _negate(operand: Evaluate) -> Evaluate:
    return lambda env: not truth(operand(env), "!")


def _call(name: str, function: Callable[..., Any], arguments: list[Evaluate]) -> Evaluate:
    def call(env: Mapping[str, Any]) -> Any:
        values = [argument(env) for argument in arguments]
        try:
            return function(*values)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            given = ", ".join(repr(value) for value in values)
            raise ExpressionError(f"{name}({given}): {error}") from error

    return call


def _member(value: Evaluate, key: str, optional: bool) -> Evaluate:
    def member(env: Mapping[str, Any]) -> Any:
        owner = value(env)
        if owner is None and optional:
            return None
        if not isinstance(owner, Mapping):
            raise MissingError(f"cannot fetch {key} from {owner!r}")
        return owner.get(key)

    return member


def _index(value: Evaluate, key: Evaluate) -> Evaluate:
    def index(env: Mapping[str, Any]) -> Any:
        owner, position = value(env), key(env)
        if isinstance(owner, Mapping):
            return owner.get(position)
        if isinstance(owner, list | str) and isinstance(position, int):
            try:
                return owner[position]
            except IndexError as error:
                raise ExpressionError(f"index {position} is out of range of {owner!r}") from error
        raise MissingError(f"cannot fetch {position!r} from {owner!r}")

    return index


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of `flat` (``a.b.c`` to a value) as maps within maps, as expressions see them."""
    root: dict[str, Any] = {}
    for name in sorted(flat):
        *parents, last = name.split(".")
        here = root
        for parent in parents:
            child = here.get(parent)
            if not isinstance(child, dict):
                child = here[parent] = {}
            here = child
        if not isinstance(here.get(last), dict):
            here[last] = flat[name]
    return root


def evaluate(text: str, variables: Mapping[str, Any]) -> Any:
    """Evaluate the expression `text`; `variables` is flat (``inputs.parameters.x`` to a value).

    Raises:
        ExpressionError: the expression cannot be read, or a part of it does not fit or does not exist.
    """
    return Parser(text).parse()(nested(variables))


def evaluate_bool(text: str, variables: Mapping[str, Any]) -> bool:
    """Evaluate an expression that has to give true or false.

    Raises:
        ExpressionError: it does not, or as `evaluate`.
    """
    return truth(evaluate(text, variables), repr(text))
