"""The protocol of small answers: head and body arrive together, and large or broken-off ones arrive whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn

from router.protocol import GatheringProtocol, _Gathering

pytestmark = pytest.mark.anyio


class Recorded:
    """A transport that notes what is written, in the order it comes."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def write(self, data: bytes) -> None:
        self.events.append(data)

    def close(self) -> None:
        self.events.append("closed")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, **_: Any) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def test_writes_of_one_round_are_one() -> None:
    transport = Recorded()
    gathering = _Gathering(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
    gathering.write(b"head ")
    gathering.write(b"body")
    assert transport.events == []
    await asyncio.sleep(0)
    assert transport.events == [b"head body"]


async def test_much_is_handed_on_at_once() -> None:
    transport = Recorded()
    gathering = _Gathering(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
    gathering.write(b"head")
    gathering.write(b"x" * 100_000)
    assert [len(event) for event in transport.events] == [100_004]


async def test_closing_writes_first() -> None:
    transport = Recorded()
    gathering = _Gathering(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
    gathering.write(b"last words")
    gathering.close()
    await asyncio.sleep(0)
    assert transport.events == [b"last words", "closed"]


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_an_answer_arrives_whole(size: int) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    config = uvicorn.Config(application, lifespan="off", http=GatheringProtocol)
    config.load()
    transport = Recorded()
    protocol = GatheringProtocol(config, uvicorn.server.ServerState(), {}, asyncio.get_running_loop())
    protocol.connection_made(transport)  # type: ignore[arg-type]
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    await asyncio.wait(protocol.tasks)
    await asyncio.sleep(0)
    head, _, body = b"".join(transport.events).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b"x" * size
    assert len(transport.events) == 1
