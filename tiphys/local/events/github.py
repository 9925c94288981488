"""Deliveries of GitHub: their signature, and the event that Argo Events makes of one.

Sources: argo-events pkg/eventsources/sources/github/start.go, and what GitHub documents of its signatures. An older
signature, by SHA-1, is not taken here; GitHub sends both.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs

from tiphys.local.events import bodies

SIGNATURE = "X-Hub-Signature-256"
_TOLD = ("X-GitHub-Event", "X-GitHub-Delivery")
"""Headers that Argo Events puts into the body."""


def is_signed(body: bytes, signature: str, secret: bytes) -> bool:
    """Return whether a body was signed with a secret."""
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature.encode(errors="surrogateescape"), expected.encode())


def event(body: bytes, content_type: str, headers: dict[str, list[str]]) -> dict[str, Any]:
    """Return the event of a delivery.

    Args:
        body: as it came, JSON or a form with JSON in its field `payload`.
        content_type: without parameters.
        headers: by canonical name.

    Raises:
        BadBody: it is neither.
    """
    if content_type == "application/x-www-form-urlencoded":
        body = parse_qs(body.decode(errors="replace")).get("payload", [""])[0].encode()
    elif content_type != "application/json":
        raise bodies.BadBody(415, f"the content type {content_type[:60]!r} is not GitHub's; send application/json")
    sent = bodies.parse(body)
    for name in _TOLD:
        sent[name] = headers.get(name.replace("GitHub", "Github"), [""])[0]
    return {"headers": headers, "body": sent}
