"""How an API server is reached: the local platform's, by its folder, or a real cluster's, by the pod's own account."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiphys.local.settings import Settings

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a kubelet puts a pod's token and the authority that its API server's certificate is checked by."""


class NoAccess(Exception):
    """This process cannot tell where its API server is; the message says what is missing."""


@dataclass(frozen=True)
class Access:
    """One API server and what it is asked with.

    Attributes:
        url: its base URL.
        token: the bearer token, or the file that holds it.
        authority: certificates that the server's own must be signed by; None for plain HTTP.
    """

    url: str
    token: str | Path
    authority: Path | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of a call. The file is read each time: a kubelet renews a pod's token every hour.

        Raises:
            FileNotFoundError: there is no such file, or not yet.
        """
        token = self.token.read_text().strip() if isinstance(self.token, Path) else self.token
        return {"Authorization": f"Bearer {token}"}

    def tls(self) -> ssl.SSLContext | None:
        """Return what a connection is checked by; None for plain HTTP."""
        if self.authority is None:
            return None
        context = ssl.create_default_context(cafile=str(self.authority))
        # Since Python 3.13 an authority must say what its key is for; those of many clusters do not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def of_home(home: Path) -> Access:
    """Return the access to the local platform in `home`."""
    settings = Settings.load(home)
    return Access(settings.api_url, settings.token_file)


def in_cluster(environ: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> Access:
    """Return the access that a pod of a real cluster has by its ServiceAccount.

    Raises:
        NoAccess: this is no pod, or one without its account's token.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise NoAccess("KUBERNETES_SERVICE_HOST is not set: this is no pod of a cluster; name a platform with --home")
    for file in (account / "token", account / "ca.crt"):
        if not file.exists():
            raise NoAccess(f"there is no {file}: the pod needs its account's token (automountServiceAccountToken)")
    host = f"[{host}]" if ":" in host else host
    return Access(f"https://{host}:{port}", account / "token", account / "ca.crt")


def access(home: Path | None) -> Access:
    """Return the access to the platform in `home`, or, where there is no home, to the cluster of this pod.

    Raises:
        NoAccess: there is no home, and this is no pod.
    """
    return of_home(home) if home else in_cluster()
