"""`faas serve`: options reach the service's settings, and wrong ones are refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from faas.commands import app
from router.settings import ServiceSettings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServiceSettings]:
    """Settings of the services that would have been started."""
    started: list[ServiceSettings] = []
    stand_in = ModuleType("router.app")
    stand_in.serve = started.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "router.app", stand_in)
    for name in ("FAAS_DATABASE_URL", "FAAS_STORE", "FAAS_PORT"):
        monkeypatch.delenv(name, raising=False)
    return started


def test_options_become_settings(served: list[ServiceSettings], tmp_path: Path) -> None:
    options = ["--data-dir", str(tmp_path), "--port", "9001", "--store", "s3://bucket/prefix", "--log-level", "info"]
    assert app.run(["serve", *options]) == 0
    (settings,) = served
    assert settings.data_directory == tmp_path
    assert settings.port == 9001
    assert settings.host == "127.0.0.1"
    assert settings.store_url == "s3://bucket/prefix"
    assert settings.log_level == "info"


def test_variables_count_where_no_option_is_given(
    served: list[ServiceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAAS_DATABASE_URL", "postgresql+psycopg://host/faas")
    monkeypatch.setenv("FAAS_STORE", "s3://bucket")
    assert app.run(["serve"]) == 0
    assert served[0].database_url == "postgresql+psycopg://host/faas"
    assert served[0].store_url == "s3://bucket"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "without TLS"),
        (["--port", "0"], "--port"),
        (["--tls-cert", "/no/such/file"], "cannot read /no/such/file"),
        (["--store", "ftp://x"], "neither file:///directory nor s3://bucket/prefix"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], message: str, served: list[ServiceSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["serve", *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("faas: ")
    assert message in line
    assert served == []
