"""The one road to the service: requests with retries, and objects by grant, sync and async."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import tenacity

from faas import codec
from faas.errors import ServiceUnavailable
from faas.exchange import (
    Again,
    Parameters,
    brief,
    check_token,
    check_url,
    ended,
    object_headers,
    object_url,
    outgoing,
    read_model,
    read_object,
    refused_or_again,
    rule,
    service_headers,
    transport_failed,
)
from faas.models import Grant, Location, Model
from faas.transports import Transports, asynchronous, blocking

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
R = TypeVar("R")

_UPLOAD_PIECE_BYTES = 1024 * 1024
_DOWNLOAD_PIECE_BYTES = 1024 * 1024


class Link:
    """A blocking connection to the service, safe to share between threads and to inherit by a fork.

    All requests of ours may be sent twice, so whatever may have been lost on the way is tried again with
    exponential backoff and full jitter; a refusal is final.

    Args:
        url: of the service, ``https://faas.example.org``.
        token: the bearer token; sent to the service and nowhere else, grants included.
        timeout_s: how long the service may stay silent, on top of a long poll's ``wait_s``.
        attempts: tries for each request.
        transport: an httpx transport in place of the network, for tests and in-process services.

    Raises:
        ConfigurationError: the URL or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 30,
        attempts: int = 6,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = check_url(url)
        self._headers = service_headers(check_token(token))
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._transport = transport
        self._connect()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _connect(self) -> None:
        self._process = os.getpid()
        self._transports = Transports(lambda proxy: self._transport or blocking(proxy))
        self._bulk = Transports(lambda proxy: self._transport or _bulk(proxy))
        self._transports.to(httpx.URL(self.url))  # complains of wrong settings now rather than at the first request

    def request(
        self,
        method: str,
        path: str,
        body: Model | None = None,
        *,
        response: type[T],
        params: Parameters | None = None,
        wait_s: float = 0,
    ) -> T:
        """Send a request, again if need be, and decode the answer.

        Args:
            method: ``GET``, ``POST``, …
            path: below the service's URL, ``/v1/tasks``.
            body: sent as msgpack.
            response: the type of the answer.
            params: the query string.
            wait_s: how long the service was asked (in ``params`` or ``body``) to hold the answer back;
                only lengthens the time-out.

        Returns:
            The answer.

        Raises:
            RequestRefused: the service said no; the subclass and message say why and what to do.
            ServiceUnavailable: no sensible answer, however often it was tried.
        """
        content = None if body is None else codec.encode(body)
        timeout_s = self._timeout_s + wait_s

        def once() -> T:
            answer = self._send(method, self.url + path, content, timeout_s, self._headers, params)
            return read_model(answer, response, self.url)

        return self._repeat(once, self.url, timeout_s)

    def get_object(self, grant: Grant, location: Location | None = None) -> bytes:
        """Fetch an object, or the range of it that a location names.

        Raises:
            RequestRefused: the store said no; the grant has expired, perhaps.
            ServiceUnavailable: the store did not answer.
        """
        headers = object_headers(grant, location)
        url = object_url(self.url, grant)

        def once() -> bytes:
            return read_object(self._send("GET", url, None, self._timeout_s, headers), location)

        return self._repeat(once, url, self._timeout_s)

    def send_object(self, grant: Grant, content: Callable[[], Iterable[bytes]], size_bytes: int) -> str:
        """Store an object, or a part of one, as it comes.

        Args:
            grant: for it.
            content: gives the bytes in pieces; called again for another try.
            size_bytes: how many there are.

        Returns:
            What the store calls it: its ``ETag``.

        Raises:
            RequestRefused: the store said no; the grant has expired, perhaps.
            ServiceUnavailable: the store did not answer.
        """
        headers = {**object_headers(grant), "Content-Length": str(size_bytes)}
        url = object_url(self.url, grant)

        def once() -> str:
            answer = self._send("PUT", url, content(), self._timeout_s, headers, transports=self._bulk)
            return str(answer.headers.get("ETag", ""))

        return self._repeat(once, url, self._timeout_s)

    def receive_object(self, grant: Grant, wanted: Location, take: Callable[[int, bytes], None]) -> None:
        """Fetch a range of an object as it comes; what broke off goes on where it did.

        Args:
            grant: for the object.
            wanted: the range; not empty.
            take: called with each piece and its offset in the object, in order.

        Raises:
            RequestRefused: the store said no; the grant has expired, perhaps.
            ServiceUnavailable: the store did not answer.
        """
        url = object_url(self.url, grant)
        done = 0
        while True:
            before = done
            rest = Location(wanted.object_id, wanted.offset + done, wanted.length_bytes - done)

            def once(rest: Location = rest) -> int:
                return self._receive(url, object_headers(grant, rest), rest, take)

            done += self._repeat(once, url, self._timeout_s)
            if done >= wanted.length_bytes:
                return
            if done == before:
                raise ServiceUnavailable(f"Object {wanted.object_id} ends before the range asked for.")

    def bearing(self, token: str) -> Self:
        """The same connection, for requests that show another token."""
        other = copy.copy(self)
        other._headers = service_headers(check_token(token))
        return other

    def put_object(self, grant: Grant, data: bytes | Path) -> None:
        """Store an object, from memory or from a file.

        Raises:
            RequestRefused: the store said no; the grant has expired, perhaps.
            ServiceUnavailable: the store did not answer.
        """
        headers = object_headers(grant)
        url = object_url(self.url, grant)

        def once() -> None:
            if isinstance(data, bytes):
                self._send("PUT", url, data, self._timeout_s, headers)
            else:
                with data.open("rb") as file:
                    self._send("PUT", url, file, self._timeout_s, headers)

        self._repeat(once, url, self._timeout_s)

    def _send(
        self,
        method: str,
        url: str,
        content: Any,
        timeout_s: float,
        headers: dict[str, str],
        params: Parameters | None = None,
        transports: Transports[httpx.BaseTransport] | None = None,
    ) -> httpx.Response:
        try:
            request = outgoing(method, url, content, timeout_s, headers, params)
            answer = (transports or self._transports).to(request.url).handle_request(request)
            answer.request = request
            try:
                answer.read()
            finally:
                answer.close()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transport_failed(error, url) from error
        if not answer.is_success:
            raise refused_or_again(answer)
        return answer

    def _receive(self, url: str, headers: dict[str, str], wanted: Location, take: Callable[[int, bytes], None]) -> int:
        """Take in what comes; returns how much did before it broke off, if it did."""
        done = 0
        try:
            request = outgoing("GET", url, None, self._timeout_s, headers)
            answer = self._bulk.to(request.url).handle_request(request)
            answer.request = request
            try:
                if not answer.is_success:
                    answer.read()
                    raise refused_or_again(answer)
                skip = 0 if answer.status_code == 206 else wanted.offset  # it ignored the range and sends everything
                assert isinstance(answer.stream, httpx.SyncByteStream)
                for piece in answer.stream:
                    if skip:
                        skipped = min(skip, len(piece))
                        skip -= skipped
                        piece = piece[skipped:]
                    piece = piece[: wanted.length_bytes - done]
                    if piece:
                        take(wanted.offset + done, piece)
                        done += len(piece)
            finally:
                answer.close()
        except (httpx.TransportError, httpx.DecodingError) as error:
            if not done:
                raise transport_failed(error, url) from error
        return done

    def _repeat(self, once: Callable[[], R], url: str, timeout_s: float) -> R:
        if self._process != os.getpid():  # forked: the parent's sockets are not ours to use
            self._connect()
        try:
            return tenacity.Retrying(**rule(self._attempts, timeout_s))(once)
        except Again as last:
            raise ended(self.url, url, last) from brief(last.__cause__)

    def close(self) -> None:
        """Close every connection."""
        for transport in self._transports.made + self._bulk.made:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bulk(proxy: str | None) -> httpx.BaseTransport:
    from faas.bulk import BulkTransport  # most clients never have anything large

    return BulkTransport(proxy)


