"""The directory store's routes: what they refuse and why, and that nothing is left of what breaks off."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import fastapi
import httpx
import pytest

from faas.errors import Conflict, PermissionDenied
from faas.models import Problem
from router.store.directory import DirectoryStore
from router.store.directory_routes import store_routes
from router.store.files import UPLOADS
from router.store.signing import URLSigner
from tests.services.store_behaviour import KEY, NOT_KEYS

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(root, secret=SECRET)
    await store.check()
    yield store
    await store.close()


@pytest.fixture
def app(store: DirectoryStore) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    app.router.routes.extend(store_routes(store))
    return app


@pytest.fixture
async def http(app: fastapi.FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the routes without a socket between."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


def _uploads(root: Path) -> list[Path]:
    return list((root / UPLOADS).iterdir())


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _problem(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json"
    return Problem(**answer.json())


class TestGrants:
    async def test_they_are_relative_unless_the_service_is_named(self, root: Path, store: DirectoryStore) -> None:
        before = time.time()
        grant = await store.grant(KEY, "PUT", expires_s=60)
        assert grant.url.startswith(f"/v1/store/{KEY}?verb=PUT&expires=")
        assert before + 59 <= grant.expires_at <= time.time() + 60
        named = DirectoryStore(root, secret=SECRET, service_url="https://faas.example.org/")
        assert (await named.grant(KEY, "GET", expires_s=60)).url.startswith(f"https://faas.example.org/v1/store/{KEY}?")
        await named.close()

    async def test_another_secret_opens_nothing(self, store: DirectoryStore, http: httpx.AsyncClient) -> None:
        await store.write(KEY, b"secret")
        url = URLSigner(b"t" * 32).sign(KEY, "GET", int(time.time()) + 60)
        assert (await http.get(url)).status_code == 403

    async def test_head_passes_with_a_grant_to_get(self, store: DirectoryStore, http: httpx.AsyncClient) -> None:
        await store.write(KEY, b"12345")
        answer = await http.head((await store.grant(KEY, "GET", expires_s=60)).url)
        assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")

    async def test_refusals_say_why_and_what_to_do(self, store: DirectoryStore, http: httpx.AsyncClient) -> None:
        get = (await store.grant(KEY, "GET", expires_s=60)).url
        late = (await store.grant(KEY, "GET", expires_s=-30)).url
        for answer, said in (
            (await http.get(f"/v1/store/{KEY}"), "signature does not fit"),
            (await http.put(get, content=b"x"), "signed for GET, not for PUT"),
            (await http.get(late), "expired 30 s ago"),
        ):
            problem = _problem(answer)
            assert (answer.status_code, problem.status) == (403, 403)
            assert said in problem.detail.replace("31 s", "30 s")
            assert "new grant" in problem.fix
        missing = await http.get(get)
        assert missing.status_code == 404
        assert KEY in _problem(missing).detail

    @pytest.mark.parametrize("signature", ["", "é", "\udcff", "0" * 64, "x" * 100_000])
    def test_no_signature_breaks_the_check(self, signature: str) -> None:
        signer = URLSigner(SECRET)
        query = {k: v[0] for k, v in parse_qs(urlsplit(signer.sign(KEY, "GET", 2**33)).query).items()}
        signer.check(KEY, "GET", query, time.time())
        with pytest.raises(PermissionDenied):
            signer.check(KEY, "GET", {**query, "signature": signature}, time.time())
        with pytest.raises(PermissionDenied):
            signer.check(KEY, "GET", {}, time.time())


class TestKeysStayInside:
    @pytest.mark.parametrize("key", NOT_KEYS)
    async def test_even_signed_they_are_refused(
        self, root: Path, store: DirectoryStore, http: httpx.AsyncClient, key: str
    ) -> None:
        (root.parent / "a").write_bytes(b"outside")
        expires_at = int(time.time()) + 60
        for verb in ("GET", "PUT"):
            url = store.signer.sign(key, verb, expires_at).replace(quote(key), quote(key, safe=""), 1)
            answer = await http.request(verb, url, content=b"x" if verb == "PUT" else None)
            # 400 from the store; 404 for the few that are another address altogether.
            assert answer.status_code in (400, 404)
            assert answer.content != b"outside"
        assert sorted(path.name for path in root.parent.iterdir()) == ["a", "objects"]
        assert (root.parent / "a").read_bytes() == b"outside"
        assert _uploads(root) == []

    async def test_a_linked_folder_leads_nowhere(
        self, root: Path, store: DirectoryStore, http: httpx.AsyncClient
    ) -> None:
        outside = root.parent / "outside"
        outside.mkdir()
        (outside / "file").write_bytes(b"outside")
        (root / "linked").symlink_to(outside)
        await store.write("a", b"x")
        assert (await http.get((await store.grant("linked/file", "GET", expires_s=60)).url)).status_code == 404
        put = await http.put((await store.grant("linked/file", "PUT", expires_s=60)).url, content=b"x")
        assert put.status_code == 409
        await store.delete(["linked/file"])
        assert (outside / "file").read_bytes() == b"outside"
        assert [found.key async for found in store.list()] == ["a"]
        assert [found.key async for found in store.list("linked/")] == []

    async def test_a_linked_file_is_not_read_and_is_replaced(
        self, root: Path, store: DirectoryStore, http: httpx.AsyncClient
    ) -> None:
        outside = root.parent / "outside"
        outside.write_bytes(b"outside")
        (root / "linked").symlink_to(outside)
        url = (await store.grant("linked", "GET", expires_s=60)).url
        assert (await http.get(url)).status_code == 404
        await store.write("linked", b"inside")
        assert (await http.get(url)).content == b"inside"
        assert outside.read_bytes() == b"outside"

    async def test_what_is_no_plain_file_is_no_object(self, root: Path, store: DirectoryStore) -> None:
        os.mkfifo(root / "pipe")
        await store.write("folder/object", b"x")
        for key in ("pipe", "folder", "folder/object/below"):
            assert await store.size(key) is None
        assert [found.key async for found in store.list()] == ["folder/object"]

    async def test_a_key_cannot_be_a_folder_too(self, store: DirectoryStore, http: httpx.AsyncClient) -> None:
        await store.write("a/b", b"x")
        for key in ("a", "a/b/c"):
            with pytest.raises(Conflict):
                await store.write(key, b"y")
            answer = await http.put((await store.grant(key, "PUT", expires_s=60)).url, content=b"y")
            assert answer.status_code == 409
            await store.delete([key])
        assert await store.read("a/b") == b"x"


class TestUploads:
    @pytest.mark.parametrize("sent", [100, 3 * 1024 * 1024])
    async def test_one_that_breaks_off_leaves_nothing(
        self, root: Path, store: DirectoryStore, app: fastapi.FastAPI, sent: int
    ) -> None:
        grant = await store.grant(KEY, "PUT", expires_s=60)
        messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"x" * sent, "more_body": True}]
        messages += [{"type": "http.disconnect"}]
        await _call(app, "PUT", grant.url, messages)
        assert await store.size(KEY) is None
        assert _uploads(root) == []

    async def test_one_that_is_cancelled_leaves_nothing(
        self, root: Path, store: DirectoryStore, app: fastapi.FastAPI
    ) -> None:
        grant = await store.grant(KEY, "PUT", expires_s=60)
        waiting = asyncio.Event()
        messages = [{"type": "http.request", "body": b"x" * 2_000_000, "more_body": True}]
        call = asyncio.create_task(_call(app, "PUT", grant.url, messages, waiting))
        await waiting.wait()
        assert len(_uploads(root)) == 1
        call.cancel()
        await asyncio.wait([call])
        assert await store.size(KEY) is None
        assert _uploads(root) == []

    @pytest.mark.parametrize(("sent", "status"), [(4, 400), (6, 413), (3_000_000, 413)])
    async def test_without_an_announced_length_the_pinned_one_still_counts(
        self, root: Path, store: DirectoryStore, http: httpx.AsyncClient, sent: int, status: int
    ) -> None:
        async def body() -> AsyncIterator[bytes]:
            for start in range(0, sent, 100_000):
                yield b"x" * min(100_000, sent - start)

        grant = await store.grant(KEY, "PUT", expires_s=60, size_bytes=5)
        answer = await http.put(grant.url, content=body())
        assert answer.status_code == status
        assert "5 bytes" in _problem(answer).fix
        assert await store.size(KEY) is None
        assert _uploads(root) == []

    @pytest.mark.parametrize("sent", [600_000, 3_000_000])
    async def test_a_full_disk_is_said_and_leaves_nothing(
        self, root: Path, store: DirectoryStore, http: httpx.AsyncClient, sent: int
    ) -> None:
        grant = await store.grant(KEY, "PUT", expires_s=60)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
        try:
            answer = await http.put(grant.url, content=b"x" * sent)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert answer.status_code == 507
        assert "disk space" in _problem(answer).fix
        assert await store.size(KEY) is None
        assert _uploads(root) == []


class TestDownloads:
    @pytest.mark.parametrize("wanted", ["bytes=3-1", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5"])
    async def test_a_range_that_is_none_gets_the_whole(
        self, store: DirectoryStore, http: httpx.AsyncClient, wanted: str
    ) -> None:
        await store.write(KEY, b"0123456789")
        answer = await http.get((await store.grant(KEY, "GET", expires_s=60)).url, headers={"Range": wanted})
        assert (answer.status_code, answer.content) == (200, b"0123456789")

    async def test_416_names_the_length(self, store: DirectoryStore, http: httpx.AsyncClient) -> None:
        await store.write(KEY, b"0123456789")
        answer = await http.get((await store.grant(KEY, "GET", expires_s=60)).url, headers={"Range": "bytes=10-"})
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")
        assert "10 bytes" in _problem(answer).detail

    async def test_one_that_breaks_off_closes_the_file(self, store: DirectoryStore, app: fastapi.FastAPI) -> None:
        await store.write(KEY, bytes(5_000_000))
        grant = await store.grant(KEY, "GET", expires_s=60)
        before = _open_files()

        async def refuse(message: Any) -> None:
            if message["type"] == "http.response.body":
                raise OSError("the client is gone")

        with pytest.raises(OSError, match="the client is gone"):
            await _call(app, "GET", grant.url, [], send=refuse)
        assert _open_files() == before

    async def test_an_object_deleted_meanwhile_is_still_sent_whole(
        self, store: DirectoryStore, app: fastapi.FastAPI
    ) -> None:
        data = os.urandom(3_000_000)
        await store.write(KEY, data)
        grant = await store.grant(KEY, "GET", expires_s=60)
        received = bytearray()

        async def delete_then_take(message: Any) -> None:
            await store.delete([KEY])
            received.extend(message.get("body", b""))

        await _call(app, "GET", grant.url, [], send=delete_then_take)
        assert received == data


async def _call(
    app: fastapi.FastAPI,
    verb: str,
    url: str,
    messages: list[dict[str, Any]],
    waiting: asyncio.Event | None = None,
    send: Callable[[Any], Awaitable[None]] | None = None,
) -> None:
    """Call the application as a server would, with these messages from the client and then silence."""
    parts = urlsplit(url)
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        message = next(left, None)
        if message is None:
            if waiting is not None:
                waiting.set()
            await asyncio.Event().wait()
            raise AssertionError
        return message

    async def ignore(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": verb,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(b"host", b"service")],
        "server": ("service", 80),
        "client": ("client", 1),
    }
    await app(scope, receive, send or ignore)
