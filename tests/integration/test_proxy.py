"""Agent and client behind a site's proxy, which cuts what is silent for 30 s, and with the site's own authority."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import faas
from endpoints.leasing import _WAIT_S as LEASE_WAIT_S
from endpoints.session import SessionState
from faas.collector import POLL_S
from faas.credentials import read_credentials
from faas.models import LeaseRequest
from router.api.sessions import _MAX_HEARTBEAT_WAIT_S
from router.dispatch import MAX_WAIT_S
from tests.integration.served import COMMAND, Served, surroundings
from tests.services.certificates import Certificates, make_certificates
from tests.services.processes import Process
from tests.services.tinyproxy import Tinyproxy

CUT_S = 30
LIMIT_S = 120
ADDRESS = "127.0.0.2"  # not what requests go straight to, whatever the proxy
AGENT = [*COMMAND[:-1], "endpoint"]


class ServedAside(Served):
    """A service that is reached through the proxy only."""

    def __init__(self, directory: Path, certificates: Certificates | None) -> None:
        options = ["--host", ADDRESS]
        if certificates is not None:
            options += ["--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key)]
        super().__init__(directory, *options)
        self.url = f"{'https' if certificates else 'http'}://{ADDRESS}:{self.port}"
        self._trust = ssl.create_default_context(cafile=certificates.authority) if certificates else False

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v1/health", verify=self._trust, trust_env=False).is_success
        except httpx.TransportError:
            return False


class Behind:
    """An endpoint and a client behind the proxy."""

    def __init__(self, home: Path, served: Served, proxy: Tinyproxy, client: faas.Client) -> None:
        self.served = served
        self.proxy = proxy
        self.client = client
        self._state = home / "endpoints" / "lab" / "state.json"

    def log(self) -> str:
        """What the agent wrote."""
        return self._state.with_name("agent.log").read_text()

    @property
    def state(self) -> SessionState | None:
        return SessionState.load(self._state)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, self.proxy.log()[-3000:]
            time.sleep(0.05)


@contextmanager
def behind(directory: Path, monkeypatch: pytest.MonkeyPatch, *, tls: bool, timeout_s: int) -> Iterator[Behind]:
    certificates = make_certificates(directory, ADDRESS) if tls else None
    home = directory / "home"
    with Tinyproxy(directory, timeout_s=timeout_s) as proxy, ServedAside(home, certificates) as served:
        variables = {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url, "NO_PROXY": "", "FAAS_HOME": str(home)}
        if certificates is not None:
            variables["SSL_CERT_FILE"] = str(certificates.authority)
        for name in os.environ.keys() - surroundings().keys():
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
            monkeypatch.delenv(name.lower(), raising=False)
        configure = Process([*AGENT, "configure", "lab", "--workers", "1"], directory / "configure.log")
        assert configure.wait() == 0, configure.log.read_text()
        agent = Process([*AGENT, "start", "lab"], directory / "agent.log")
        try:
            credentials = read_credentials(home / "credentials.json")
            with faas.Client(url=credentials.url, token=credentials.token) as client:
                site = Behind(home, served, proxy, client)
                agent.wait_until(lambda: site.state is not None and site.state.ready)
                yield site
        finally:
            agent.stop(timeout_s=30)


def size(data: bytes) -> bytes:
    return data[::-1]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tunnelled"])
def test_tasks_travel_through_the_proxy(tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind(tmp_path, monkeypatch, tls=tls, timeout_s=CUT_S) as site:
        large = bytes(range(256)) * 20_000
        with faas.Executor(client=site.client, endpoint_id="lab") as executor:
            assert executor.submit(size, b"small").result(LIMIT_S) == b"llams"
            assert executor.submit(size, large).result(LIMIT_S) == large[::-1]
        place = f"{ADDRESS}:{site.served.port}"
        lines = site.proxy.log()
        assert (f"CONNECT {place}" if tls else f"http://{place}/v1/sessions") in lines
        assert "away" not in site.log()


def test_connections_that_are_cut_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy far more impatient than any: every long poll is cut, and nothing is lost by it."""
    with behind(tmp_path, monkeypatch, tls=True, timeout_s=1) as site:
        with faas.Executor(client=site.client, endpoint_id="lab") as executor:
            assert executor.submit(size, b"before").result(LIMIT_S) == b"erofeb"
            opened = site.state
            cuts = site.proxy.cuts()
            site.until(lambda: site.proxy.cuts() >= cuts + 4)
            assert executor.submit(size, b"after").result(LIMIT_S) == b"retfa"
        assert opened is not None and site.state is not None
        assert site.state.session_id == opened.session_id


def test_no_poll_is_longer_than_proxies_wait() -> None:
    """What agent and client ask for, and what the service grants anybody."""
    asked = LeaseRequest(number=1, workers=0, idle_workers=0).wait_s
    assert max(asked, LEASE_WAIT_S, POLL_S, MAX_WAIT_S, _MAX_HEARTBEAT_WAIT_S) < CUT_S
