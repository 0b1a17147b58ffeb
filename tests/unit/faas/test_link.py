"""Link and AsyncLink: what is tried again, what is final, what errors say, and where the token goes."""

from __future__ import annotations

import asyncio
import email.utils
import http.server
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import tenacity

from endpoints.transport import aiohttp_transport
from faas import codec
from faas.errors import (
    REFUSALS,
    ConfigurationError,
    NotFound,
    PermissionDenied,
    RequestRefused,
    ServiceUnavailable,
)
from faas.exchange import Again, _pause, _tell, check_token, check_url, refused_or_again
from faas.link import AsyncLink, Link
from faas.models import Grant, Health, Location, Problem, WhoAmI
from faas.transports import asynchronous

UP = Health(status="up", version="1")


class Answers:
    """Gives these answers one after the other, the last for ever, and notes the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._next(request)

    async def awaited(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._next(request)

    def _next(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


class Linked(Protocol):
    """A link of either kind, called the same way."""

    def __call__(self, answers: Answers, use: Callable[[Any], Any], **options: Any) -> Any: ...


def _blocking(answers: Answers, use: Callable[[Any], Any], **options: Any) -> Any:
    with Link("http://service.test", "secret", transport=httpx.MockTransport(answers), **options) as link:
        return use(link)


def _asynchronous(answers: Answers, use: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        transport = httpx.MockTransport(answers.awaited)
        async with AsyncLink("http://service.test", "secret", connect=lambda _: transport, **options) as link:
            return await use(link)

    return asyncio.run(run())


@pytest.fixture(params=[_blocking, _asynchronous])
def linked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Linked:
    monkeypatch.setattr("faas.exchange._BACKOFF", lambda state: 0.0)
    chosen: Linked = request.param
    return chosen


def ok(model: Any = UP, content_type: str = codec.MSGPACK) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": content_type}, content=codec.encode(model, content_type))


def refused(status: int, detail: str = "No.", **fields: Any) -> httpx.Response:
    problem = Problem(title="Refused", status=status, detail=detail, **fields)
    return httpx.Response(
        status, headers={"Content-Type": "application/problem+json"}, content=codec.encode(problem, codec.JSON)
    )


def health(link: Any) -> Any:
    return link.request("GET", "/v1/health", response=Health)


@pytest.mark.parametrize("content_type", codec.CONTENT_TYPES)
def test_sends_the_token_and_msgpack_and_takes_either(linked: Linked, content_type: str) -> None:
    answers = Answers(ok(content_type=content_type))
    given = linked(answers, lambda link: link.request("POST", "/v1/x", UP, response=Health, params={"after": 3}))
    assert given == UP
    (request,) = answers.requests
    assert str(request.url) == "http://service.test/v1/x?after=3"
    assert request.headers["Authorization"] == "Bearer secret"
    assert codec.decode(request.content, Health) == UP


@pytest.mark.parametrize(
    "trouble",
    [
        *(refused(status) for status in (408, 425, 429, 500, 502, 503, 504)),
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("closed"),
        httpx.PoolTimeout("busy"),
        httpx.ProxyError("bad gateway"),
    ],
    ids=lambda trouble: str(getattr(trouble, "status_code", type(trouble).__name__)),
)
def test_tries_again_what_may_pass(linked: Linked, trouble: Any) -> None:
    answers = Answers(trouble, trouble, ok())
    assert linked(answers, health) == UP
    assert len(answers.requests) == 3


@pytest.mark.parametrize("status", [*REFUSALS, 405, 422])
def test_a_refusal_is_final_and_keeps_what_it_says(linked: Linked, status: int) -> None:
    answers = Answers(refused(status, "It is odd.", fix="Make it even.", field="tasks[3].count"))
    with pytest.raises(REFUSALS.get(status, RequestRefused)) as caught:
        linked(answers, health)
    error = caught.value
    assert (error.status, error.detail, error.fix, error.field) == (
        status,
        "It is odd.",
        "Make it even.",
        "tasks[3].count",
    )
    assert str(error) == "It is odd. Make it even."
    assert len(answers.requests) == 1


def test_a_refusal_by_something_else_is_told_as_it_is(linked: Linked) -> None:
    answers = Answers(httpx.Response(403, text="<h1>Blocked</h1> by   the proxy"))
    with pytest.raises(PermissionDenied, match=r"GET http://service.test/v1/health: <h1>Blocked</h1> by the proxy"):
        linked(answers, health)


def test_when_tries_end_the_address_and_the_fix_are_named(linked: Linked) -> None:
    answers = Answers(httpx.ConnectError("[Errno 111] Connection refused"))
    with pytest.raises(ServiceUnavailable, match=r"http://service\.test: .*Connection refused.*`faas up`.*FAAS_URL"):
        linked(answers, health, attempts=3)
    assert len(answers.requests) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, headers={"Content-Type": "text/html"}, text="<h1>Log in</h1>"), "does not speak like"),
        (ok(Problem(title="", status=1, detail="")), "does not speak like"),
        (httpx.Response(301, headers={"Location": "https://elsewhere.test/"}), "points to https://elsewhere.test/"),
    ],
)
def test_another_server_at_that_address_is_noticed(linked: Linked, answer: httpx.Response, words: str) -> None:
    with pytest.raises(ServiceUnavailable, match=words):
        linked(Answers(answer), lambda link: link.request("GET", "/v1/whoami", response=WhoAmI))


def test_an_address_without_tls_is_final(linked: Linked) -> None:
    answers = Answers(httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number"))
    with pytest.raises(ServiceUnavailable, match="Write http://"):
        linked(answers, health)
    assert len(answers.requests) == 1


def test_tries_that_take_long_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    def state(passed_s: float, pause_s: float) -> tenacity.RetryCallState:
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.start_time, state.outcome_timestamp = 0.0, passed_s
        state.outcome = tenacity.Future.construct(1, Again("Connection refused."), True)
        state.upcoming_sleep = pause_s
        return state

    _tell(state(0.5, 0.5))
    assert not caplog.records
    _tell(state(1.5, 3.0))
    assert caplog.messages == ["No usable answer yet: Connection refused. Trying again in 3 s …"]


def test_what_the_libraries_went_through_is_not_shown(linked: Linked) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        linked(Answers(httpx.ConnectError("Connection refused")), health)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert caught.value.__cause__.__traceback__ is None


def test_an_untrusted_certificate_is_final(linked: Linked) -> None:
    answers = Answers(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    with pytest.raises(ServiceUnavailable, match="SSL_CERT_FILE"):
        linked(answers, health)
    assert len(answers.requests) == 1


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("0", 0, 0), ("7", 7, 7), ("100000", 60, 60), ("soon", 0, 0), ("", 0, 0), ("DATE", 20, 31)],
)
def test_retry_after_is_honoured(monkeypatch: pytest.MonkeyPatch, text: str, least: float, most: float) -> None:
    monkeypatch.setattr("faas.exchange._BACKOFF", lambda state: 0.0)
    if text == "DATE":
        text = email.utils.formatdate(time.time() + 30, usegmt=True)
    answer = httpx.Response(
        503, headers={"Retry-After": text} if text else {}, request=httpx.Request("GET", "http://service.test")
    )
    error = refused_or_again(answer)
    assert isinstance(error, Again)
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.set_exception((Again, error, None))
    assert least <= _pause(state) <= most


# Objects


@pytest.mark.parametrize(
    ("url", "goes_to"),
    [
        ("/v1/store/key?signature=s", "http://service.test/v1/store/key?signature=s"),
        ("https://bucket.s3.test/key?X-Amz-Signature=s", "https://bucket.s3.test/key?X-Amz-Signature=s"),
        ("//evil.test/key", "http://service.test//evil.test/key"),
    ],
)
def test_objects_are_read_in_ranges_without_the_token(linked: Linked, url: str, goes_to: str) -> None:
    answers = Answers(httpx.Response(503), httpx.Response(206, content=b"345"))
    grant = Grant(object_id="o", verb="GET", url=url, headers={"X-Signed": "1"})
    assert linked(answers, lambda link: link.get_object(grant, Location("o", 3, 3))) == b"345"
    for request in answers.requests:
        assert str(request.url) == goes_to
        assert "Authorization" not in request.headers
        assert request.headers["Range"] == "bytes=3-5"
        assert request.headers["X-Signed"] == "1"


@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 3 * 1024 * 1024 + 1])
def test_objects_are_saved_unless_they_are_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    monkeypatch.setattr("faas.exchange._BACKOFF", lambda state: 0.0)
    data = os.urandom(size)
    grant = Grant(object_id="o", verb="GET", url="https://bucket.s3.test/o")
    for small_bytes in (-1, 1000):
        path = tmp_path / f"{small_bytes}"
        answers = Answers(httpx.Response(503), httpx.Response(200, content=data))
        kept = _asynchronous(answers, partial(_save, grant, path, small_bytes))
        assert (path.read_bytes() if kept is None else kept) == data
        assert path.exists() == (size > small_bytes)
    with pytest.raises(NotFound, match="NoSuchKey"):
        _asynchronous(Answers(httpx.Response(404, text="NoSuchKey")), partial(_save, grant, tmp_path / "x", 0))


def _save(grant: Grant, path: Path, small_bytes: int, link: Any) -> Any:
    return link.save_object(grant, path, small_bytes)


def test_a_store_that_ignores_ranges_will_do(linked: Linked) -> None:
    grant = Grant(object_id="o", verb="GET", url="/v1/store/o")
    answers = Answers(httpx.Response(200, content=b"0123456789"))
    assert linked(answers, lambda link: link.get_object(grant, Location("o", 3, 3))) == b"345"
    assert linked(answers, lambda link: link.get_object(grant)) == b"0123456789"


def test_a_short_answer_is_asked_for_again(linked: Linked) -> None:
    grant = Grant(object_id="o", verb="GET", url="/v1/store/o")
    answers = Answers(httpx.Response(206, content=b"34"), httpx.Response(206, content=b"345"))
    assert linked(answers, lambda link: link.get_object(grant, Location("o", 3, 3))) == b"345"


def test_objects_are_written_from_memory_and_from_files(linked: Linked, tmp_path: Path) -> None:
    data = os.urandom(3 * 1024 * 1024 + 1)
    path = tmp_path / "result"
    path.write_bytes(data)
    grant = Grant(object_id="o", verb="PUT", url="https://bucket.s3.test/o", headers={"Content-Type": "x/y"})
    for source in (data, path):
        answers = Answers(httpx.Response(500), httpx.Response(200))
        linked(answers, partial(_put, grant, source))
        for request in answers.requests:
            assert request.content == data
            assert request.headers["Content-Length"] == str(len(data))
            assert "Transfer-Encoding" not in request.headers
            assert request.headers["Content-Type"] == "x/y"
            assert "Authorization" not in request.headers


def _put(grant: Grant, source: bytes | Path, link: Any) -> Any:
    return link.put_object(grant, source)


def test_a_store_out_of_reach_is_named(linked: Linked) -> None:
    grant = Grant(object_id="o", verb="GET", url="https://bucket.s3.test/o?X-Amz-Signature=s3cr3t")
    with pytest.raises(ServiceUnavailable, match=r"object store at bucket\.s3\.test") as caught:
        linked(Answers(httpx.ConnectError("no route")), lambda link: link.get_object(grant), attempts=2)
    assert "s3cr3t" not in str(caught.value)


def test_an_expired_grant_is_refused_without_showing_the_signature(linked: Linked) -> None:
    grant = Grant(object_id="o", verb="GET", url="https://bucket.s3.test/o?X-Amz-Signature=s3cr3t")
    with pytest.raises(PermissionDenied, match="Request has expired") as caught:
        linked(Answers(httpx.Response(403, text="Request has expired")), lambda link: link.get_object(grant))
    assert "s3cr3t" not in str(caught.value)


# Settings and sockets


@pytest.mark.parametrize("url", ["", "service.test", "ftp://service.test", "http://", "http://[::1", "http://a b"])
def test_impossible_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="FAAS_URL"):
        check_url(url)


@pytest.mark.parametrize("token", ["a b", "töken", "a\nb"])
def test_impossible_tokens_are_refused_without_showing_them(token: str) -> None:
    with pytest.raises(ConfigurationError, match="FAAS_TOKEN") as caught:
        check_token(token)
    assert token not in str(caught.value)


def test_a_missing_certificate_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/ca.pem")
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE.*/no/such/ca\.pem"):
        Link("https://service.test", "t")


def test_the_token_shows_nowhere() -> None:
    assert "secret" not in repr(Link("http://service.test", "secret"))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = codec.encode(Health(status=self.server.name, version="1"))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", codec.MSGPACK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[list[str]]:
    """Addresses of two servers that tell their names, ``service`` and ``proxy``."""
    running = []
    for name in ("service", "proxy"):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.name = name  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
    yield [f"http://127.0.0.1:{server.server_port}" for server in running]
    for server in running:
        server.shutdown()
        server.server_close()


def test_a_proxy_is_used_but_not_for_this_machine(servers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    service, proxy = servers
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with Link(service, "t") as link:
        assert health(link).status == "service"
    with Link("http://service.test", "t") as link:
        assert health(link).status == "proxy"


@pytest.mark.parametrize("connect", [asynchronous, aiohttp_transport])
def test_an_awaited_request_takes_the_same_way(
    servers: list[str], monkeypatch: pytest.MonkeyPatch, connect: Callable[[str | None], httpx.AsyncBaseTransport]
) -> None:
    service, proxy = servers
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy.removeprefix("http://"))
    monkeypatch.setenv("NO_PROXY", "inside.test")

    async def asked(url: str) -> str:
        async with AsyncLink(url, "t", connect=connect, attempts=1) as link:
            return str((await health(link)).status)

    assert asyncio.run(asked(service)) == "service"
    assert asyncio.run(asked("http://service.test")) == "proxy"
    with pytest.raises(ServiceUnavailable, match=r"inside\.test"):
        asyncio.run(asked("http://inside.test:1"))


@pytest.mark.parametrize("connect", [asynchronous, aiohttp_transport])
def test_a_connection_that_breaks_off_is_told_from_one_that_is_slow(
    connect: Callable[[str | None], httpx.AsyncBaseTransport],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            for _ in range(4):
                connection, _ = listening.accept()
                connection.recv(1)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        async def ask() -> None:
            async with AsyncLink(url, "t", connect=connect, attempts=1) as link:
                await health(link)

        with pytest.raises(ServiceUnavailable) as caught:
            asyncio.run(ask())
    assert "in time" not in str(caught.value)


def test_a_fork_gets_connections_of_its_own(servers: list[str]) -> None:
    with Link(servers[0], "t") as link:
        assert health(link).status == "service"
        child = os.fork()
        if child == 0:
            os._exit(0 if health(link).status == "service" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert health(link).status == "service"


def test_many_threads_may_share_a_link(servers: list[str]) -> None:
    with Link(servers[0], "t") as link:
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(health(link).status)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["service"] * 20
