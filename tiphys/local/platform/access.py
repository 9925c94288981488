"""What lets people and programs in: the API server's token, the kubeconfig, the webhook's bearer."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import yaml

from tiphys.local.apiserver.certificate import ensure_certificate
from tiphys.local.client import AlreadyExists, Kube
from tiphys.local.files import locked, write_whole
from tiphys.local.settings import NAMESPACE, Settings

WEBHOOK_SECRET = "tiphys-webhook"
WEBHOOK_KEY = "token"


def ensure_token(settings: Settings) -> str:
    """Return the API server's bearer token, making a random one the first time."""
    with locked(settings.token_file.with_suffix(".lock")):
        if settings.token_file.exists():
            return settings.token_file.read_text().strip()
        token = secrets.token_urlsafe(32)
        write_whole(settings.token_file, token + "\n")
        return token


def kubeconfig(settings: Settings, token: str) -> dict[str, Any]:
    """Return a kubeconfig with one context, ``tiphys``, in the pack's namespace."""
    name = "tiphys"
    certificate, _ = ensure_certificate(settings)
    authority = base64.b64encode(certificate.read_bytes()).decode()
    cluster = {"server": settings.api_tls_url, "certificate-authority-data": authority}
    context = {"cluster": name, "user": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }


def write_kubeconfig(settings: Settings) -> None:
    """Write the platform's kubeconfig, readable to its owner only."""
    text = yaml.safe_dump(kubeconfig(settings, ensure_token(settings)), sort_keys=False)
    write_whole(settings.kubeconfig, text)


async def ensure_webhook_secret(kube: Kube) -> bool:
    """Create the Secret with the webhooks' bearer if there is none; return whether one was created."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": WEBHOOK_SECRET, "namespace": NAMESPACE},
        "type": "Opaque",
        "data": {WEBHOOK_KEY: base64.b64encode(secrets.token_urlsafe(32).encode()).decode()},
    }
    try:
        await kube.create("secrets", secret)
    except AlreadyExists:
        return False
    return True


async def webhook_token(kube: Kube) -> str:
    """Return the bearer that the webhooks ask for."""
    secret = await kube.get("secrets", WEBHOOK_SECRET, NAMESPACE)
    return base64.b64decode(secret["data"][WEBHOOK_KEY]).decode()
