"""Posting to a runbook's webhook, with a key that makes a second try harmless."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from tiphys.runs.errors import ToolError
from tiphys.runs.loopback import is_loopback

TRY_SECONDS = 10.0
"""How long a POST is tried again where nobody answers or the answer is 502 to 504."""
ANSWER_SECONDS = 15.0


@dataclass(frozen=True)
class Posted:
    """What a webhook answered.

    Attributes:
        workflow: name of the run.
        duplicate: whether the run was there already.
    """

    workflow: str
    duplicate: bool


def post(url: str, template: str, values: dict[str, str], *, token: str, key: str) -> Posted:
    """POST a runbook's parameters.

    Args:
        url: of the gateway, without the endpoint.
        template: name of the runbook.
        values: its parameters.
        token: the webhook's bearer token.
        key: the Idempotency-Key; the run is named after it, so trying again cannot start a second one.

    Raises:
        ToolError: if it is refused, or nobody answers.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": key}
    target = f"{url.rstrip('/')}/{template}"
    request = urllib.request.Request(target, json.dumps(values).encode(), headers, method="POST")
    proxies = [urllib.request.ProxyHandler({})] if is_loopback(target) else []
    opener = urllib.request.build_opener(*proxies)
    deadline = time.monotonic() + TRY_SECONDS
    while True:
        try:
            with opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return _posted(answer.read(), f"{template}-{key}")
        except urllib.error.HTTPError as error:
            said = _error(error.read())
            if error.code not in (502, 503, 504) or time.monotonic() > deadline:
                raise ToolError(f"the webhook refused it ({error.code}): {said}") from error
        except OSError as error:
            if time.monotonic() > deadline:
                reason = getattr(error, "reason", error)
                raise ToolError(f"no answer from {target}: {reason}; is it up? `tiphys status`, or --url") from error
        time.sleep(0.3)


def _posted(body: bytes, expected: str) -> Posted:
    """Read the answer; Argo's says only "success", but the run's name is known from the key."""
    try:
        answer = json.loads(body)
        return Posted(str(answer["workflow"]), bool(answer.get("duplicate")))
    except (ValueError, KeyError, TypeError):
        return Posted(expected, False)


def _error(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()[:200]
