"""Names of blocks: on disk before anything is submitted, short enough for any scheduler, found again."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from endpoints.block_book import BlockBook, name_prefix


def test_a_name_is_on_disk_when_it_is_given(tmp_path: Path) -> None:
    nonce = uuid.uuid4().hex
    book = BlockBook(tmp_path / "blocks.json", nonce)
    names = [book.new() for _ in range(3)]
    assert len(set(names)) == 3
    assert all(name.startswith(name_prefix(nonce)) for name in names)
    written = json.loads((tmp_path / "blocks.json").read_text())["blocks"]
    assert written == dict.fromkeys(names, "")
    book.submitted(names[0], "17")
    book.over(names[1])
    written = json.loads((tmp_path / "blocks.json").read_text())["blocks"]
    assert written == {names[0]: "17", names[2]: ""}


def test_names_fit_schedulers_that_take_few_letters(tmp_path: Path) -> None:
    book = BlockBook(tmp_path / "blocks.json", uuid.uuid4().hex)
    names = [book.new() for _ in range(99)]
    assert max(map(len, names)) <= 15