class AsyncLink:
    """The same as :class:`Link`, to be awaited; for one event loop.

    Args:
        url: of the service, ``https://faas.example.org``.
        token: the bearer token; sent to the service and nowhere else, grants included.
        timeout_s: how long the service may stay silent, on top of a long poll's ``wait_s``.
        attempts: tries for each request.
        connect: makes an httpx transport, given a proxy's URL or None.

    Raises:
        ConfigurationError: the URL or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 30,
        attempts: int = 6,
        connect: Callable[[str | None], httpx.AsyncBaseTransport] = asynchronous,
    ) -> None:
        self.url = check_url(url)
        self._headers = service_headers(check_token(token))
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._transports = Transports(connect)
        self._transports.to(httpx.URL(self.url))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def request(
        self,
        method: str,
        path: str,
        body: Model | None = None,
        *,
        response: type[T],
        params: Parameters | None = None,
        wait_s: float = 0,
    ) -> T:
        """Send a request, again if need be, and decode the answer; see :meth:`Link.request`."""
        content = None if body is None else codec.encode(body)
        timeout_s = self._timeout_s + wait_s

        async def once() -> T:
            answer = await self._send(method, self.url + path, content, timeout_s, self._headers, params)
            return read_model(answer, response, self.url)

        return await self._repeat(once, self.url, timeout_s)

    async def get_object(self, grant: Grant, location: Location | None = None) -> bytes:
        """Fetch an object, or the range of it that a location names; see :meth:`Link.get_object`."""
        headers = object_headers(grant, location)
        url = object_url(self.url, grant)

        async def once() -> bytes:
            answer = await self._send("GET", url, None, self._timeout_s, headers)
            return read_object(answer, location)

        return await self._repeat(once, url, self._timeout_s)

    async def save_object(self, grant: Grant, path: Path, small_bytes: int = -1) -> bytes | None:
        """Fetch an object of any size into a file; see :meth:`Link.get_object`.

        Args:
            grant: for it.
            path: written anew, in pieces as they come.
            small_bytes: an object up to this size is returned and not written.

        Returns:
            The bytes, if they are few; else None.
        """
        headers = object_headers(grant)
        url = object_url(self.url, grant)

        async def once() -> bytes | None:
            return await self._save(url, headers, path, small_bytes)

        return await self._repeat(once, url, self._timeout_s)

    async def _save(self, url: str, headers: dict[str, str], path: Path, small_bytes: int) -> bytes | None:
        try:
            request = outgoing("GET", url, None, self._timeout_s, headers)
            answer = await self._transports.to(request.url).handle_async_request(request)
            answer.request = request
            try:
                if not answer.is_success:
                    await answer.aread()
                    raise refused_or_again(answer)
                return await _keep(answer.aiter_bytes(_DOWNLOAD_PIECE_BYTES), path, small_bytes)
            finally:
                await answer.aclose()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transport_failed(error, url) from error

    async def put_object(self, grant: Grant, data: bytes | Path) -> None:
        """Store an object, from memory or from a file; see :meth:`Link.put_object`."""
        headers = object_headers(grant)
        url = object_url(self.url, grant)
        if isinstance(data, Path):  # stores refuse uploads of unstated length
            headers["Content-Length"] = str((await asyncio.to_thread(data.stat)).st_size)

        async def once() -> None:
            content = data if isinstance(data, bytes) else _pieces(data)
            await self._send("PUT", url, content, self._timeout_s, headers)

        await self._repeat(once, url, self._timeout_s)

    async def _send(
        self,
        method: str,
        url: str,
        content: Any,
        timeout_s: float,
        headers: dict[str, str],
        params: Parameters | None = None,
    ) -> httpx.Response:
        try:
            request = outgoing(method, url, content, timeout_s, headers, params)
            answer = await self._transports.to(request.url).handle_async_request(request)
            answer.request = request
            try:
                await answer.aread()
            finally:
                await answer.aclose()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise transport_failed(error, url) from error
        if not answer.is_success:
            raise refused_or_again(answer)
        return answer

    async def _repeat(self, once: Callable[[], Awaitable[R]], url: str, timeout_s: float) -> R:
        try:
            if self._attempts == 1:  # an agent, which has patience of its own
                return await once()
            return await tenacity.AsyncRetrying(**rule(self._attempts, timeout_s))(once)
        except Again as last:
            raise ended(self.url, url, last) from brief(last.__cause__)

    async def close(self) -> None:
        """Close every connection."""
        for transport in self._transports.made:
            await transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    """A file's bytes; read off the event loop, for a busy parallel file system would stall it."""
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _UPLOAD_PIECE_BYTES):
            yield piece


async def _keep(pieces: AsyncIterator[bytes], path: Path, small_bytes: int) -> bytes | None:
    """Write pieces to a file as they come, off the event loop; or return them if they are few."""
    piece = await anext(pieces, b"")
    if len(piece) <= min(small_bytes, _DOWNLOAD_PIECE_BYTES - 1):  # then it is the only one
        return piece
    with path.open("wb") as file:
        while piece:
            await asyncio.to_thread(file.write, piece)
            piece = await anext(pieces, b"")
    return None
