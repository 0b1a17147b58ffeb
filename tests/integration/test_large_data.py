"""Large results and objects with a real S3 store: past the service, and none of it in anyone's memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import faas
from faas.models import PART_BYTES
from tests.services.ceph import CephGateway
from tests.services.federation import Federation

LIMIT_S = 180
SIZE = 3 * PART_BYTES + 17
GROWTH_BYTES = 30 * 1024 * 1024


@pytest.fixture(scope="module")
def federation(ceph_gateway: CephGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A service whose results lie in Ceph under a prefix, and an endpoint."""
    with ceph_gateway.account.bucket() as bucket:
        environment = {**ceph_gateway.account.environment, "FAAS_STORE": f"s3://{bucket}/federation/one"}
        with Federation(tmp_path_factory.mktemp("federation"), environment) as running:
            running.add_endpoint("lab", workers=1)
            yield running


def repeated(length: int) -> bytes:
    """A result of this length."""
    piece = bytes(range(251)) * 4096
    return (piece * (length // len(piece) + 1))[:length]


def test_a_large_result_goes_from_the_worker_to_the_store(federation: Federation) -> None:
    service = psutil.Process(federation.service_pid)
    with federation.client() as client:
        function_id = client.register_function(repeated)
        client.get_result(client.run(1_500_000, function_id=function_id), LIMIT_S)
        before = service.memory_info().rss
        task_id = client.run(SIZE, function_id=function_id)
        assert client.get_result(task_id, LIMIT_S) == repeated(SIZE)
        assert service.memory_info().rss - before < GROWTH_BYTES
        key = client.get_task(task_id)["location_key"]
        assert key.startswith("results/") and f"/{task_id}.1." in key
    # Neither in the agent's spool nor in its run directory is anything of it left.
    directory = federation.directory / "endpoints" / "lab"
    assert [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size > 1_000_000] == []
    with federation.client() as client, faas.Executor(client=client, endpoint_id="lab") as executor:
        assert executor.submit(repeated, SIZE).result(LIMIT_S) == repeated(SIZE)


def test_an_object_goes_up_in_parts_and_comes_back(federation: Federation, tmp_path: Path) -> None:
    source = tmp_path / "scan.h5"
    source.write_bytes(os.urandom(1_000_003) * (SIZE // 1_000_003))
    service = psutil.Process(federation.service_pid)
    with federation.client() as client:
        before = service.memory_info().rss
        reference = client.put(source, keep=True)
        assert reference.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
        copy = reference.download(tmp_path / "copy.h5")
        assert copy.read_bytes() == source.read_bytes()
        assert service.memory_info().rss - before < GROWTH_BYTES
        client.delete(reference)
        with pytest.raises(faas.NotFound):
            reference.download(tmp_path / "again.h5")
