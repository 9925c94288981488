"""Words of the expression languages: numbers, strings, names and operators."""

from __future__ import annotations

import re
from dataclasses import dataclass


class ExpressionError(Exception):
    """An expression cannot be read or evaluated; the message names it and says why."""


class MissingError(ExpressionError):
    """A name or a member that does not exist: ``??`` turns it into its right side."""


@dataclass(frozen=True)
class Token:
    """A piece of an expression: kind is number, string, name, operator or end."""

    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_$][A-Za-z0-9_$]*)"""
    r"""|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
    r"""|(?P<operator>\?\?|\?\.|\*\*|&&|\|\||==|!=|<=|>=|=~|!~|[-+*/%!<>?:.,()\[\]{}]))"""
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


def tokenize(text: str) -> list[Token]:
    """Split `text` into tokens; the last one is the end.

    Raises:
        ExpressionError: a character belongs to no token.
    """
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if not match or match.lastgroup is None:
            raise ExpressionError(f"unexpected character {text[at:].strip()[:1]!r} at {at} in {text!r}")
        tokens.append(Token(match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
        at = match.end()
    return [*tokens, Token("end", "", end)]


def unquote(text: str) -> str:
    """Return the value of a string literal with its quotes."""
    if text[0] == "`":
        return text[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), text[1:-1], flags=re.DOTALL)
