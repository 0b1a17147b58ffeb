"""Large results where the worker cannot reach the store: they stay in their files, for the agent to find."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from endpoints import result_upload
from endpoints.chunk import Chunk, ChunkReport, ResultStore
from endpoints.worker import run_chunk
from tests.services.processes import free_port
from tests.unit.endpoints.chunks import ChunkMaker, value


def zeros(length: int) -> bytes:
    return bytes(length)


def run(maker: ChunkMaker, url: str, **fields: object) -> ChunkReport:
    chunk = msgspec.msgpack.decode(maker.encode(), type=Chunk)
    chunk.store = ResultStore(url=url)
    for name, content in fields.items():
        setattr(chunk, name, content)
    for each in chunk.tasks:
        each.ticket = "t1.ticket"
    return msgspec.msgpack.decode(run_chunk(msgspec.msgpack.encode(chunk)), type=ChunkReport)


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_upload, "_shut_until", {})
    monkeypatch.setattr(result_upload, "_open", set())


def test_a_result_stays_in_its_file_where_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    connect = socket.create_connection

    def counted(*arguments: object, **options: object) -> socket.socket:
        tried.append(arguments)
        return connect(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", counted)
    maker = ChunkMaker(tmp_path)
    for _ in range(3):
        maker.add(zeros, 2_000_000)
    report = run(maker, f"http://127.0.0.1:{free_port()}")
    for each in report.tasks:
        assert each.location is None and each.result_file
        assert value(each) == bytes(2_000_000)
    assert len(tried) <= 2  # two went at once; the third knew


@pytest.mark.parametrize(("large_result_bytes", "as_file"), [(100_000, True), (400_000, False)])
def test_what_is_large_is_for_the_endpoint_to_say(tmp_path: Path, large_result_bytes: int, as_file: bool) -> None:
    maker = ChunkMaker(tmp_path)
    maker.add(zeros, 300_000)
    report = run(maker, f"http://127.0.0.1:{free_port()}", large_result_bytes=large_result_bytes)
    assert bool(report.tasks[0].result_file) == as_file
    assert value(report.tasks[0]) == bytes(300_000)
