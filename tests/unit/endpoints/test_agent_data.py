"""Data by reference through an agent: inputs cached and told of, files where they lie, outputs stored and cleared."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from endpoints.chunk import Chunk, ChunkTask, TaskReport
from endpoints.runner import unfinished_output
from faas.models import AttemptKey, Failure, Grant, Input, Location
from tests.unit.endpoints.fake_engine import FakeEngine, echo
from tests.unit.endpoints.fake_service import FakeService, function_code
from tests.unit.endpoints.running_agent import killed, places_in, running

pytestmark = pytest.mark.anyio

CODE = function_code("def f(x):\n    return x\n", "f")
OTHER: dict[str, Any] = {"owner_id": "22222222-2222-4222-8222-222222222222", "owner": "grace"}
DATA = b"D" * 500_000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def service() -> FakeService:
    return FakeService()


class Seen(FakeEngine):
    """An engine that keeps the tasks it ran, and what their inputs held."""

    def __init__(self) -> None:
        super().__init__(self._look)
        self.tasks: list[ChunkTask] = []
        self.read: list[dict[str, bytes]] = []

    def _look(self, chunk: Chunk, task: ChunkTask) -> TaskReport:
        self.tasks.append(task)
        self.read.append({name: Path(path).read_bytes() for name, path in task.value_files.items()})
        return echo(chunk, task)


class Writing(FakeEngine):
    """An engine whose tasks write their outputs, as runners do."""

    def __init__(self, *, publish: bool = True, state: str = "succeeded") -> None:
        super().__init__(self._write)
        self.publish = publish
        self.state = state
        self.places: list[Path] = []

    def _write(self, chunk: Chunk, task: ChunkTask) -> TaskReport:
        for name, place in task.outputs.items():
            attempt = f"{task.attempt.sequence}.{task.attempt.number}"
            path = Path(place if self.publish else unfinished_output(place, attempt))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"written for {name}".encode())
            self.places.append(path)
        report = echo(chunk, task)
        report.state = self.state
        return report


@pytest.fixture
def engine() -> Seen:
    return Seen()


def an_input(service: FakeService, **fields: Any) -> Input:
    fields = {"size_bytes": len(DATA), "sha256": DIGEST, "name": "scan.h5", **fields}
    return Input(grant=service.get_grant(service.put(DATA)), **fields)


async def end(service: FakeService, *attempts: AttemptKey) -> list[str]:
    """Wait until all have ended; returns their states."""
    service.notify()
    await service.until(lambda: all(map(service.ended, attempts)))
    return [service.ended(attempt).state for attempt in attempts]  # type: ignore[union-attr]


def why(service: FakeService, attempt: AttemptKey) -> tuple[str, str]:
    """How and why a task failed."""
    failure = msgspec.msgpack.decode(service.result(attempt), type=Failure)
    return failure.kind, failure.message


def fetches(service: FakeService) -> int:
    return sum(method == "GET" and "/store/" in path for method, path in service.requests)


async def test_an_input_is_fetched_once_and_kept_for_the_next_session(
    service: FakeService, engine: Seen, tmp_path: Path
) -> None:
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE, inputs={"an-object": an_input(service)}) for _ in range(20)]
        assert set(await end(service, *attempts)) == {"succeeded"}
        assert fetches(service) == 1
        await service.until(lambda: any(DIGEST in beat.cached for beat in service.beats))
        answered = service.beats_answered
        await service.until(lambda: service.beats_answered > answered + 1)
        assert service.beats[-1].cached == {}  # told once
    assert engine.read == [{"an-object": DATA}] * 20
    (place,) = {task.value_files["an-object"] for task in engine.tasks}
    assert place.endswith(f"/{engine.chunks[0].owner_id}/{DIGEST[:2]}/{DIGEST}/scan.h5")
    async with running(service, engine, tmp_path):
        assert await end(service, service.add(CODE, inputs={"an-object": an_input(service)})) == ["succeeded"]
    assert fetches(service) == 1
    assert [opened.cached for opened in service.opened] == [{}, {DIGEST: len(DATA)}]


async def test_identities_have_copies_of_their_own_and_files_of_buckets_theirs_by_etag(
    service: FakeService, engine: Seen, tmp_path: Path
) -> None:
    name = "s3://raw/scan13.h5"
    async with running(service, engine, tmp_path, "allow: {grace: true}\n"):
        attempts = [service.add(CODE, inputs={"o": an_input(service)}, **fields) for fields in ({}, OTHER)]
        assert set(await end(service, *attempts)) == {"succeeded"}
        assert fetches(service) == 2
        for etag, expected in (("1", 3), ("1", 3), ("2", 4), ("", 5), ("", 6)):
            wanted = an_input(service, sha256="", etag=etag, name="")
            assert await end(service, service.add(CODE, inputs={name: wanted}, files=[name])) == ["succeeded"]
            assert fetches(service) == expected
    assert engine.read[-1] == {name: DATA}
    assert engine.tasks[-1].value_files[name].endswith("/scan13.h5")


async def test_the_cache_keeps_to_its_limit_and_tells_what_went(
    service: FakeService, engine: Seen, tmp_path: Path
) -> None:
    other = b"E" * 500_000
    digest = hashlib.sha256(other).hexdigest()
    shared = tmp_path / "scratch"
    async with running(service, engine, tmp_path, f"cache: {{directory: {shared}, max_bytes: 6e5}}\n"):
        assert await end(service, service.add(CODE, inputs={"o": an_input(service)})) == ["succeeded"]
        await service.until(lambda: any(DIGEST in beat.cached for beat in service.beats))
        second = Input(grant=service.get_grant(service.put(other)), size_bytes=len(other), sha256=digest)
        assert await end(service, service.add(CODE, inputs={"o": second})) == ["succeeded"]
        await service.until(lambda: any(DIGEST in beat.uncached for beat in service.beats))
        await service.until(lambda: any(digest in beat.cached for beat in service.beats))
    assert sum(path.stat().st_size for path in shared.rglob("*") if path.is_file()) == 500_000
    assert [path.name for path in shared.iterdir()] == ["endpoint"]


async def test_a_damaged_object_fails_its_tasks_with_words(service: FakeService, engine: Seen, tmp_path: Path) -> None:
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, inputs={"o": an_input(service, sha256="0" * 64)})
        assert await end(service, attempt) == ["failed"]
        kind, message = why(service, attempt)
        assert kind == "serialization"
        assert "twice, and was stored with 0000" in message
        assert fetches(service) == 2


async def test_a_grant_that_has_expired_is_renewed(service: FakeService, engine: Seen, tmp_path: Path) -> None:
    wanted = an_input(service)
    service.expired.add(wanted.grant.url)
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, inputs={"o": wanted})
        assert await end(service, attempt) == ["succeeded"]
    assert service.renewed == [(attempt, ["o"])]
    assert engine.read == [{"o": DATA}]


async def test_files_of_the_sites_own_are_used_where_they_lie(
    service: FakeService, engine: Seen, tmp_path: Path
) -> None:
    raw = tmp_path / "als"
    raw.mkdir()
    (raw / "scan.h5").write_bytes(b"here")
    (raw / "out").symlink_to("/etc")
    settings = f"allow: {{grace: true}}\nlocations: {{als-raw: {{path: {raw}, readers: [ada]}}}}\n"
    async with running(service, engine, tmp_path, settings):
        here = service.add(
            CODE,
            files=["als-raw:/scan.h5", "als-raw:/elsewhere.h5", "other:/x"],
            inputs={name: an_input(service) for name in ("als-raw:/scan.h5", "als-raw:/elsewhere.h5", "other:/x")},
        )
        escape = service.add(CODE, files=["als-raw:/out/passwd"])
        missing = service.add(CODE, files=["als-raw:/nothing"])
        unknown = service.add(CODE, files=["als-proc:/x"])
        forbidden = service.add(CODE, files=["als-raw:/scan.h5"], **OTHER)
        states = await end(service, here, escape, missing, unknown, forbidden)
    assert states == ["succeeded", "failed", "failed", "failed", "failed"]
    assert engine.read == [{"als-raw:/scan.h5": b"here", "als-raw:/elsewhere.h5": DATA, "other:/x": DATA}]
    assert engine.tasks[0].value_files["als-raw:/scan.h5"] == str(raw.resolve() / "scan.h5")
    assert fetches(service) == 1  # what a bucket has of another name's is the same object here
    assert why(service, escape) == (
        "refused",
        "als-raw:/out/passwd leads out of its location by a symbolic link, and is refused.",
    )
    assert why(service, missing)[0] == "serialization"
    assert "neither mounts its location nor may fetch it" in why(service, unknown)[1]
    assert "Tasks of grace may not read" in why(service, forbidden)[1]
    mount = service.opened[0].locations["als-raw"]
    assert (mount.readers, mount.writers) == (("ada",), ())


async def test_a_file_of_fifty_gigabytes_is_passed_without_moving_a_byte(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    (tmp_path / "raw").mkdir()
    with (tmp_path / "raw" / "huge.h5").open("wb") as file:
        file.truncate(50_000_000_000)
    sizes: list[int] = []

    def look(chunk: Chunk, task: ChunkTask) -> TaskReport:
        sizes.append(Path(task.value_files["raw:/huge.h5"]).stat().st_size)
        return echo(chunk, task)

    engine.body = look
    async with running(service, engine, tmp_path, f"locations: {{raw: {tmp_path / 'raw'}}}\n"):
        assert await end(service, service.add(CODE, files=["raw:/huge.h5"])) == ["succeeded"]
    assert sizes == [50_000_000_000]
    assert fetches(service) == 0
    assert not any(path.is_file() for path in (places_in(tmp_path).run / "cache").rglob("*"))


async def test_outputs_go_to_their_location_or_to_the_store(service: FakeService, tmp_path: Path) -> None:
    engine = Writing()
    (tmp_path / "proc").mkdir()
    grant = Grant(object_id="in-bucket", verb="PUT", url="/v1/store/in-bucket", expires_at=time.time() + 600)
    async with running(service, engine, tmp_path, f"locations: {{proc: {tmp_path / 'proc'}}}\n"):
        attempt = service.add(CODE, outputs=["proc:/deep/x.h5", "far:/y.h5"], output_grants={"far:/y.h5": grant})
        refused = service.add(CODE, outputs=["nowhere:/y.h5"])
        assert await end(service, attempt, refused) == ["succeeded", "failed"]
        assert "neither mounts its location nor may store there" in why(service, refused)[1]
    assert (tmp_path / "proc" / "deep" / "x.h5").read_bytes() == b"written for proc:/deep/x.h5"
    assert service.objects["in-bucket"] == b"written for far:/y.h5"
    paths = [path for _, path in service.requests]
    told = next(i for i, report in enumerate(service.reports) if any(o.attempt == attempt for o in report.outcomes))
    reported = [index for index, path in enumerate(paths) if path.endswith("/report")][told]
    assert paths.index("/v1/store/in-bucket") < reported
    assert list((places_in(tmp_path).run / "outputs").iterdir()) == []


async def test_an_output_that_cannot_be_stored_fails_the_task(service: FakeService, tmp_path: Path) -> None:
    engine = Writing()
    grant = Grant(object_id="in-bucket", verb="PUT", url="/v1/store/in-bucket", expires_at=time.time() + 600)
    service.expired.add(grant.url)
    service.no_renewal = True
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, outputs=["far:/y.h5"], output_grants={"far:/y.h5": grant})
        assert await end(service, attempt) == ["failed"]
        assert "What the function wrote could not be stored" in why(service, attempt)[1]
        service.no_renewal = False
        renewed = service.add(CODE, outputs=["far:/y.h5"], output_grants={"far:/y.h5": grant})
        assert await end(service, renewed) == ["succeeded"]
    assert service.objects["in-bucket"] == b"written for far:/y.h5"
    assert list((places_in(tmp_path).run / "outputs").iterdir()) == []


async def test_what_a_killed_agents_attempts_had_begun_to_write_is_removed(
    service: FakeService, tmp_path: Path
) -> None:
    engine = Writing(publish=False)
    (tmp_path / "proc").mkdir()
    settings = f"locations: {{proc: {tmp_path / 'proc'}}}\n"
    grant = Grant(object_id="in-bucket", verb="PUT", url="/v1/store/in-bucket", expires_at=time.time() + 600)
    engine.open.clear()
    async with running(service, engine, tmp_path, settings) as (_, run):
        service.add(CODE, outputs=["proc:/x.h5", "far:/y.h5"], output_grants={"far:/y.h5": grant})
        service.notify()
        await service.until(lambda: engine.chunks)
        (task,) = engine.chunks[0].tasks
        for place in task.outputs.values():
            path = Path(unfinished_output(place, "1.1"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
        await killed(service, engine, run, tmp_path)
    half = Path(unfinished_output(task.outputs["proc:/x.h5"], "1.1"))
    half.write_bytes(b"half")
    async with running(service, Seen(), tmp_path, settings):
        await service.until(lambda: len(service.opened) == 2)
        assert list((tmp_path / "proc").iterdir()) == []
        assert list((places_in(tmp_path).run / "outputs").iterdir()) == []


async def test_objects_that_a_result_refers_to_are_reported(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    def referring(chunk: Chunk, task: ChunkTask) -> TaskReport:
        report = echo(chunk, task)
        report.objects = ("one", "two")
        return report

    engine.body = referring
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE)
        assert await end(service, attempt) == ["succeeded"]
        assert service.ended(attempt).objects == ["one", "two"]  # type: ignore[union-attr]


async def test_what_a_session_that_is_over_had_pinned_may_go(
    service: FakeService, engine: Seen, tmp_path: Path
) -> None:
    other = b"E" * 500_000
    digest = hashlib.sha256(other).hexdigest()
    async with running(service, engine, tmp_path, "cache: {max_bytes: 600000}\n"):
        engine.open.clear()
        for _ in range(6):  # some run, some wait
            service.add(CODE, inputs={"o": an_input(service)})
        service.notify()
        await service.until(lambda: engine.chunks and service.beats and len(service.beats[-1].held) == 6)
        service.gone.add("session-1")
        service.notify()
        await service.until(lambda: len(service.opened) == 2)
        engine.open.set()
        second = Input(grant=service.get_grant(service.put(other)), size_bytes=len(other), sha256=digest)
        assert await end(service, service.add(CODE, inputs={"o": second})) == ["succeeded"]
        await service.until(lambda: any(DIGEST in beat.uncached for beat in service.beats))


async def test_a_store_that_refuses_fresh_grants_fails_the_task_and_not_the_site(
    service: FakeService, engine: Seen, tmp_path: Path
) -> None:
    wanted = an_input(service)
    service.expired.add(wanted.grant.url)
    service.renewals_help = False
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, inputs={"o": wanted})
        assert await end(service, attempt) == ["failed"]
        assert "with fresh grants either" in why(service, attempt)[1]


async def test_results_at_hand_need_no_fetching(service: FakeService, engine: Seen, tmp_path: Path) -> None:
    async with running(service, engine, tmp_path):
        fields: dict[str, Any] = {"dependencies": {"parent": Location("o", 0, 5)}, "values": {"parent": b"pk\nI1\n."}}
        assert await end(service, service.add(CODE, **fields)) == ["succeeded"]
    assert engine.tasks[0].values == fields["values"]
    assert fetches(service) == 0


@pytest.mark.parametrize("size", [1000, 400_000])
async def test_damaged_arguments_fail_their_task_with_words(
    service: FakeService, engine: Seen, tmp_path: Path, size: int
) -> None:
    grant, other = (service.get_grant(service.put(bytes([number]) * size)) for number in range(2))
    async with running(service, engine, tmp_path):
        good = service.add(CODE, argument_object=msgspec.structs.replace(grant, sha256=grant.object_id))
        damaged = service.add(CODE, argument_object=msgspec.structs.replace(other, sha256="0" * 64))
        assert await end(service, good) == ["succeeded"]
        assert await end(service, damaged) == ["failed"]
        assert "twice, and was stored with 0000" in why(service, damaged)[1]
    assert list((places_in(tmp_path).run / "values").iterdir()) == []
