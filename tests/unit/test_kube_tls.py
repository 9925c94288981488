"""Which certificates of API servers are taken: those that kubectl takes, and no others."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import urllib3.connection
import urllib3.util.ssl_
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from steps.kube import client
from steps.kube.errors import Unreachable

PEM = serialization.Encoding.PEM


def certificate(name: str, issuer: str, key: Any, signer: Any, *extensions: tuple[Any, bool]) -> bytes:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    built = x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    for extension, critical in extensions:
        built = built.add_extension(extension, critical)
    return built.sign(signer, hashes.SHA256()).public_bytes(PEM)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"items": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of a server whose authority says no more of itself than that it is one."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate("old", "old", authority, authority, (x509.BasicConstraints(True, None), True))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    files = {name: tmp_path / name for name in ("ca", "crt", "key", "config")}
    files["ca"].write_bytes(ca)
    files["crt"].write_bytes(certificate("api", "old", own, authority, (address, False)))
    plain = serialization.NoEncryption()
    files["key"].write_bytes(own.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["crt"], files["key"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    write(files["config"], server.server_port, {"certificate-authority": str(files["ca"])})
    yield files["config"]
    server.shutdown()
    server.server_close()
    thread.join(10)


def write(file: Path, port: int, trust: dict[str, object]) -> None:
    cluster = {"server": f"https://127.0.0.1:{port}", **trust}
    named = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    whole = {"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [named]}
    users = [{"name": "x", "user": {"token": "t"}}]
    file.write_text(json.dumps({**whole, "clusters": [{"name": "x", "cluster": cluster}], "users": users}))


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What urllib3 does under Python 3.13, that of the image, under an older one, too."""
    real = urllib3.util.ssl_.create_urllib3_context

    def made(*arguments: Any, **named: Any) -> ssl.SSLContext:
        context = real(*arguments, **named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    for module in (urllib3.util.ssl_, urllib3.connection):
        monkeypatch.setattr(module, "create_urllib3_context", made)


def listed(config: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setenv("KUBECONFIG", str(config))
    with closing(client.connect("tiphys")) as kube:
        return kube.all("pods")


def test_an_authority_without_key_usage_is_taken(place: Path, strict: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(place, monkeypatch) == []


def test_a_server_of_another_authority_is_not(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = certificate("old", "old", key, key, (x509.BasicConstraints(True, None), True))
    (place.parent / "ca").write_bytes(other)
    with pytest.raises(Unreachable, match="certificate verify failed|signature"):
        listed(place, monkeypatch)


def test_nor_is_one_of_another_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write_text(place.read_text().replace("127.0.0.1", "localhost"))
    with pytest.raises(Unreachable, match="localhost"):
        listed(place, monkeypatch)


def test_who_asks_for_no_check_gets_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(json.loads(place.read_text())["clusters"][0]["cluster"]["server"].rpartition(":")[2])
    write(place, port, {"insecure-skip-tls-verify": True})
    with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        assert listed(place, monkeypatch) == []
