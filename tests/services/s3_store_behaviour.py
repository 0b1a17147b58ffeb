"""What the S3 store must do besides, on any S3 server; inherited like ``store_behaviour``."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from faas.errors import ConfigurationError, ServiceUnavailable
from router.store import SignedURL, Store, open_store
from tests.services.processes import free_port
from tests.services.s3_account import S3Account
from tests.services.store_behaviour import KEY, StoreBehaviour


@contextlib.contextmanager
def bucket_for_boto3(account: S3Account) -> Iterator[str]:
    """Create a bucket, and let boto3 find the account in the environment as it does in a service."""
    with pytest.MonkeyPatch.context() as patch, account.bucket() as name:
        for variable in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
            patch.delenv(variable, raising=False)
        for variable, value in account.environment.items():
            patch.setenv(variable, value)
        yield name


@contextlib.contextmanager
def opened(url: str) -> Iterator[Store]:
    """Open a store, and close it."""
    store = open_store(url)
    try:
        yield store
    finally:
        asyncio.run(store.close())


class S3StoreBehaviour(StoreBehaviour):
    """Inherit as ``Test…``, beside fixtures ``account``, ``bucket`` and ``shared_store``.

    These three are the module's: it takes boto3 a while to make a client.
    """

    @pytest.fixture
    async def store(self, shared_store: Store, account: S3Account, bucket: str) -> AsyncIterator[Store]:
        yield shared_store
        account.empty_bucket(bucket)

    @pytest.fixture
    def base_url(self) -> str:
        return ""

    async def expired(self, store: Store, key: str) -> SignedURL:
        with pytest.MonkeyPatch.context() as patch:
            an_hour_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
            patch.setattr("botocore.auth.get_current_datetime", lambda: an_hour_ago)
            return await store.grant(key, "GET", expires_s=60)

    async def test_objects_lie_under_the_prefix(self, store: Store, account: S3Account, bucket: str) -> None:
        await store.write("a/b", b"x")
        found = account.client().list_objects_v2(Bucket=bucket)["Contents"]
        assert [item["Key"] for item in found] == ["some/prefix/a/b"]

    async def test_stores_with_other_prefixes_are_apart(self, store: Store, account: S3Account, bucket: str) -> None:
        beside = open_store(account.store_url(bucket, "some/prefix2"))
        at_the_root = open_store(account.store_url(bucket))
        await beside.write("a", b"beside")
        await store.write("a", b"here")
        assert [found.key async for found in store.list()] == ["a"]
        assert await beside.read("a") == b"beside"
        assert [found.key async for found in at_the_root.list()] == ["some/prefix/a", "some/prefix2/a"]
        await beside.close()
        await at_the_root.close()

    @pytest.mark.parametrize("addressing", ["path", "auto"])
    async def test_urls_fit_the_addressing(self, account: S3Account, bucket: str, addressing: str) -> None:
        store = open_store(f"{account.store_url(bucket)}&addressing={addressing}")
        grant = await store.grant(KEY, "GET", expires_s=60)
        assert grant.url.startswith(f"{account.endpoint_url}/{bucket}/{KEY}?")
        await store.close()

    async def test_virtual_addressing_puts_the_bucket_into_the_host(self, bucket: str) -> None:
        store = open_store(f"s3://{bucket}/p?endpoint_url=https://s3.example.org&addressing=virtual&region=eu-x-1")
        grant = await store.grant(KEY, "GET", expires_s=60)
        assert grant.url.startswith(f"https://{bucket}.s3.example.org/p/{KEY}?")
        assert "%2Feu-x-1%2Fs3%2F" in grant.url
        await store.close()

    async def test_our_signer_and_botocores_agree(
        self, store: Store, account: S3Account, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
        key = "x=1@y+z_w.v"
        ours = await store.grant(key, "PUT", expires_s=77, size_bytes=12)
        parameters: dict[str, Any] = {"Bucket": bucket, "Key": f"some/prefix/{key}", "ContentLength": 12}
        theirs = account.client().generate_presigned_url("put_object", Params=parameters, ExpiresIn=77)
        assert ours.url == theirs

    async def test_temporary_keys_go_into_the_url(
        self, account: S3Account, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
        store = open_store(f"s3://{bucket}/p")
        assert "X-Amz-Security-Token=a-token" in (await store.grant(KEY, "GET", expires_s=60)).url
        await store.close()

    async def test_a_missing_bucket_is_named_with_the_fix(self, account: S3Account, bucket: str) -> None:
        store = open_store(account.store_url("no-such-bucket-here"))
        with pytest.raises(ConfigurationError, match=r"no-such-bucket-here.*NoSuchBucket.*aws s3 mb"):
            await store.check()
        with pytest.raises(ServiceUnavailable, match="aws s3 mb"):
            await store.write("a", b"b")
        await store.close()

    async def test_an_impossible_bucket_name_is_refused(self, account: S3Account, bucket: str) -> None:
        store = open_store(account.store_url("Not_A_Bucket!"))
        with pytest.raises(ConfigurationError, match="FAAS_STORE"):
            await store.check()
        await store.close()

    async def test_an_unreachable_endpoint_is_named_with_the_fix(self, account: S3Account, bucket: str) -> None:
        address = f"http://127.0.0.1:{free_port()}"
        store = open_store(f"s3://{bucket}?endpoint_url={address}")
        with pytest.raises(ConfigurationError, match=rf"does not answer at {address}.*AWS_ENDPOINT_URL"):
            await store.check()
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            await store.size("a")
        await store.close()

    async def test_missing_keys_are_named_with_the_fix(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        store = open_store(f"s3://{bucket}")
        with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
            await store.check()
        with pytest.raises(ServiceUnavailable, match="AWS_ACCESS_KEY_ID"):
            await store.grant(KEY, "GET", expires_s=60)
        await store.close()

    async def test_a_closed_store_has_let_go(self, bucket: str, account: S3Account) -> None:
        store = open_store(account.store_url(bucket))
        await store.check()
        await store.close()
        with pytest.raises(RuntimeError):
            await store.size("a")

    async def test_what_our_url_holds_is_all_a_client_needs(self, store: Store) -> None:
        grant = await store.grant(KEY, "PUT", expires_s=60, size_bytes=4)
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.put(grant.url, content=b"1234", headers=grant.headers)).status_code == 200
