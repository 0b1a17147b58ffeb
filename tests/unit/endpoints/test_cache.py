"""The site's cache: bounded but for what is in use, one fetch when many ask, whole files only, after a restart too."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoints.cache import Cache, Cached, file_name
from faas.errors import ChecksumMismatch

pytestmark = pytest.mark.anyio

LIMIT = 100
SIZES = {hashlib.sha256(bytes([size])).hexdigest(): size for size in (0, 1, 30, 35, 40, 60, 99, 120)}
DIGESTS = list(SIZES)


def open_cache(directory: Path, limit: int = LIMIT) -> Cache:
    cache = Cache(directory, limit)
    cache.scan()
    cache.tidy()
    return cache


def writing(size: int, fetched: list[int] | None = None) -> Callable[[Path], asyncio.Future[None]]:
    """A fetch that writes so many bytes, and notes it."""

    async def fetch(path: Path) -> None:
        if fetched is not None:
            fetched.append(size)
        await asyncio.sleep(0)
        path.write_bytes(bytes(size))

    return lambda path: asyncio.ensure_future(fetch(path))


def files_in(directory: Path) -> list[Path]:
    """What lies in the cache, without what is on its way out of it."""
    kept = [path for path in directory.iterdir() if path.name != ".going"]  # a thread is at work in that one
    return [path for part in kept for path in part.rglob("*") if path.is_file()]


@dataclass
class Play:
    """A cache with its users, some of whom wait for a fetch that the test holds back."""

    directory: Path
    cache: Cache = field(init=False)
    using: list[Cached] = field(default_factory=list)
    gates: dict[tuple[str, str], asyncio.Future[None]] = field(default_factory=dict)
    waiting: list[tuple[tuple[str, str], asyncio.Task[Cached]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache = open_cache(self.directory)

    async def settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)
        for pair in [pair for pair in self.waiting if pair[1].done()]:
            self.waiting.remove(pair)
            if pair[1].exception() is None:
                self.using.append(pair[1].result())

    def borrow(self, owner: str, digest: str, *, known: bool) -> None:
        key = (owner, digest)

        async def fetch(path: Path) -> None:
            assert key not in self.gates, "fetched twice at the same time"
            gate = self.gates[key] = asyncio.get_running_loop().create_future()
            try:
                await gate
            finally:
                del self.gates[key]
            path.write_bytes(bytes(SIZES[digest]))

        borrowing = self.cache.borrow(owner, digest, "x.h5", SIZES[digest] if known else -1, fetch)
        self.waiting.append((key, asyncio.ensure_future(borrowing)))

    def check(self) -> None:
        pinned = {cached.key: SIZES[cached.key[1]] for cached in self.using}
        pinned.update({key: SIZES[key[1]] for key, _ in self.waiting})
        assert self.cache.size_bytes <= max(LIMIT, sum(pinned.values()))
        assert sum(path.stat().st_size for path in files_in(self.directory)) <= max(LIMIT, sum(pinned.values()))
        for cached in self.using:
            path = self.cache.path(cached, "x.h5")
            assert path.read_bytes() == bytes(SIZES[cached.key[1]])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["borrow", "borrow", "borrow unknown", "give back", "give back", "finish", "fail", "told"]),
            st.integers(0, 15),
        ),
        max_size=40,
    )
)
def test_it_is_over_its_limit_by_no_more_than_what_is_in_use_and_removes_nothing_of_that(
    steps: list[tuple[str, int]],
) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as directory:
            game = Play(Path(directory))
            known: dict[str, int] = {}
            for step, number in steps:
                if step.startswith("borrow"):
                    owner = "ab"[number % 2]
                    game.borrow(owner, DIGESTS[number // 2], known=step == "borrow")
                elif step == "give back" and game.using:
                    game.cache.give_back(game.using.pop(number % len(game.using)))
                elif step in ("finish", "fail") and game.gates:
                    gate = list(game.gates.values())[number % len(game.gates)]
                    if not gate.done():
                        gate.set_result(None) if step == "finish" else gate.set_exception(ChecksumMismatch("no"))
                elif step == "told":
                    came, went = game.cache.news()
                    for digest in went:
                        known.pop(digest, None)
                    known.update(came)
                    game.cache.told(came, went)
                await game.settle()
                game.check()
            for gate in list(game.gates.values()):
                gate.set_result(None)
            while game.waiting:
                await game.settle()
            game.check()
            came, went = game.cache.news()
            known = {digest: size for digest, size in {**known, **came}.items() if digest not in went}
            held = {path.parent.name: path.stat().st_size for path in files_in(Path(directory))}
            assert known == held == game.cache.holdings()
            again = Cache(Path(directory), LIMIT)
            again.scan()
            assert again.size_bytes == game.cache.size_bytes

    asyncio.run(play())


async def test_one_fetch_when_many_ask_and_none_when_it_is_there(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    fetched: list[int] = []
    digest = DIGESTS[2]
    borrowed = await asyncio.gather(*(cache.borrow("a", digest, "x", 30, writing(30, fetched)) for _ in range(20)))
    for each in borrowed:
        cache.give_back(each)
    await cache.borrow("a", digest, "x", 30, writing(30, fetched))
    assert fetched == [30]
    await cache.borrow("b", digest, "x", 30, writing(30, fetched))  # identities share nothing
    assert fetched == [30, 30]
    assert cache.holdings() == {digest: 30}


async def test_what_failed_is_tried_again_by_the_next(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)

    async def failing(path: Path) -> None:
        path.write_bytes(b"half")
        raise ChecksumMismatch("no")

    with pytest.raises(ChecksumMismatch):
        await cache.borrow("a", DIGESTS[1], "x", 1, failing)
    assert files_in(tmp_path) == []
    assert cache.size_bytes == 0
    cached = await cache.borrow("a", DIGESTS[1], "x", 1, writing(1))
    assert cache.path(cached, "x").stat().st_size == 1


async def test_the_least_recently_used_goes_first_also_after_a_restart(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    for digest in DIGESTS[1:4]:  # 1, 30 and 35 bytes
        cache.give_back(await cache.borrow("a", digest, "x", -1, writing(SIZES[digest])))
    for age_s, digest in zip((300, 100, 200), DIGESTS[1:4], strict=True):
        path = cache.path(await cache.borrow("a", digest, "x", -1, writing(0)), "x")
        os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    (tmp_path / ".coming" / "left").mkdir()
    cache = Cache(tmp_path, LIMIT)
    cache.scan()
    assert (tmp_path / ".coming" / "left").exists()  # another agent's, perhaps
    cache.tidy()
    assert not (tmp_path / ".coming" / "left").exists()
    assert cache.holdings() == {digest: SIZES[digest] for digest in DIGESTS[1:4]}
    cache.give_back(await cache.borrow("a", DIGESTS[5], "x", 60, writing(60)))
    assert set(cache.holdings()) == {DIGESTS[2], DIGESTS[5]}


async def test_a_copy_of_another_size_than_it_should_have_is_fetched_again(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cached = await cache.borrow("a", DIGESTS[2], "x", 30, writing(30))
    cache.give_back(cached)
    cut = cache.path(cached, "x")
    cut.chmod(0o600)
    cut.write_bytes(b"")
    cache = open_cache(tmp_path)
    again = await cache.borrow("a", DIGESTS[2], "x", 30, writing(30))
    assert cache.path(again, "x").stat().st_size == 30


async def test_a_copy_has_the_ending_that_each_task_gave_it_and_is_not_to_be_written(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    one = await cache.borrow("a", DIGESTS[2], "scan.h5", 30, writing(30))
    other = await cache.borrow("a", DIGESTS[2], "../../etc/scan.hdf5", 30, writing(30))
    assert cache.path(one, "scan.h5").name == "scan.h5"
    assert cache.path(other, "../../etc/scan.hdf5").name == "scan.hdf5"
    assert cache.path(other, "scan.hdf5").parent == cache.path(one, "scan.h5").parent
    assert cache.path(one, "scan.h5").stat().st_mode & 0o222 == 0
    reopened = open_cache(tmp_path)
    assert reopened.holdings() == {DIGESTS[2]: 30}


@pytest.mark.parametrize(
    ("owner", "digest"), [("a", "../" * 20 + "x"), ("a", "0" * 63 + "/"), ("..", DIGESTS[1]), ("", DIGESTS[1])]
)
async def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, owner: str, digest: str) -> None:
    with pytest.raises(ValueError, match="no checksum, or"):
        await open_cache(tmp_path / "cache").borrow(owner, digest, "x", 1, writing(1))
    assert files_in(tmp_path) == []


async def test_a_full_file_system_costs_what_nobody_uses(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.give_back(await cache.borrow("a", DIGESTS[1], "x", 1, writing(1)))
    kept = await cache.borrow("a", DIGESTS[2], "x", 30, writing(30))
    tries = itertools.count()

    async def full_at_first(path: Path) -> None:
        if next(tries) == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(bytes(35))

    await cache.borrow("a", DIGESTS[3], "x", 35, full_at_first)
    assert set(cache.holdings()) == {DIGESTS[2], DIGESTS[3]}
    assert cache.path(kept, "x").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scan.h5", "scan.h5"),
        ("als-raw:/2026/scan.h5", "scan.h5"),
        ("..", "object"),
        ("", "object"),
        ("a/", "object"),
        ("x\0y", "xy"),
    ],
)
def test_a_files_name_is_harmless(name: str, expected: str) -> None:
    assert file_name(name) == expected
