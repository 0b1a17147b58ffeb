"""The S3 store on Ceph, a server that checks what it is sent: signatures, expiry, pinned lengths, keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from faas.errors import ConfigurationError
from router.store import Store, open_store
from tests.services.ceph import CephGateway
from tests.services.s3_account import S3Account
from tests.services.s3_store_behaviour import S3StoreBehaviour, bucket_for_boto3, opened
from tests.services.store_behaviour import RealStoreBehaviour

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def account(ceph_gateway: CephGateway) -> S3Account:
    return ceph_gateway.account


@pytest.fixture(scope="module")
def bucket(account: S3Account) -> Iterator[str]:
    with bucket_for_boto3(account) as name:
        yield name


@pytest.fixture(scope="module")
def shared_store(bucket: str) -> Iterator[Store]:
    with opened(f"s3://{bucket}/some/prefix") as store:
        yield store


class TestS3StoreOnCeph(S3StoreBehaviour, RealStoreBehaviour):
    async def test_a_wrong_secret_key_is_named(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(ConfigurationError, match=r"SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"):
            await _check(f"s3://{bucket}")

    async def test_an_unknown_access_key_is_named(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        with pytest.raises(ConfigurationError, match=r"InvalidAccessKeyId.*AWS_ACCESS_KEY_ID"):
            await _check(f"s3://{bucket}")

    async def test_a_bucket_without_the_right_to_write_is_refused(self, account: S3Account, bucket: str) -> None:
        with account.bucket() as closed:
            denied = {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{closed}/*",
            }
            policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
            account.client().put_bucket_policy(Bucket=closed, Policy=policy)
            with pytest.raises(ConfigurationError, match=r"AccessDenied.*s3:PutObject"):
                await _check(f"s3://{closed}")

    async def test_lists_and_deletes_go_on_past_a_thousand(self, store: Store) -> None:
        keys = [f"many/{number:04}" for number in range(1001)]
        await asyncio.gather(*(store.write(key, b"x") for key in keys))
        assert [found.key async for found in store.list("many/")] == keys
        await store.delete(keys)
        assert [found.key async for found in store.list()] == []


async def _check(url: str) -> None:
    store = open_store(url)
    try:
        await store.check()
    finally:
        await store.close()
