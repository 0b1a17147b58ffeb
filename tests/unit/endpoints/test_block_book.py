"""Blocks on disk: before anything is submitted, under names that fit any scheduler, and until the service knows."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import msgspec

from endpoints.block_book import BlockBook, BlockEnds, name_prefix, read_blocks
from endpoints.configuration import Configuration
from endpoints.places import Places
from endpoints.recovery import cancel_leftover_jobs
from endpoints.session import SessionState
from faas.models import Block


def test_a_name_is_on_disk_when_it_is_given(tmp_path: Path) -> None:
    nonce = uuid.uuid4().hex
    book = BlockBook(tmp_path / "blocks.json", nonce)
    blocks = [book.new("big", 2, 600.0) for _ in range(3)]
    names = [block.block_id for block in blocks]
    assert len(set(names)) == 3
    assert all(name.startswith(name_prefix(nonce)) for name in names)
    assert [(each.block_id, each.shape, each.nodes) for each in read_blocks(tmp_path / "blocks.json")] == [
        (name, "big", 2) for name in names
    ]
    blocks[0].job_id = "17"
    book.over(names[1])
    written = {each.block_id: each.job_id for each in read_blocks(tmp_path / "blocks.json")}
    assert written == {names[0]: "17", names[2]: ""}


def test_names_fit_schedulers_that_take_few_letters(tmp_path: Path) -> None:
    book = BlockBook(tmp_path / "blocks.json", uuid.uuid4().hex)
    names = [book.new("default", 1, 0.0).block_id for _ in range(99)]
    assert max(map(len, names)) <= 15


def test_ends_are_kept_until_they_are_told(tmp_path: Path) -> None:
    path = tmp_path / "ends.json"
    over = [Block(block_id=name, state="ended", requested_at=1.0, ended_at=2.0) for name in ("a", "b")]
    BlockEnds(path).add([*over, Block(block_id="live", state="running", requested_at=1.0)])
    later = BlockEnds(path)
    assert [block.block_id for block in later.blocks] == ["a", "b"]
    later.told({"a", "unheard of"})
    assert [block.block_id for block in BlockEnds(path).blocks] == ["b"]


def test_an_unreadable_file_has_no_blocks(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert read_blocks(tmp_path / "broken.json") == read_blocks(tmp_path / "missing.json") == []


def test_a_successor_tells_of_the_blocks_it_finds(tmp_path: Path) -> None:
    places = Places(tmp_path / "lab")
    places.prepare()
    state = SessionState.new()
    left = BlockBook(places.blocks, state.nonce).new("default", 1, 600.0)
    began = time.time()
    cancel_leftover_jobs(state, places, Configuration(name="lab"))
    (end,) = BlockEnds(places.block_ends).blocks
    assert (end.block_id, end.state, end.walltime_s) == (left.block_id, "ended", 600.0)
    assert end.ended_at is not None
    assert end.ended_at >= began
    assert not places.blocks.exists()
    assert msgspec.json.decode(places.block_ends.read_bytes())
