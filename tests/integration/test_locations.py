"""Locations of a real federation: files in a bucket, at sites that have them and sites that have not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import faas
from faas.commands.premises import ADMIN_CREDENTIALS
from faas.credentials import read_credentials
from tests.services.ceph import CephGateway
from tests.services.federation import Federation

LIMIT_S = 120


def copy(source: Path, out: Path) -> tuple[str, str]:
    out.write_bytes(source.read_bytes()[::-1])
    return source.name, str(source)


def size(source: Path) -> int:
    return source.stat().st_size


@dataclass
class Bucket:
    """What tests put into the bucket behind the location, and find there."""

    client: Any
    name: str

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data


@pytest.fixture(scope="module")
def bucket(ceph_gateway: CephGateway) -> Iterator[Bucket]:
    with ceph_gateway.account.bucket() as name:
        yield Bucket(ceph_gateway.account.client(), name)


@pytest.fixture(scope="module")
def federation(
    ceph_gateway: CephGateway, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Federation]:
    directory = tmp_path_factory.mktemp("locations")
    (directory / "raw").mkdir()
    with Federation(directory / "f", ceph_gateway.account.environment) as running:
        running.add_endpoint("far", workers=1)
        running.add_endpoint("near", workers=1, settings=f"locations: {{raw: {directory}/raw}}\n")
        admin = {"FAAS_TOKEN": read_credentials(running.directory / ADMIN_CREDENTIALS).token}
        running.faas(
            "location", "add", "raw", f"s3://{bucket.name}/raw", "--read", "*", "--write", "*", environment=admin
        )
        yield running


def test_files_come_from_the_bucket_where_a_site_has_not_got_them(federation: Federation, bucket: Bucket) -> None:
    bucket.put("raw/run 1/a+b é.txt", b"from the bucket")
    name = "raw:/run 1/a+b é.txt"
    with federation.client() as client, faas.Executor(client=client, endpoint_id="far") as executor:
        source, at = executor.submit(copy, faas.File(name), faas.OutputFile("raw:/out/a.txt")).result(LIMIT_S)
        assert source == "a+b é.txt" and "cache" in at
        assert bucket.get("raw/out/a.txt") == b"from the bucket"[::-1]
        # Told apart by what it holds: the new version is fetched.
        bucket.put("raw/run 1/a+b é.txt", b"new")
        sizes = [executor.submit(size, reference) for reference in (faas.File(name), faas.S3(s3_name(bucket, name)))]
        assert [future.result(LIMIT_S) for future in sizes] == [3, 3]
        gone = executor.submit(size, faas.File("raw:/gone.txt"))
        with pytest.raises(faas.TaskFailed, match=r"gone\.txt"):
            gone.result(LIMIT_S)


def test_a_site_that_has_the_files_runs_the_task(federation: Federation, bucket: Bucket) -> None:
    raw = federation.directory.parent / "raw"
    (raw / "here.bin").write_bytes(b"x" * 1000)
    with federation.client() as client, faas.Executor(client=client) as executor:
        futures = [executor.submit(size, faas.File("raw:/here.bin")) for _ in range(10)]
        assert [future.result(LIMIT_S) for future in futures] == [1000] * 10
        assert {client.get_task(future.task_id)["endpoint"] for future in futures} == {"near"}


def test_what_nobody_has_is_refused_at_once(federation: Federation, bucket: Bucket) -> None:
    with federation.client() as client:
        function_id = client.register_function(size)
        with pytest.raises(faas.InvalidRequest, match="elsewhere"):
            client.run(faas.File("elsewhere:/a.txt"), function_id=function_id)
        with pytest.raises(faas.NotFound, match="No location"):
            client.run(faas.S3(f"s3://{bucket.name}/private/a.txt"), function_id=function_id)


def test_the_command_shows_and_forgets(federation: Federation, bucket: Bucket) -> None:
    admin = {"FAAS_TOKEN": read_credentials(federation.directory / ADMIN_CREDENTIALS).token}
    assert "near" in federation.faas("location", "list")
    assert bucket.name in federation.faas("location", "show", "raw")
    federation.faas("location", "add", "other", f"s3://{bucket.name}/other", "--read", "nobody", environment=admin)
    assert "other" not in federation.faas("location", "list")
    assert "ada" in federation.faas("location", "allow", "other", "--read", "ada", environment=admin)
    federation.faas("location", "remove", "other", environment=admin)
    assert "other" not in federation.faas("location", "list", environment=admin)


def s3_name(bucket: Bucket, name: str) -> str:
    """A file of the location by its object's name."""
    return f"s3://{bucket.name}/raw{name.partition(':')[2]}"
