"""What a check finds on the way to the service: proxy, answer, token, clock."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from endpoints.check_service import check_proxy, check_service
from endpoints.findings import Finding
from faas import codec
from faas.credentials import Credentials
from faas.models import Problem, WhoAmI
from tests.services.processes import free_port
from tests.services.web_server import WebServer


class Service:
    """Answers who it takes the caller for, at a time of its own."""

    def __init__(self, scope: str = "endpoint", *, ahead_s: float = 0, refuse: bool = False) -> None:
        self.who = WhoAmI(identity_id="i", identity="ada", scope=scope, token_id="t")  # type: ignore[arg-type]
        self.ahead_s = ahead_s
        self.refuse = refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body: Any = Problem(title="no", status=401, detail="This token was revoked.") if self.refuse else self.who
        headers = [
            (b"content-type", codec.MSGPACK.encode()),
            (b"date", formatdate(time.time() + self.ahead_s, usegmt=True).encode()),
        ]
        await send({"type": "http.response.start", "status": 401 if self.refuse else 200, "headers": headers})
        await send({"type": "http.response.body", "body": codec.encode(body)})


def findings(service: Service) -> dict[str, Finding]:
    with WebServer(service, dated=False) as server:
        return {each.what: each for each in check_service(Credentials(url=server.url, token="token"))}


def test_all_is_well() -> None:
    assert {what: each.state for what, each in findings(Service()).items()} == dict.fromkeys(
        ("service", "token", "clock"), "ok"
    )


def test_tokens_that_are_not_an_agents() -> None:
    assert findings(Service("client"))["token"].state == "FAIL"
    refused = findings(Service(refuse=True))["token"]
    assert refused.state == "FAIL" and "revoked" in refused.told and "configure" in refused.fix


@pytest.mark.parametrize(
    ("ahead_s", "state", "word"),
    [(60, "warn", "behind"), (-60, "warn", "ahead"), (4000, "FAIL", "behind"), (-4000, "FAIL", "ahead")],
)
def test_clocks_that_differ(ahead_s: float, state: str, word: str) -> None:
    clock = findings(Service(ahead_s=ahead_s))["clock"]
    assert (clock.state, word in clock.told) == (state, True)
    assert "clock" in clock.fix


def test_nobody_answers() -> None:
    (finding,) = check_service(Credentials(url=f"http://127.0.0.1:{free_port()}", token="token"))
    assert finding.state == "FAIL" and "No usable answer" in finding.told


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{free_port()}")
    (finding,) = check_proxy(Credentials(url="https://faas.example.org", token="token"))
    assert finding.state == "FAIL" and "secret" not in str(finding) and "HTTPS_PROXY" in finding.fix
    (straight,) = check_proxy(Credentials(url="http://127.0.0.1:1", token="token"))
    assert straight.state == "ok" and "none" in straight.told
