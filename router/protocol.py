"""uvicorn's HTTP protocol, with the head and the body of an answer in one write."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_GATHERED_BYTES = 64 * 1024
"""More than this is handed on at once."""


class GatheringProtocol(HttpToolsProtocol):
    """Writes once for an answer.

    uvicorn writes the head and the body apart: two calls to the kernel, and a client that is woken twice,
    which is a third of a small answer's time.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]


class _Gathering:
    """A transport that writes at the end of the event loop's round what was given to it in between."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes] = []
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)
        self._size_bytes += len(data)
        if self._size_bytes > _GATHERED_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered, self._size_bytes = self._gathered, [], 0
            self._transport.write(b"".join(gathered))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
