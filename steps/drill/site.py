"""The application whose users are watched: its address, which people give or the cluster's owner notes on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import click

from steps.errors import BadParameters
from steps.kube.client import Kube
from steps.parameters import Text

ANNOTATION = "tiphys.dev/app-url"
"""Annotation of an InnoDBCluster: the application's address, for drills that are told none."""
NONE = "none"
"""The value that asks for no application although the cluster has the annotation."""


class AppUrl(Text):
    """An http or https address without credentials, or ``none``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `value` if it is such an address, else fail with what is wrong with it."""
        text = str(value)
        if text == NONE:
            return text
        # Before anything is told of it: a message must not repeat a password.
        if "@" in text:
            self.fail("the address must not have credentials in it (...@host): leave them out", param, ctx)
        text = super().convert(text, param, ctx)
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            wrong = "" if good else "it is no http:// or https:// address"
        except ValueError as error:
            wrong = str(error)
        if wrong:
            self.fail(f"{text[:60]!r}: {wrong}; expected such as http://shop/health", param, ctx)
        return text


APP_URL = AppUrl("an application's address", "A-Za-z0-9:/.?=&%_~+,;-", 500, first="hn")


@dataclass(frozen=True)
class Site:
    """Where an application's users go.

    Attributes:
        url: http or https.
        address: IP address that stands for its host, where that is a Service of the drill's namespace; empty where
            the resolver is asked at every request.
        verify_tls: whether an https certificate has to be valid.
    """

    url: str
    address: str = ""
    verify_tls: bool = True

    @property
    def host(self) -> str:
        """The host's name or address."""
        return urlsplit(self.url).hostname or ""


def site_of(kube: Kube, cluster: str, app_url: str | None, *, verify_tls: bool = True) -> Site | None:
    """Return the application to watch; None where there is none.

    Args:
        kube: client for the drill's namespace.
        cluster: name of the InnoDBCluster.
        app_url: what the drill was told; None takes the cluster's annotation.
        verify_tls: whether an https certificate has to be valid.

    Raises:
        BadParameters: the annotation is no address.
    """
    url = app_url
    if url is None:
        noted = str((kube.cluster(cluster)["metadata"].get("annotations") or {}).get(ANNOTATION) or "")
        try:
            url = APP_URL.convert(noted, None, None) if noted else None
        except click.UsageError as error:
            raise BadParameters(
                f"Annotation {ANNOTATION} of cluster {cluster} is no address of an application: {error.message}"
            ) from error
    if url is None or url == NONE:
        return None
    return Site(url, _service_address(kube, urlsplit(url).hostname or ""), verify_tls)


def _service_address(kube: Kube, host: str) -> str:
    """Return the cluster IP of the Service of this namespace that `host` names; empty where it names none.

    Addresses come from Kubernetes: a drill of MySQL must not fail for the cluster's DNS, and locally there is none.
    """
    name, _, rest = host.partition(".")
    own = kube.namespace
    if rest not in ("", own, f"{own}.svc", f"{own}.svc.cluster.local"):
        return ""
    service = kube.find("services", name)
    address = str((service or {}).get("spec", {}).get("clusterIP") or "")
    return "" if address == "None" else address
