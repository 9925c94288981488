"""What an install applies: the manifests that come with this version of Tiphys, with overlays laid over them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tiphys
from tiphys.install import applyset, images, kustomize
from tiphys.install.kube import Kube
from tiphys.install.order import sort_key
from tiphys.runs.errors import ToolError

Object = dict[str, Any]

SIZES = ("single-node", "production")
"""Overlays of which an installation has one."""
DEFAULT = ("single-node",)
EXAMPLE_HOST = "tiphys.example.com"
EXAMPLE_RANGE = "192.0.2.0/24"
"""In the overlays' Ingress, where an installation needs a value of its own (addresses that RFC 5737 keeps free)."""
TLS = "webhook-tls"
"""Changes what other overlays bring, and so comes last."""
GITHUB = "github"
"""Overlay, EventSource and Sensor of GitHub's deliveries."""
EXAMPLE_REPOSITORY = "your-organization/your-repository"
_RANGES = (
    "nginx.ingress.kubernetes.io/whitelist-source-range",
    "alb.ingress.kubernetes.io/inbound-cidrs",
)


_TO_TLS = {
    "nginx": {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"},
    "alb": {
        "alb.ingress.kubernetes.io/backend-protocol": "HTTPS",
        "alb.ingress.kubernetes.io/healthcheck-protocol": "HTTPS",
    },
}
"""Annotations by which an Ingress speaks TLS to the webhook's pods, by its class."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Choice:
    """What a person chose: which overlays, and the values that they cannot know.

    Attributes:
        overlays: names, in the order in which they are laid on.
        host: of the Ingress; "" without one.
        allow: address ranges that may reach the Ingress.
        repository: OWNER/REPOSITORY whose deliveries from GitHub count; "" without that overlay.
        s3_port: of the S3 server, which the steps must reach; 0 where it is not known.
        step_image: repository of the step image; "" for ours.
        pull_secret: name of the Secret that it is pulled with; "" without one.
    """

    overlays: tuple[str, ...] = DEFAULT
    host: str = ""
    allow: tuple[str, ...] = ()
    repository: str = ""
    s3_port: int = 0
    step_image: str = ""
    pull_secret: str = ""

    def remembered(self) -> dict[str, str]:
        """Return it as the data of the installation's ConfigMap."""
        named = {"overlays": ",".join(self.overlays), "host": self.host, "allow": ",".join(self.allow)}
        image = "" if self.step_image == images.STEP else self.step_image
        others = {"repository": self.repository, "step-image": image, "pull-secret": self.pull_secret}
        return named | {key: value for key, value in others.items() if value}

    @classmethod
    def recall(cls, data: dict[str, str]) -> Choice:
        """Return the choice of the install before this one."""

        def words(key: str) -> tuple[str, ...]:
            return tuple(word for word in data.get(key, "").split(",") if word)

        overlays = words("overlays") if "overlays" in data else DEFAULT
        return cls(
            overlays,
            data.get("host", ""),
            words("allow"),
            data.get("repository", ""),
            step_image=data.get("step-image", ""),
            pull_secret=data.get("pull-secret", ""),
        )


@dataclass(frozen=True)
class Pack:
    """The objects of an installation, in the order in which they are applied.

    Attributes:
        version: of the package.
        namespace: where they are.
        objects: the Namespace first.
    """

    version: str
    namespace: str
    objects: list[Object] = field(repr=False)


def folder() -> Path:
    """Return the folder of the manifests: of the project, or those that the package brought along.

    Raises:
        ToolError: there are none.
    """
    package = Path(tiphys.__file__).parent
    for found in (package.parent / "manifests", package / "manifests"):
        if (found / "base" / kustomize.KUSTOMIZATION).is_file():
            return found
    raise ToolError(f"this installation of Tiphys has no manifests in {package}: install it again from a release")


def overlays() -> list[str]:
    """Return the names of the overlays."""
    return sorted(path.parent.name for path in (folder() / "overlays").glob(f"*/{kustomize.KUSTOMIZATION}"))


def load(choice: Choice, namespace: str) -> Pack:
    """Return the pack of this version.

    Raises:
        ToolError: an overlay does not exist, two exclude each other, or one lacks a value.
    """
    _check(choice.overlays)
    images.check(choice.step_image, choice.pull_secret)
    try:
        objects = kustomize.build(folder() / "base")
        for name in sorted(choice.overlays, key=lambda name: (name not in SIZES, name == TLS)):
            objects = kustomize.build(folder() / "overlays" / name / "component", objects)
        objects = kustomize.in_namespace(objects, namespace)
    except kustomize.KustomizeError as error:
        raise ToolError(str(error)) from error
    has_tls = any(certificates(one) for one in objects)
    for one in objects:
        if one["kind"] == "Ingress":
            _address(one, choice)
            if has_tls:
                one["metadata"]["annotations"] |= _TO_TLS[one["spec"]["ingressClassName"]]
        if one["kind"] in ("EventSource", "Sensor") and one["metadata"]["name"] == GITHUB:
            _repository(one, choice.repository)
        if one["kind"] == "NetworkPolicy" and choice.s3_port:
            _open_port(one, choice.s3_port)
    objects = images.adapt(objects, choice.step_image, choice.pull_secret)
    return Pack(version("tiphys"), namespace, sorted(objects, key=sort_key))


def certificates(one: Object) -> set[str]:
    """Return the Secrets that an EventSource's endpoints have their certificates from."""
    if one["kind"] != "EventSource":
        return set()
    spec = one["spec"]
    endpoints = [*spec.get("webhook", {}).values(), *(hook["webhook"] for hook in spec.get("github", {}).values())]
    return {webhook["serverCertSecret"]["name"] for webhook in endpoints if "serverCertSecret" in webhook}


def recalled(kube: Kube) -> Choice:
    """Return what was chosen at the last install, or what is chosen where there was none."""
    live = kube.find(applyset.parent(kube.namespace, (), {}))
    return Choice.recall((live or {}).get("data") or {})


def _check(names: Sequence[str]) -> None:
    known = overlays()
    if unknown := [name for name in names if name not in known]:
        raise ToolError(f"there is no overlay {', '.join(unknown)}; there are: {', '.join(known)}")
    if all(size in names for size in SIZES):
        raise ToolError(f"{' and '.join(SIZES)} exclude each other: choose one")


def _address(ingress: Object, choice: Choice) -> None:
    """Put the host and the allowed ranges into an Ingress.

    Raises:
        ToolError: one of them was not given; the one in the file is an example.
    """
    annotations = ingress["metadata"].get("annotations", {})
    if not choice.host or not choice.allow:
        raise ToolError(
            "an ingress overlay needs the name under which the webhook is called and who may call it: "
            "--host tiphys.your-company.com --allow 203.0.113.0/24 (--allow 0.0.0.0/0 for everybody)"
        )
    for name in _RANGES:
        if name in annotations:
            annotations[name] = ",".join(choice.allow)
    spec = json.loads(json.dumps(ingress["spec"]).replace(EXAMPLE_HOST, choice.host))
    ingress["spec"] = spec


def _repository(one: Object, repository: str) -> None:
    """Put the repository into what serves GitHub's deliveries.

    Raises:
        ToolError: none was given, or it is none.
    """
    if not _REPOSITORY.fullmatch(repository):
        seen = f", not {repository!r}" if repository else ""
        raise ToolError(f"the overlay {GITHUB} needs the repository that may start runbooks: --github OWNER/NAME{seen}")
    text = json.dumps(one["spec"])
    for example, wanted in zip(
        (EXAMPLE_REPOSITORY, *EXAMPLE_REPOSITORY.split("/")), (repository, *repository.split("/")), strict=True
    ):
        text = text.replace(f'"{example}"', f'"{wanted}"')
    one["spec"] = json.loads(text)


def _open_port(policy: Object, port: int) -> None:
    """Let pods that may reach S3 reach it on its own port as well."""
    for rule in policy["spec"].get("egress", []):
        ports = rule.get("ports", [])
        if {"port": 9000, "protocol": "TCP"} in ports and not any(one["port"] == port for one in ports):
            rule["ports"] = [*copy.deepcopy(ports), {"port": port, "protocol": "TCP"}]
