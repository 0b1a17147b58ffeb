"""The S3 store on moto's server: what every store must do, and what is S3's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faas.errors import ConfigurationError
from router.store import Store, open_store
from tests.services.moto_server import MotoServer
from tests.services.s3_account import S3Account
from tests.services.s3_store_behaviour import S3StoreBehaviour, bucket_for_boto3, opened

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def account(moto_server: MotoServer) -> S3Account:
    return moto_server.account


@pytest.fixture(scope="module")
def bucket(account: S3Account) -> Iterator[str]:
    with bucket_for_boto3(account) as name:
        yield name


@pytest.fixture(scope="module")
def shared_store(bucket: str) -> Iterator[Store]:
    with opened(f"s3://{bucket}/some/prefix") as store:
        yield store


class TestS3StoreOnMoto(S3StoreBehaviour):
    pass


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket?endpoint=http://x", r"unknown parameter 'endpoint'.*endpoint_url=…"),
        ("s3://bucket?addressing=sideways", "use path, virtual or auto"),
        ("s3://bucket/../up", "prefix that cannot be used"),
        ("s3://bucket?profile=nobody-has-this-profile", "nobody-has-this-profile"),
        ("s3://bucket?endpoint_url=localhost", "localhost"),
        ("http://bucket", r"no known kind.*file:///path"),
        ("bucket", r"no known kind.*s3://bucket/prefix"),
    ],
)
def test_a_wrong_url_is_refused_with_what_to_write(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_store(url)
