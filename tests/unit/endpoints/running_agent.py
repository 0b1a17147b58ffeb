"""An agent at work against the stand-ins for service and engine, started and stopped around a test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from endpoints.agent import Agent
from endpoints.configuration import Configuration
from endpoints.places import Places
from faas.credentials import Credentials
from tests.unit.endpoints.fake_engine import FakeEngine
from tests.unit.endpoints.fake_service import FakeService

CREDENTIALS = Credentials(url="http://service", token="secret", endpoint_id="endpoint")
QUICK = "retry: {first_s: 0.01, longest_s: 0.05}\n"


def places_in(directory: Path) -> Places:
    """The places of the endpoint that tests run."""
    return Places(directory / "endpoints" / "lab")


def make_agent(
    service: FakeService,
    engine: FakeEngine | Mapping[str, FakeEngine],
    directory: Path,
    settings: str = "",
    *,
    patient: bool = False,
) -> Agent:
    """An agent that is not running yet; with several shapes of worker, an engine for each."""
    text = f"name: lab\nworkers: 2\nstop_grace_s: 0\n{QUICK}{settings}"
    return Agent(
        Configuration.parse(text, "config.yaml"),
        CREDENTIALS,
        places_in(directory),
        patient=patient,
        link=service.link(),
        engine_factory=lambda premises, shape: engine if isinstance(engine, FakeEngine) else engine[shape],
    )


@asynccontextmanager
async def running(
    service: FakeService, engine: FakeEngine, directory: Path, settings: str = ""
) -> AsyncIterator[tuple[Agent, asyncio.Future[int]]]:
    """An agent that runs until the block ends, and is then stopped in order."""
    agent = make_agent(service, engine, directory, settings)
    run = asyncio.ensure_future(agent.run())
    try:
        yield agent, run
    finally:
        engine.open.set()
        if not run.done():
            agent.stop()
        await asyncio.wait({run}, timeout=30)
        assert run.done()


async def killed(service: FakeService, engine: FakeEngine, run: asyncio.Future[int], directory: Path) -> None:
    """As if the agent had been killed: nothing more is said, nothing tidied up, state.json names a dead process."""
    service.down = True
    places = places_in(directory)
    files = {path: path.read_bytes() for path in places.directory.rglob("*") if path.is_file()}
    run.cancel()
    await asyncio.wait({run}, timeout=30)
    for path in places.directory.rglob("*"):
        if path.is_file() and path not in files:
            path.unlink()
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    state = files[places.state].decode()
    places.state.write_text(state.replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    service.down = False
