"""What every object store must do, as tests to inherit: a test class per store gives the store and its address."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from faas.errors import Conflict, InvalidRequest, NotFound
from router.store import MAX_OBJECT_BYTES, SignedURL, Store

NOT_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "a//b",
    "a/",
    "..",
    "../a",
    "a/../../b",
    "a/./b",
    ".secret",
    "a/.hidden",
    "a\x00b",
    "a\nb",
    "a\\b",
    "a b",
    "a?b",
    "a%2fb",
    "é",
    "x" * 201,
    "/".join(["x"] * 400),
]
KEY = "segments/5f0c7e0e/2026-11-22/9b1d"
PART = 5 * 1024 * 1024
"""The smallest that a part but the last may be on S3."""


class StoreBehaviour:
    """Inherit as ``Test…`` and define the fixtures ``store`` and ``base_url``."""

    @pytest.fixture
    async def http(self, base_url: str) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=60) as client:
            yield client

    async def expired(self, store: Store, key: str) -> SignedURL:
        """Return a GET URL whose time has passed."""
        raise NotImplementedError

    async def test_what_is_put_by_url_is_got_by_url(self, store: Store, http: httpx.AsyncClient) -> None:
        data = os.urandom(5000)
        await _put(store, http, KEY, data)
        answer = await _get(store, http, KEY)
        assert answer.status_code == 200
        assert answer.content == data
        assert await store.size(KEY) == len(data)

    @pytest.mark.parametrize("length", [0, 1, 1024 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024 + 7])
    async def test_objects_of_any_length_come_back_whole(
        self, store: Store, http: httpx.AsyncClient, length: int
    ) -> None:
        data = os.urandom(length)
        await _put(store, http, KEY, data)
        assert (await _get(store, http, KEY)).content == data
        assert await store.read(KEY) == data
        assert await store.size(KEY) == length

    @pytest.mark.parametrize(
        ("wanted", "first", "end"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=100-", 100, 3_000_000),
            ("bytes=5-2500000", 5, 2_500_001),
            ("bytes=2999999-9999999", 2_999_999, 3_000_000),
            ("bytes=-7", 2_999_993, 3_000_000),
        ],
    )
    async def test_a_range_is_answered_with_that_range(
        self, store: Store, http: httpx.AsyncClient, wanted: str, first: int, end: int
    ) -> None:
        data = os.urandom(3_000_000)
        await store.write(KEY, data)
        answer = await _get(store, http, KEY, {"Range": wanted})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/3000000"
        assert answer.content == data[first:end]

    async def test_a_range_past_the_end_is_416(self, store: Store, http: httpx.AsyncClient) -> None:
        await store.write(KEY, b"ten bytes.")
        assert (await _get(store, http, KEY, {"Range": "bytes=10-20"})).status_code == 416

    async def test_a_missing_object_is_404(self, store: Store, http: httpx.AsyncClient) -> None:
        assert (await _get(store, http, "segments/absent")).status_code == 404

    async def test_a_repeated_put_replaces(self, store: Store, http: httpx.AsyncClient) -> None:
        await _put(store, http, KEY, b"the first")
        await _put(store, http, KEY, b"second")
        assert await store.read(KEY) == b"second"

    async def test_parts_in_any_order_make_an_object(self, store: Store, http: httpx.AsyncClient) -> None:
        upload_id = await store.begin_upload(KEY)
        pieces = {number: os.urandom(length) for number, length in ((1, PART), (2, PART), (3, 1000))}
        tags = {}
        for number in (3, 1, 2):
            tags[number] = await _put_part(store, http, upload_id, number, pieces[number])
        assert await store.size(KEY) is None
        stored = await store.stored_parts(KEY, upload_id)
        assert {number: tag.strip('"') for number, tag in stored.items()} == {
            number: tag.strip('"') for number, tag in tags.items()
        }
        await store.complete_upload(KEY, upload_id, tags)
        assert await store.read(KEY) == b"".join(pieces.values())
        with pytest.raises(NotFound):
            await store.stored_parts(KEY, upload_id)
        with contextlib.suppress(NotFound):  # S3 itself says yes again for a while
            await store.complete_upload(KEY, upload_id, tags)
        assert await store.size(KEY) == 2 * PART + 1000

    async def test_a_part_may_come_again(self, store: Store, http: httpx.AsyncClient) -> None:
        upload_id = await store.begin_upload(KEY)
        await _put_part(store, http, upload_id, 1, os.urandom(PART))
        first, last = os.urandom(PART), os.urandom(10)
        tags = {
            1: await _put_part(store, http, upload_id, 1, first),
            2: await _put_part(store, http, upload_id, 2, last),
        }
        await store.complete_upload(KEY, upload_id, tags)
        assert await store.read(KEY) == first + last

    async def test_an_upload_with_a_part_missing_is_no_object(self, store: Store, http: httpx.AsyncClient) -> None:
        upload_id = await store.begin_upload(KEY)
        tag = await _put_part(store, http, upload_id, 1, os.urandom(PART))
        with pytest.raises(Conflict):
            await store.complete_upload(KEY, upload_id, {1: tag, 2: tag})
        assert await store.size(KEY) is None
        assert list(await store.stored_parts(KEY, upload_id)) == [1]
        await store.abort_upload(KEY, upload_id)

    async def test_an_aborted_upload_leaves_nothing(self, store: Store, http: httpx.AsyncClient) -> None:
        upload_id = await store.begin_upload(KEY)
        await _put_part(store, http, upload_id, 1, os.urandom(PART))
        for _ in range(2):
            await store.abort_upload(KEY, upload_id)
        with pytest.raises(NotFound):
            await store.stored_parts(KEY, upload_id)
        assert [found.key async for found in store.list()] == []

    async def test_reading_ranges(self, store: Store) -> None:
        await store.write(KEY, b"0123456789")
        assert await store.read(KEY, 3, 4) == b"3456"
        assert await store.read(KEY, 8, 100) == b"89"
        assert await store.read(KEY, 4) == b"456789"
        assert await store.read(KEY, 10, 5) == b""
        assert await store.read(KEY, 2, 0) == b""

    async def test_what_is_not_there(self, store: Store) -> None:
        assert await store.size("segments/absent") is None
        for length in (None, 10, 0):
            with pytest.raises(NotFound, match="segments/absent"):
                await store.read("segments/absent", 0, length)

    async def test_delete_passes_over_what_is_not_there(self, store: Store) -> None:
        for number in range(3):
            await store.write(f"many/{number}", b"x")
        await store.delete(f"many/{number}" for number in range(1, 1100))
        assert [found.key async for found in store.list()] == ["many/0"]
        await store.delete([])

    async def test_list_gives_keys_in_order_by_any_prefix(self, store: Store) -> None:
        keys = ["a", "b-/x", "b/1", "b/10", "b/2", "b/c/d", "b0", "ba/1", "c=1@x+y_z.w"]
        for key in reversed(keys):
            await store.write(key, key.encode())
        found = [item async for item in store.list()]
        assert [item.key for item in found] == sorted(keys)
        assert [item.size_bytes for item in found] == [len(key) for key in sorted(keys)]
        assert all(item.modified_at > 1_500_000_000 for item in found)
        for prefix in ("b", "b/", "b/1", "b/c", "b/c/", "a", "none", "none/"):
            assert [item.key async for item in store.list(prefix)] == sorted(k for k in keys if k.startswith(prefix))

    async def test_every_character_a_key_may_have_survives_the_url(self, store: Store, http: httpx.AsyncClient) -> None:
        key = "AZaz09_=@+-/=@+-_./x.=@+-_"
        await _put(store, http, key, b"here")
        assert (await _get(store, http, key)).content == b"here"
        assert [found.key async for found in store.list()] == [key]

    async def test_what_is_not_a_key_is_refused_everywhere(self, store: Store) -> None:
        for key in NOT_KEYS:
            for call in (
                store.grant(key, "PUT", expires_s=60),
                store.grant(key, "GET", expires_s=60),
                store.write(key, b"x"),
                store.read(key),
                store.size(key),
                store.delete([key]),
            ):
                with pytest.raises(InvalidRequest) as refused:
                    await call
                assert refused.value.field == "key"

    async def test_impossible_sizes_are_refused(self, store: Store) -> None:
        for size_bytes in (-1, MAX_OBJECT_BYTES + 1):
            with pytest.raises(InvalidRequest):
                await store.grant(KEY, "PUT", expires_s=60, size_bytes=size_bytes)

    async def test_the_check_passes_and_leaves_nothing(self, store: Store) -> None:
        await store.check()
        await store.check()
        assert [found async for found in store.list()] == []

    async def test_a_pinned_length_is_accepted(self, store: Store, http: httpx.AsyncClient) -> None:
        grant = await store.grant(KEY, "PUT", expires_s=60, size_bytes=5)
        answer = await http.put(grant.url, content=b"12345", headers=grant.headers)
        assert answer.status_code == 200, answer.text


class RealStoreBehaviour(StoreBehaviour):
    """What a mock of S3 cannot show: it checks no signature, and breaks when one object is put twice at once."""

    async def test_racing_puts_leave_one_of_them_whole(self, store: Store, http: httpx.AsyncClient) -> None:
        contents = [bytes([number]) * 300_000 for number in range(8)]
        await asyncio.gather(*(_put(store, http, KEY, content) for content in contents))
        assert await store.read(KEY) in contents

    @pytest.mark.parametrize("data", [b"1234", b"123456", b""])
    async def test_another_length_than_pinned_is_refused(
        self, store: Store, http: httpx.AsyncClient, data: bytes
    ) -> None:
        grant = await store.grant(KEY, "PUT", expires_s=60, size_bytes=5)
        assert 400 <= (await http.put(grant.url, content=data)).status_code < 500
        assert await store.size(KEY) is None

    async def test_a_part_of_another_length_or_number_than_pinned_is_refused(
        self, store: Store, http: httpx.AsyncClient
    ) -> None:
        upload_id = await store.begin_upload(KEY)
        grant = await store.grant_part(KEY, upload_id, 1, offset=0, size_bytes=5, expires_s=60)
        for url, data in (
            (grant.url, b"1234"),
            (grant.url, b"123456"),
            (grant.url.replace("partNumber=1", "partNumber=2").replace(".1.0", ".2.0"), b"12345"),
        ):
            assert 400 <= (await http.put(url, content=data)).status_code < 500
        assert await store.stored_parts(KEY, upload_id) == {}
        await store.abort_upload(KEY, upload_id)

    async def test_an_expired_url_is_refused(self, store: Store, http: httpx.AsyncClient) -> None:
        await store.write(KEY, b"secret")
        grant = await self.expired(store, KEY)
        answer = await http.get(grant.url, headers=grant.headers)
        assert answer.status_code == 403
        assert b"secret" not in answer.content

    async def test_a_url_is_for_one_verb(self, store: Store, http: httpx.AsyncClient) -> None:
        await store.write(KEY, b"secret")
        get = await store.grant(KEY, "GET", expires_s=60)
        put = await store.grant(KEY, "PUT", expires_s=60)
        assert (await http.put(get.url, content=b"other")).status_code == 403
        assert (await http.get(put.url)).status_code == 403
        assert (await http.head(put.url)).status_code == 403
        assert (await http.delete(put.url)).status_code in (403, 405)
        assert await store.read(KEY) == b"secret"

    async def test_a_url_is_for_one_object(self, store: Store, http: httpx.AsyncClient) -> None:
        await store.write("one/1", b"mine")
        await store.write("one/2", b"secret")
        grant = await store.grant("one/1", "GET", expires_s=60)
        assert (await http.get(grant.url.replace("one/1", "one/2"))).status_code == 403

    async def test_no_parameter_of_a_url_can_be_changed(self, store: Store, http: httpx.AsyncClient) -> None:
        await store.write(KEY, b"secret")
        grant = await store.grant(KEY, "GET", expires_s=60)
        parts = urlsplit(grant.url)
        query = parse_qsl(parts.query)
        assert (await http.get(grant.url)).status_code == 200
        for index, (name, value) in enumerate(query):
            # A later time to expire, another digit: whatever it is, it no longer fits the signature.
            changed = [*query[:index], (name, value[:-1] + ("1" if value[-1] != "1" else "2")), *query[index + 1 :]]
            removed = [*query[:index], *query[index + 1 :]]
            for other in (changed, removed):
                answer = await http.get(urlunsplit(parts._replace(query=urlencode(other))))
                assert answer.status_code in (400, 403), name
                assert b"secret" not in answer.content


async def _put(store: Store, http: httpx.AsyncClient, key: str, data: bytes) -> None:
    grant = await store.grant(key, "PUT", expires_s=60)
    answer = await http.put(grant.url, content=data, headers=grant.headers)
    assert answer.status_code == 200, answer.text


async def _put_part(store: Store, http: httpx.AsyncClient, upload_id: str, number: int, data: bytes) -> str:
    grant = await store.grant_part(
        KEY, upload_id, number, offset=(number - 1) * PART, size_bytes=len(data), expires_s=60
    )
    answer = await http.put(grant.url, content=data, headers=grant.headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


async def _get(
    store: Store, http: httpx.AsyncClient, key: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    grant = await store.grant(key, "GET", expires_s=60)
    return await http.get(grant.url, headers={**grant.headers, **(headers or {})})
