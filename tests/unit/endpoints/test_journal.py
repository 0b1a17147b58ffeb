"""The journal is readable at any moment, also when its writer was cut off."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from endpoints.journal import Journal, read_journal
from faas.models import AttemptKey

FIRST, SECOND = AttemptKey(7, 1), AttemptKey(8, 2)


def test_what_was_flushed_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "chunk")
    journal.started(FIRST, 1700000000.25, 42)
    journal.flush()
    entries = read_journal(tmp_path / "chunk")
    assert entries.started == {FIRST: 1700000000.25}
    assert entries.runners == {FIRST: 42}
    assert entries.running == {FIRST: 1700000000.25}
    journal.ended(FIRST)
    assert read_journal(tmp_path / "chunk").running
    journal.started(SECOND, 1700000001.5, 42)
    journal.close()
    entries = read_journal(tmp_path / "chunk")
    assert entries.running == {SECOND: 1700000001.5}
    assert entries.ended == {FIRST}


def test_a_chunk_that_runs_again_is_appended(tmp_path: Path) -> None:
    for at in (1.0, 2.0):
        journal = Journal(tmp_path / "chunk")
        journal.started(FIRST, at, 42)
        if at == 1.0:
            journal.ended(FIRST)
        journal.close()
    assert read_journal(tmp_path / "chunk").running == {FIRST: 2.0}


def test_missing_journal_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none").started == {}


LINES = "started 7.1 1.000 42\nended 7.1\nstarted 8.2 2.000 42\n"


@given(st.integers(0, len(LINES)))
def test_a_journal_cut_anywhere_tells_what_is_whole(length: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chunk"
        path.write_text(LINES[:length])
        entries = read_journal(path)
    assert len(entries.started) + len(entries.ended) == LINES[:length].count("\n")


@given(st.binary())
def test_garbage_is_passed_over(garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chunk"
        path.write_bytes(LINES.encode() + garbage)
        assert read_journal(path).started[AttemptKey(8, 2)] == 2.0
