"""Whether the Secret is there that the step image is pulled with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.install.findings import OK, WARNING, Finding
from tiphys.install.images import pull_secrets
from tiphys.install.kube import Kube
from tiphys.runs.errors import Forbidden, NotFound

Object = dict[str, Any]
KEY = ".dockerconfigjson"


def look(kube: Kube, objects: list[Object]) -> Iterator[Finding]:
    """Look for each Secret that the objects' accounts pull with.

    Args:
        kube: the cluster.
        objects: that an install would apply.
    """
    for name in sorted(pull_secrets(objects)):
        how = (
            "without it the step image is not pulled:",
            f"kubectl -n {kube.namespace} create secret generic {name} \\",
            f"  --type=kubernetes.io/dockerconfigjson --from-file={KEY}=$HOME/.docker/config.json",
        )
        try:
            # Its keys alone are looked at: what it holds may be no text.
            data = kube.call("GET", f"/api/v1/namespaces/{kube.namespace}/secrets/{name}").get("data") or {}
        except Forbidden:
            yield Finding("pull-secret", WARNING, f"you may not read Secret {name} in {kube.namespace}")
        except NotFound:
            yield Finding("pull-secret", WARNING, f"no Secret {name} in {kube.namespace}", how)
        else:
            if KEY in data:
                yield Finding("pull-secret", OK, f"Secret {name} is there")
            else:
                seen = ", ".join(sorted(data)) or "nothing"
                text = f"Secret {name} has no key {KEY} (it has {seen})"
                yield Finding("pull-secret", WARNING, text, how)
