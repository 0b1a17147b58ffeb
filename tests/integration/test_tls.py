"""The service behind its own TLS, reached with SSL_CERT_FILE naming a site's certificate authority."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from faas.errors import ServiceUnavailable
from faas.link import Link
from faas.models import CreateObject, Grant, Location, Upload, WhoAmI
from faas.transfer import download_bytes, upload_bytes
from tests.integration.served import Served, fail_to_serve
from tests.services.certificates import Certificates, make_certificates
from tests.services.processes import free_port


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    return make_certificates(directory)


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
        [grant] = link.request("POST", "/v1/objects", CreateObject(size_bytes=5), response=Upload).grants
        link.put_object(grant, b"bytes")
        again = link.request("GET", f"/v1/objects/{grant.object_id}", response=Grant)
        assert link.get_object(again) == b"bytes"
        large = bytes(range(256)) * 80_000
        stored = upload_bytes(link, large, CreateObject(size_bytes=0))
        assert download_bytes(link, Location(stored.object_id, 0, len(large)), sha256=stored.sha256) == large


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
