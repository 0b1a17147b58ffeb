"""Data by reference on real processes: files used where they lie, objects fetched once, results that refer to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import faas
from tests.services.federation import Federation

HUGE_BYTES = 50_000_000_000


def measure(scan: Path, out: Path) -> int:
    size = scan.stat().st_size
    with scan.open("rb") as file:
        file.seek(size // 2)
        assert file.read(4) == b"\0\0\0\0"
    out.write_text(f"{scan.name} {size}")
    return size


def look_at(value: Any, path: Path, itself: faas.ObjectRef) -> Any:
    reference: Any = itself
    assert value == path.read_bytes() == reference.open().read()
    return {"size": len(value), "name": path.name, "at": str(path), "itself": [itself]}


def follow(found: dict[str, Any], again: list[Path]) -> Any:
    return len(found["itself"][0]), [each.stat().st_size for each in again]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """One for all tests here: its start takes longest. Its locations lie beside it."""
    directory = tmp_path_factory.mktemp("federation")
    for name in ("raw", "proc"):
        (directory / name).mkdir()
    with Federation(directory / "data") as running:
        running.add_endpoint("lab", settings=f"locations: {{raw: {directory}/raw, proc: {directory}/proc}}\n")
        yield running


def cached_files(federation: Federation) -> list[Path]:
    """What the endpoint's cache holds."""
    cache = federation.directory / "endpoints" / "lab" / "run" / "cache"
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_file_of_fifty_gigabytes_is_used_where_it_lies(federation: Federation) -> None:
    site = federation.directory.parent
    with (site / "raw" / "scan.h5").open("wb") as file:
        file.truncate(HUGE_BYTES)  # sparse: it takes no room
    (site / "raw" / "out").symlink_to("/etc")
    with faas.Executor(client=federation.client()) as executor:
        measured = executor.submit(measure, faas.File("raw:/scan.h5"), faas.OutputFile("proc:/deep/scan.txt"))
        escaped = executor.submit(measure, faas.File("raw:/out/passwd"), faas.OutputFile("proc:/escaped.txt"))
        assert measured.result(timeout=120) == HUGE_BYTES
        with pytest.raises(faas.TaskFailed, match="leads out of its location by a symbolic link"):
            escaped.result(timeout=120)
    assert (site / "proc" / "deep" / "scan.txt").read_text() == f"scan.h5 {HUGE_BYTES}"
    assert [path.name for path in (site / "proc").iterdir()] == ["deep"]
    assert [path.name for path in (site / "proc" / "deep").iterdir()] == ["scan.txt"]
    assert cached_files(federation) == []
    moved = sum(path.stat().st_size for path in federation.directory.rglob("*") if path.is_file())
    assert moved < 100_000_000


def test_an_object_is_fetched_once_and_results_refer_to_it(federation: Federation, tmp_path: Path) -> None:
    data = bytes(range(256)) * 100_000
    (tmp_path / "scan.bin").write_bytes(data)
    client: Any = federation.client()
    reference = client.put(tmp_path / "scan.bin")
    with faas.Executor(client=client) as executor:
        looking = [executor.submit(look_at, reference, reference, reference) for _ in range(8)]
        following = executor.submit(follow, looking[0], [reference])
        found = [future.result(timeout=120) for future in looking]
        assert following.result(timeout=120) == (len(data), [len(data)])
    assert {each["name"] for each in found} == {"scan.bin"}
    assert {each["at"] for each in found} == {str(path) for path in cached_files(federation)}
    assert found[0]["itself"] == [reference]
    assert client.get(found[0]["itself"][0]) == data


def one(number: int) -> int:
    return number


def test_a_thousand_results_come_together(federation: Federation) -> None:
    with federation.client() as client:
        one_id, sum_id = client.register_function(one), client.register_function(sum)
        batch = client.create_batch()
        parts = [batch.add(one_id, args=(number,)) for number in range(1000)]
        total = batch.add(sum_id, args=([faas.TaskReference(part) for part in parts],))
        client.batch_run("any", batch)
    # Nothing passes through the client, which has gone.
    with federation.client() as another:
        assert another.get_result(total, timeout=240) == sum(range(1000))
