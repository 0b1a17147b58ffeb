"""Objects into files: piece by piece, checked, with new grants, whatever the store does meanwhile."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from endpoints import fetching
from endpoints.configuration import Retry
from endpoints.fetching import fetch
from endpoints.locations import NotHere
from endpoints.service import Service
from endpoints.transport import aiohttp_transport
from faas.errors import ChecksumMismatch, RequestRefused
from faas.link import AsyncLink
from faas.models import Grant, Input
from tests.services.web_server import WebServer

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 40
PIECE_BYTES = 1_000
Answer = Callable[[str, int, bytes], httpx.Response | None]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PIECE_BYTES", PIECE_BYTES)


class Store:
    """An object in a store.

    Args:
        answer: given the grant, the number of the request and the bytes asked for, another answer than those.
    """

    def __init__(self, answer: Answer = lambda *_: None) -> None:
        self.ranges: list[str] = []
        self.renewals = 0
        self._answer = answer

    def service(self) -> Service:
        def handle(request: httpx.Request) -> httpx.Response:
            wanted = request.headers.get("Range", "")
            self.ranges.append(wanted)
            piece = DATA
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                piece = DATA[int(first) : int(last) + 1]
            answer = self._answer(request.url.path.rpartition("/")[2], len(self.ranges), piece)
            return answer or httpx.Response(206 if wanted else 200, content=piece)

        link = AsyncLink("http://service", "t", attempts=1, connect=lambda _: httpx.MockTransport(handle))
        return Service(link, Retry(first_s=0.001, longest_s=0.01))

    async def renew(self) -> Grant | None:
        self.renewals += 1
        return grant(str(self.renewals)) if self.renewals < 10 else None


def grant(name: str = "0") -> Grant:
    return Grant(object_id="object", verb="GET", url=f"/grant/{name}")


def wanted(size_bytes: int = len(DATA), sha256: str = hashlib.sha256(DATA).hexdigest()) -> Input:
    return Input(grant=grant(), size_bytes=size_bytes, sha256=sha256)


async def test_a_large_object_comes_in_pieces(tmp_path: Path) -> None:
    store = Store()
    await fetch(store.service(), wanted(), tmp_path / "x", store.renew)
    assert (tmp_path / "x").read_bytes() == DATA
    assert len(store.ranges) == -(-len(DATA) // PIECE_BYTES)


@pytest.mark.parametrize("size", [0, -1])
async def test_empty_ones_and_ones_of_unknown_size(tmp_path: Path, size: int) -> None:
    store = Store()
    await fetch(store.service(), wanted(size, "" if size == 0 else wanted().sha256), tmp_path / "x", store.renew)
    assert (tmp_path / "x").read_bytes() == (DATA if size < 0 else b"")


async def test_a_grant_that_expires_in_mid_transfer_is_renewed(tmp_path: Path) -> None:
    def expired(name: str, number: int, _: bytes) -> httpx.Response | None:
        return httpx.Response(403, text="Request has expired") if int(name) < number // 4 else None

    store = Store(expired)
    await fetch(store.service(), wanted(), tmp_path / "x", store.renew)
    assert (tmp_path / "x").read_bytes() == DATA
    assert 1 <= store.renewals <= 9


async def test_a_store_that_means_no_is_believed(tmp_path: Path) -> None:
    store = Store(lambda *_: httpx.Response(403, text="AccessDenied"))
    with pytest.raises(NotHere, match=r"with fresh grants either: .*AccessDenied"):
        await fetch(store.service(), wanted(), tmp_path / "x", store.renew)
    store.renewals = 9
    with pytest.raises(RequestRefused, match="AccessDenied"):
        await fetch(store.service(), wanted(), tmp_path / "x", store.renew)
    gone = Store(lambda *_: httpx.Response(404, text="NoSuchKey"))
    with pytest.raises(RequestRefused, match="NoSuchKey"):
        await fetch(gone.service(), wanted(), tmp_path / "x", gone.renew)
    assert gone.renewals == 0


async def test_a_wrong_checksum_is_fetched_once_more(tmp_path: Path) -> None:
    pieces = -(-len(DATA) // PIECE_BYTES)

    def once_wrong(_: str, number: int, piece: bytes) -> httpx.Response | None:
        return httpx.Response(206, content=bytes(len(piece))) if number == 2 else None

    store = Store(once_wrong)
    await fetch(store.service(), wanted(), tmp_path / "x", store.renew)
    assert (tmp_path / "x").read_bytes() == DATA
    assert len(store.ranges) == 2 * pieces
    damaged = Store(lambda _, number, piece: httpx.Response(206, content=bytes(len(piece))))
    with pytest.raises(ChecksumMismatch, match=r"checksum [0-9a-f]{64}, twice"):
        await fetch(damaged.service(), wanted(), tmp_path / "x", damaged.renew)
    assert len(damaged.ranges) == 2 * pieces


@pytest.mark.parametrize("known", [True, False])
async def test_memory_does_not_grow_with_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.undo()
    size = 96 * 1024 * 1024

    async def store(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        wanted = dict(scope["headers"]).get(b"range", b"bytes=0-%d" % (size - 1)).decode()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        left = int(last) + 1 - int(first)
        length = (b"content-length", b"%d" % left)
        await send({"type": "http.response.start", "status": 206 if left < size else 200, "headers": [length]})
        while left:
            part = min(left, 256 * 1024)
            left -= part
            await send({"type": "http.response.body", "body": bytes(part), "more_body": bool(left)})

    with WebServer(store) as server:
        service = Service(AsyncLink(server.url, "t", attempts=1, connect=aiohttp_transport), Retry())
        tracemalloc.start()
        try:
            wanted = Input(grant=grant(), size_bytes=size if known else -1)
            await fetch(service, wanted, tmp_path / "x", Store().renew)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            await service.close()
    assert (tmp_path / "x").stat().st_size == size
    assert peak_bytes < 2 * size / 3


async def test_pieces_cut_short_and_outages_are_tried_again(tmp_path: Path) -> None:
    def shaky(_: str, number: int, piece: bytes) -> httpx.Response | None:
        if number % 3 == 0:
            return httpx.Response(206, content=piece[:-1])
        return httpx.Response(503, text="SlowDown") if number % 3 == 1 else None

    store = Store(shaky)
    await fetch(store.service(), wanted(), tmp_path / "x", store.renew)
    assert (tmp_path / "x").read_bytes() == DATA
