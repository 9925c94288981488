"""Where an installation's nodes pull the step image from, and with which Secret."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from tiphys.runs.errors import ToolError

Object = dict[str, Any]

STEP = "ghcr.io/tiphys/step"
"""Repository of the step image, unless an installation has its own."""
NONE = "none"
"""Given in place of a Secret's name: without one from now on."""
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*")
"""A repository's name (github.com/distribution/reference), without tag and digest."""
_SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def check(repository: str, pull_secret: str) -> None:
    """See that values can be meant; empty ones are.

    Raises:
        ToolError: one cannot.
    """
    if repository and not _REPOSITORY.fullmatch(repository):
        raise ToolError(
            f"--step-image {repository!r} is no repository: expected for example registry.example.com/dba/tiphys-step, "
            f"without a tag, since that is always the version of this tool ({version('tiphys')})"
        )
    if pull_secret and not _SECRET.fullmatch(pull_secret):
        raise ToolError(f"--pull-secret {pull_secret!r} is no name of a Secret; `{NONE}` is for none")


def adapt(objects: list[Object], repository: str, pull_secret: str) -> list[Object]:
    """Return the objects with the step image of another repository, and accounts whose pods pull with a Secret."""
    if repository and repository != STEP:
        tag = version("tiphys")
        objects = [_replaced(one, f"{STEP}:{tag}", f"{repository}:{tag}") for one in objects]
    if pull_secret:
        secrets = {"imagePullSecrets": [{"name": pull_secret}]}
        objects = [one | secrets if one["kind"] == "ServiceAccount" else one for one in objects]
    return objects


def pull_secrets(objects: list[Object]) -> set[str]:
    """Return the Secrets that the pods of these objects pull with."""
    accounts = (one for one in objects if one["kind"] == "ServiceAccount")
    return {secret["name"] for one in accounts for secret in one.get("imagePullSecrets", [])}


def _replaced(node: Any, old: str, new: str) -> Any:
    if isinstance(node, list):
        return [_replaced(each, old, new) for each in node]
    if isinstance(node, dict):
        return {key: new if key == "image" and each == old else _replaced(each, old, new) for key, each in node.items()}
    return node
