"""Scratch directories go with their worker, also when it was killed and another has to remove them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from endpoints.scratch import Scratch


def test_abandoned_directories_are_removed_and_others_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = "from endpoints.scratch import Scratch\nimport os\nprint(Scratch().make(), flush=True)\nos._exit(0)\n"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    abandoned = Path(subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).strip())
    assert abandoned.is_dir()
    mine = Scratch()
    made = mine.make()
    assert list(made.iterdir()) == []
    assert not abandoned.parent.exists()
    another = Scratch()
    assert made.is_dir()
    mine.remove()
    another.remove()
    assert not made.exists()


def test_workers_that_start_at_once_leave_each_other_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One starts just before the other has its lock."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lock = fcntl.flock

    def lock_after_another_has_started(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        Scratch().remove()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock_after_another_has_started)
    scratch = Scratch()
    assert scratch.make().is_dir()
    scratch.remove()
