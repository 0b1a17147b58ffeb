"""Stores that are busy, that only the site's own authority vouches for, or whose clock the service has lost."""

from __future__ import annotations

import asyncio
import datetime
import time
from pathlib import Path

import pytest

import faas
from faas.errors import ConfigurationError, ServiceUnavailable
from faas.link import Link
from faas.models import Grant, Location
from router.store import open_store
from tests.services.busy_front import BusyFront
from tests.services.ceph import CephGateway
from tests.services.certificates import make_certificates
from tests.services.federation import Federation
from tests.services.moto_server import MotoServer
from tests.services.s3_store_behaviour import bucket_for_boto3

WAIT_S = 120.0
REFUSALS = 2
PREFIX = "beamline/faas"


def repeat(text: str, times: int) -> str:
    return text * times


def test_a_federation_works_with_a_busy_store_behind_the_sites_own_authority(
    moto_server: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request to the store is refused twice, to the service, the agent and the client, over TLS."""
    certificates = make_certificates(tmp_path)
    account = moto_server.account
    trust = {"SSL_CERT_FILE": str(certificates.authority)}
    monkeypatch.setenv("SSL_CERT_FILE", trust["SSL_CERT_FILE"])
    with (
        account.bucket() as bucket,
        BusyFront(account.endpoint_url, refusals=REFUSALS, certificates=certificates) as front,
    ):
        service = {
            **account.environment,
            "AWS_ENDPOINT_URL": front.url,
            "AWS_CA_BUNDLE": str(certificates.authority),
            "FAAS_STORE": f"s3://{bucket}/{PREFIX}?addressing=path",
        }
        with Federation(tmp_path / "f", service) as federation:
            federation.add_endpoint("lab", workers=1, environment=trust)
            with federation.client() as client, faas.Executor(client=client) as executor:
                large = executor.submit(repeat, "x" * 300_000, 4)
                assert large.result(WAIT_S) == "x" * 1_200_000
                assert client.get_result(large.task_id, timeout=WAIT_S) == "x" * 1_200_000
        methods = {method for method, _ in front.refused}
        assert {"GET", "PUT"} <= methods
        for request, passed in front.passed.items():
            assert front.refused[request] == REFUSALS, (request, passed)
        keys = [found["Key"] for found in account.client().list_objects_v2(Bucket=bucket)["Contents"]]
        assert keys
        assert all(key.startswith(f"{PREFIX}/") for key in keys)


def test_an_authority_of_the_store_that_the_service_does_not_know(
    moto_server: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = make_certificates(tmp_path)
    account = moto_server.account
    with (
        bucket_for_boto3(account) as bucket,
        BusyFront(account.endpoint_url, refusals=0, certificates=certificates) as front,
    ):
        with pytest.raises(ConfigurationError, match=rf"certificate.*{front.url}.*AWS_CA_BUNDLE"):
            _check(f"s3://{bucket}?endpoint_url={front.url}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
        _check(f"s3://{bucket}?endpoint_url={front.url}")


def test_a_store_that_stays_busy_is_named(moto_server: MotoServer) -> None:
    account = moto_server.account
    with bucket_for_boto3(account) as bucket, BusyFront(account.endpoint_url, refusals=1000) as front:
        with pytest.raises(ConfigurationError, match=r"SlowDown.*try again later"):
            _check(f"s3://{bucket}?endpoint_url={front.url}")
        grant = Grant(object_id="o", verb="PUT", url=f"{front.url}/{bucket}/o")
        with Link("http://127.0.0.1:1", "", attempts=2) as link, pytest.raises(ServiceUnavailable, match="SlowDown"):
            link.put_object(grant, b"bytes")


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_service_whose_clock_is_wrong_is_told_so(
    ceph_gateway: CephGateway, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket_for_boto3(ceph_gateway.account) as bucket, monkeypatch.context() as patch:
        shifted = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        patch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: shifted.replace(tzinfo=None))
        with pytest.raises(ConfigurationError, match=r"RequestTimeTooSkewed.*clock"):
            _check(f"s3://{bucket}")


async def _grants(bucket: str) -> tuple[Grant, Grant]:
    store = open_store(f"s3://{bucket}")
    try:
        put, get = [await store.grant("data", verb, expires_s=600) for verb in ("PUT", "GET")]
    finally:
        await store.close()
    return (
        Grant(object_id="o", verb="PUT", url=put.url, headers=put.headers, expires_at=put.expires_at),
        Grant(object_id="o", verb="GET", url=get.url, headers=get.headers, expires_at=get.expires_at),
    )


@pytest.mark.anyio
async def test_a_clients_wrong_clock_does_not_matter(
    ceph_gateway: CephGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client or a site holds was signed by the service's clock."""
    with bucket_for_boto3(ceph_gateway.account) as bucket:
        put, get = await _grants(bucket)
        now = time.time()
        for hours in (-5, 5):
            with monkeypatch.context() as patch:
                patch.setattr("time.time", lambda hours=hours: now + hours * 3600)
                with Link("http://127.0.0.1:1", "", attempts=2) as link:
                    link.put_object(put, b"bytes of a result")
                    assert link.get_object(get, Location("o", 9, 8)) == b"a result"


def _check(url: str) -> None:
    async def check() -> None:
        store = open_store(url)
        try:
            await store.check()
        finally:
            await store.close()

    asyncio.run(check())
