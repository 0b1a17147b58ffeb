"""Scratch directories of runners on the node's own disk, removed also when their worker was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "faas-scratch-"
_LOCK = "lock"


class Scratch:
    """A worker process's directory for the working directories of its runners.

    The worker holds a lock in it while it lives, so a later worker can tell that it is abandoned.
    """

    def __init__(self) -> None:
        self._parent = Path(tempfile.gettempdir()) / f"{_PREFIX}{os.getuid()}"
        self._parent.mkdir(mode=0o700, exist_ok=True)
        self._remove_abandoned()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._parent))
        # It gets its name when it is locked: another worker that starts just now would take it for abandoned.
        unnamed = self.directory / f"{_LOCK}.new"
        self._lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.directory / _LOCK)

    def make(self) -> Path:
        """A new empty directory."""
        return Path(tempfile.mkdtemp(dir=self.directory))

    def remove(self) -> None:
        """Remove everything, and let go of the lock."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)

    def _remove_abandoned(self) -> None:
        for directory in self._parent.iterdir():
            try:
                lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue  # Being made just now, or another's.
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
            except OSError:
                pass  # Its worker lives.
            finally:
                os.close(lock)
