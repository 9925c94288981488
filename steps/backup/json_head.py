"""The leading fields of a JSON object that was read in part only: a tiphys.json may have megabytes."""

from __future__ import annotations

import json
from typing import Any


def head_of(content: bytes) -> dict[str, Any]:
    """Return the leading fields of a JSON object whose text may be cut off anywhere."""
    text, decoder, found = content.decode(errors="ignore"), json.JSONDecoder(), dict[str, Any]()
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return {}
    separator = "{"
    try:
        while text[at] == separator:
            key, at = decoder.raw_decode(text, _skip(text, at + 1))
            at = _skip(text, at)
            if text[at] != ":":
                break
            value, end = decoder.raw_decode(text, _skip(text, at + 1))
            at = _skip(text, end)
            # A number that ends where the text does may go on behind it.
            if text[at] not in ",}":
                break
            found[str(key)] = value
            separator = ","
    except (ValueError, IndexError):
        pass
    return found


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
