"""The spool: what was saved is there again, whatever happened in between."""

from __future__ import annotations

from pathlib import Path

from endpoints.spool import Batch, Spool
from faas.models import AttemptKey, Outcome


def batch(*sequences: int) -> Batch:
    made = Batch(owner_id="ada")
    for sequence in sequences:
        made.add(Outcome(attempt=AttemptKey(sequence, 1), state="succeeded"), b"result %d" % sequence)
    made.run_s["f"] = (0.5, len(sequences))
    return made


def test_another_process_finds_what_was_saved_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for sequence in range(3):
        spool.save(batch(sequence))
    found = Spool(tmp_path)
    loaded = [found.load(path) for path in found.paths()]
    assert loaded == [batch(0), batch(1), batch(2)]
    assert found.attempts() == {AttemptKey(sequence, 1) for sequence in range(3)}


def test_what_was_delivered_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.save(batch(1))
    spool.remove(path)
    spool.remove(path)
    assert spool.paths() == []
    assert spool.load(path) is None


def test_a_damaged_file_is_set_aside_and_does_not_stop_the_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    damaged = spool.save(batch(1))
    damaged.write_bytes(damaged.read_bytes()[:10])
    spool.save(batch(2))
    assert spool.attempts() == {AttemptKey(2, 1)}
    assert len(spool.paths()) == 1
    assert damaged.with_suffix(".refused").exists()


def test_a_file_half_written_when_the_agent_was_killed_is_not_taken_for_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.save(batch(1))
    path.rename(path.with_name(f".{path.name}.4711"))
    assert spool.paths() == []


def test_only_this_account_can_read_results(tmp_path: Path) -> None:
    path = Spool(tmp_path).save(batch(1))
    assert path.stat().st_mode & 0o077 == 0
