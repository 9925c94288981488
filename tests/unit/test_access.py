"""How an API server is found: the local platform's by its folder, a real cluster's by the pod's own account."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tiphys.local.access import Access, NoAccess, access, in_cluster
from tiphys.local.client import Kube
from tiphys.local.operator.helper import Api
from tiphys.local.settings import Settings

HOST = "127.0.0.1"


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The folder that a kubelet makes for a pod; its authority says nothing of what its key is for, as many do not."""
    folder = tmp_path / "account"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
        + ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", f"subjectAltName=IP:{HOST}"]
        + ["-keyout", str(folder / "key"), "-out", str(folder / "ca.crt")],
        check=True,
        capture_output=True,
    )
    (folder / "token").write_text("first\n")
    return folder


def test_a_platforms_folder_gives_its_address_and_the_file_of_its_token(tmp_path: Path) -> None:
    Settings(tmp_path, network=77).save()
    assert access(tmp_path) == Access("http://127.77.0.1:6443", tmp_path / "admin.token")
    assert access(tmp_path).tls() is None


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "https://10.96.0.1:443"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://[fd00::1]:6443"),
    ],
)
def test_a_pod_has_its_cluster_by_its_account(account: Path, environ: dict[str, str], url: str) -> None:
    assert in_cluster(environ, account) == Access(url, account / "token", account / "ca.crt")


def test_what_is_missing_is_said(account: Path) -> None:
    with pytest.raises(NoAccess, match="KUBERNETES_SERVICE_HOST"):
        in_cluster({}, account)
    (account / "token").unlink()
    with pytest.raises(NoAccess, match="automountServiceAccountToken"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, account)


async def test_a_token_that_was_renewed_is_used_at_the_next_call(account: Path) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({"kind": "Pod", "metadata": {"name": "a"}})

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(account / "ca.crt", account / "key")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, ssl_context=context)
    await site.start()
    try:
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        async with Kube(f"https://{HOST}:{port}", account / "token", account / "ca.crt") as kube:
            await kube.get("pods", "a", "b")
            (account / "token").write_text("second\n")
            await kube.get("pods", "a", "b")
    finally:
        await runner.cleanup()
    assert seen == ["Bearer first", "Bearer second"]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that is no pod."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield


def test_a_helper_without_a_home_is_a_pods(elsewhere: None) -> None:
    with pytest.raises(NoAccess, match="--home"):
        Api(None, "tiphys")
