"""A busy front before an S3 server: it answers 503 SlowDown some times before it lets a request through."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType
from typing import Any

import httpx

from tests.services.certificates import Certificates
from tests.services.web_server import WebServer

_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
_HOP = {b"connection", b"transfer-encoding", b"content-length", b"date", b"server"}


class BusyFront:
    """Passes requests on to an S3 server, refusing each one at first; a context manager.

    Signatures hold: the request goes on as it came, the name of the host it was sent to included.

    Args:
        upstream: address of the server.
        refusals: how often the same request is answered 503 before it passes.
        certificates: makes it speak TLS.

    Example:
        >>> with BusyFront(account.endpoint_url, refusals=2) as front:
        ...     boto3.client("s3", endpoint_url=front.url).list_buckets()
    """

    def __init__(self, upstream: str, *, refusals: int, certificates: Certificates | None = None) -> None:
        self._upstream = upstream
        self._refusals = refusals
        self._lock = threading.Lock()
        self.refused: Counter[tuple[str, str]] = Counter()
        """Method and path of each request, to how often it was refused."""
        self.passed: Counter[tuple[str, str]] = Counter()
        self._http = httpx.AsyncClient(trust_env=False, timeout=60)
        self._server = WebServer(self, certificates=certificates)
        self.url = self._server.url

    def __enter__(self) -> BusyFront:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path = scope["raw_path"].decode()
        if self._refuses(scope["method"], path):
            await _send(send, 503, [(b"content-type", b"application/xml")], _SLOW_DOWN)
            return
        query = scope["query_string"].decode()
        answer = await self._http.request(
            scope["method"],
            f"{self._upstream}{path}{f'?{query}' if query else ''}",
            headers=[(name, value) for name, value in scope["headers"] if name not in _HOP or name == b"date"],
            content=body,
        )
        headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _HOP]
        if scope["method"] == "HEAD":
            headers.append((b"content-length", answer.headers.get("content-length", "0").encode()))
        await _send(send, answer.status_code, headers, answer.content)

    def _refuses(self, method: str, path: str) -> bool:
        with self._lock:
            if self.refused[method, path] < self._refusals:
                self.refused[method, path] += 1
                return True
            self.passed[method, path] += 1
            return False


async def _send(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
