"""The event spool: what was seen survives, in order, until it is removed."""

from __future__ import annotations

from pathlib import Path

from faas.watching.directory import CompletedFile
from faas.watching.spool import EventSpool


def file(path: str) -> CompletedFile:
    return CompletedFile(path=path, size_bytes=1, mtime_ns=2, seen_at=3.0)


def test_batches_are_found_again_in_order_until_removed(tmp_path: Path) -> None:
    spool = EventSpool(tmp_path / "spool")
    spool.save([file("a"), file("b")])
    spool.save([file("c")])
    again = list(EventSpool(tmp_path / "spool").waiting())
    assert [batch for _, batch in again] == [[file("a"), file("b")], [file("c")]]
    spool.remove(again[0][0])
    assert [batch for _, batch in spool.waiting()] == [[file("c")]]


def test_what_cannot_be_read_or_is_not_wanted_is_set_aside(tmp_path: Path) -> None:
    spool = EventSpool(tmp_path)
    (tmp_path / "0-1.json").write_text("half a batch")
    spool.save([file("a")])
    ((path, _),) = spool.waiting()
    spool.set_aside(path)
    assert list(spool.waiting()) == []
    assert len(list((tmp_path / "refused").iterdir())) == 2
