"""The API server's own certificate, for clients that keep a bearer token to themselves on plain HTTP.

kubectl (client-go) sends the token of a kubeconfig only over TLS. So the server listens twice: plain HTTP for the
platform's own processes, TLS for the kubeconfig, which carries this self-signed certificate as its authority.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tiphys.local.files import locked, write_whole
from tiphys.local.settings import Settings

_LIFETIME = timedelta(days=3650)


def ensure_certificate(settings: Settings) -> tuple[Path, Path]:
    """Return the files of the certificate and of its key (0600), making them if there are none.

    The name of the file carries the address, so a platform moved to another network number gets a new one.
    """
    certificate = settings.home / f"apiserver-{settings.api_host}.crt"
    key = certificate.with_suffix(".key")
    with locked(settings.home / "apiserver-tls.lock"):
        if not (certificate.exists() and key.exists()):
            certificate_text, key_text = _self_signed(settings.api_host)
            write_whole(key, key_text)
            write_whole(certificate, certificate_text)
    return certificate, key


def _self_signed(address: str) -> tuple[str, str]:
    # Imported here: it is needed once in a platform's life and takes a tenth of a second to load.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tiphys local API server")])
    names = [x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName("localhost")]
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
