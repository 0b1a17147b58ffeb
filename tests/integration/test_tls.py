"""The service behind its own TLS, reached with SSL_CERT_FILE naming a site's certificate authority."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from faas.errors import ServiceUnavailable
from faas.link import Link
from faas.models import CreateObject, Grant, WhoAmI
from tests.integration.served import Served, fail_to_serve
from tests.services.processes import free_port


@dataclass
class Certificates:
    """A certificate authority, and a certificate of it for this machine's loopback address."""

    authority: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    return make_certificates(directory)


def make_certificates(directory: Path) -> Certificates:
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, f"authority of {directory.name}")])
    now = datetime.datetime.now(datetime.timezone.utc)

    def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    authority = (
        builder(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    own = (
        builder(x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    made = Certificates(directory / "authority.pem", directory / "certificate.pem", directory / "key.pem")
    made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(own.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


class ServedByTLS(Served):
    """A service whose certificate names 127.0.0.1."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        super().__init__(directory, "--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key))
        self._authority = certificates.authority
        self.url = f"https://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        trust = ssl.create_default_context(cafile=self._authority)
        try:
            return httpx.get(f"{self.url}/v1/health", verify=trust, trust_env=False).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Served]:
    with ServedByTLS(tmp_path_factory.mktemp("tls") / "data", certificates) as running:
        yield running


def test_credentials_name_the_https_address(served: Served) -> None:
    assert served.credentials.url == served.url


def test_requests_and_objects_with_the_sites_authority(
    served: Served, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with served.link() as link:
        assert link.request("GET", "/v1/whoami", response=WhoAmI).scope == "client"
        grant = link.request("POST", "/v1/objects", CreateObject(size_bytes=5), response=Grant)
        link.put_object(grant, b"bytes")
        again = link.request("GET", f"/v1/objects/{grant.object_id}", response=Grant)
        assert link.get_object(again) == b"bytes"


def test_an_authority_that_is_not_trusted(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(make_certificates(tmp_path).authority))
    with served.link() as link, pytest.raises(ServiceUnavailable, match="SSL_CERT_FILE"):
        link.request("GET", "/v1/whoami", response=WhoAmI)


def test_plain_http_is_not_answered(served: Served) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{served.port}/v1/health", trust_env=False)
    with (
        Link(f"http://127.0.0.1:{served.port}", served.credentials.token, attempts=1) as link,
        pytest.raises(ServiceUnavailable, match="faas up"),
    ):
        link.request("GET", "/v1/whoami", response=WhoAmI)


def test_a_key_of_another_certificate(tmp_path: Path, certificates: Certificates) -> None:
    other = make_certificates(tmp_path)
    line = fail_to_serve(
        *("--data-dir", str(tmp_path / "data"), "--port", str(free_port())),
        *("--tls-cert", str(certificates.certificate), "--tls-key", str(other.key)),
    )
    assert str(other.key) in line


def test_a_certificate_that_is_none(tmp_path: Path, certificates: Certificates) -> None:
    (tmp_path / "certificate.pem").write_text("no certificate")
    line = fail_to_serve(
        *("--data-dir", str(tmp_path / "data"), "--port", str(free_port())),
        *("--tls-cert", str(tmp_path / "certificate.pem"), "--tls-key", str(certificates.key)),
    )
    assert str(tmp_path / "certificate.pem") in line


def test_a_key_that_needs_a_password(tmp_path: Path, certificates: Certificates) -> None:
    key = serialization.load_pem_private_key(certificates.key.read_bytes(), None)
    locked = tmp_path / "key.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    line = fail_to_serve(
        *("--data-dir", str(tmp_path / "data"), "--port", str(free_port())),
        *("--tls-cert", str(certificates.certificate), "--tls-key", str(locked)),
    )
    assert "unencrypted" in line
