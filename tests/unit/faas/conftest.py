"""Fixtures of commands' tests: a real service, whose only endpoint is played by the test."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faas.client import Client
from faas.credentials import read_credentials
from faas.models import Nothing
from tests.unit.faas.played_site import Faas, Site


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a running service."""
    directory = tmp_path_factory.mktemp("service")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "faas.commands.app", "serve", "--data-dir", str(directory), "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name not in ("FAAS_DATABASE_URL", "FAAS_STORE")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 60)[0]
            assert "faas serves at" in process.stdout.readline()
            yield directory
        finally:
            process.terminate()


@pytest.fixture
def credentials(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever types commands is known to the service."""
    for name in ("FAAS_URL", "FAAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAAS_CREDENTIALS", str(directory / "credentials.json"))
    monkeypatch.setenv("FAAS_HOME", str(directory))


@pytest.fixture
def client(directory: Path) -> Iterator[Client]:
    found = read_credentials(directory / "credentials.json")
    with Client(found.url, found.token) as client:
        yield client


@pytest.fixture
def site(client: Client) -> Iterator[Site]:
    """Stopped, its session is closed, and what waits for it stays queued."""
    site = Site(client)
    yield site
    site.link.request("DELETE", f"/v1/sessions/{site.session.session_id}", response=Nothing)
    site.link.close()


@pytest.fixture
def faas(capsys: pytest.CaptureFixture[str]) -> Faas:
    return Faas(capsys)
