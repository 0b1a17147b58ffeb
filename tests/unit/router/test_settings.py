"""What the service may be told, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from faas.errors import ConfigurationError
from router.settings import DEFAULT_PORT, is_loopback, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FAAS_DATABASE_URL", "FAAS_STORE", "FAAS_PORT", "FAAS_DATA_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAAS_HOME", str(tmp_path / "home"))


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Path]:
    files = {"tls_certificate": tmp_path / "certificate.pem", "tls_key": tmp_path / "key.pem"}
    for path in files.values():
        path.write_text("")
    return files


def test_by_default_everything_is_in_the_home_directory(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.data_directory == tmp_path / "home"
    assert settings.database_url == f"sqlite:///{tmp_path}/home/registry.sqlite"
    assert settings.store_url == f"file://{tmp_path}/home/store"
    assert settings.public_url == f"http://127.0.0.1:{DEFAULT_PORT}"


def test_the_data_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(data_directory="try me")
    assert settings.data_directory == tmp_path / "try me"
    assert settings.database_url.endswith("/try me/registry.sqlite")
    assert settings.store_url.endswith("/try%20me/store")


def test_options_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAAS_DATABASE_URL", "postgresql+psycopg://variable/faas")
    monkeypatch.setenv("FAAS_STORE", "s3://variable/prefix")
    settings = load_settings(store_url="s3://option/prefix", port=None)
    assert settings.database_url == "postgresql+psycopg://variable/faas"
    assert settings.store_url == "s3://option/prefix"
    assert load_settings().store_url == "s3://variable/prefix"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "faas.example.org"])
def test_other_machines_are_not_served_without_tls(host: str, certificate: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"without TLS.*--tls-cert and --tls-key, or --insecure"):
        load_settings(host=host)
    assert load_settings(host=host, insecure=True).public_url.startswith("http://")
    assert load_settings(host=host, **certificate).public_url.startswith("https://")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert is_loopback(host)
    assert load_settings(host=host).host == host


@pytest.mark.parametrize(
    ("host", "url"),
    [("::1", "http://[::1]:9"), ("localhost", "http://localhost:9"), ("0.0.0.0", "http://127.0.0.1:9")],
)
def test_the_public_url_follows_from_the_address(host: str, url: str) -> None:
    assert load_settings(host=host, port=9, insecure=True).public_url == url


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, "--port: input should be greater than or equal to 1"),
        ({"port": 65536}, "--port: input should be less than or equal to 65535"),
        ({"port": "http"}, "--port: input should be a valid integer"),
        ({"tls_certificate": "/no/such/file"}, "--tls-cert: cannot read /no/such/file: No such file or directory"),
        ({"store_url": "ftp://x"}, "--store or FAAS_STORE: 'ftp://x' is neither"),
        ({"store_url": "file://relative"}, "is neither"),
        ({"public_url": "faas.example.org"}, "does not start with http"),
        ({"log_level": "loud"}, "--log-level: input should be 'critical'"),
        ({"lease_timeout_s": 0}, "FAAS_LEASE_TIMEOUT_S"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_certificate_needs_its_key(certificate: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match="add --tls-key"):
        load_settings(tls_certificate=certificate["tls_certificate"])
    with pytest.raises(ConfigurationError, match="add --tls-cert"):
        load_settings(tls_key=certificate["tls_key"])
