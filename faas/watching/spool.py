"""Keeps what was seen on disk until the service has taken it: it may be away, and this process may be killed."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from faas.watching.directory import CompletedFile


class EventSpool:
    """Batches of completed files, each a file of its own, oldest first.

    Args:
        directory: made if need be.

    Example:
        >>> spool = EventSpool(Path("/var/spool/faas-watch"))      # doctest: +SKIP
        >>> spool.save(files)                                      # doctest: +SKIP
        >>> for path, batch in spool.waiting():                    # doctest: +SKIP
        ...     send(batch)
        ...     spool.remove(path)
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._numbers = itertools.count()

    def save(self, files: list[CompletedFile]) -> None:
        """Keep a batch; it is on disk when this returns."""
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._numbers)}"
        draft = self._directory / f".{name}"
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(files))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._directory / f"{name}.json")
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def waiting(self) -> Iterator[tuple[Path, list[CompletedFile]]]:
        """Every batch that has not been removed; one that cannot be read is set aside."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield path, msgspec.json.decode(path.read_bytes(), type=list[CompletedFile])
            except (OSError, msgspec.DecodeError):
                self.set_aside(path)

    def remove(self, path: Path) -> None:
        """The service has this batch."""
        path.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> None:
        """The service does not want this batch, or nobody can read it: a person may look at it."""
        refused = self._directory / "refused"
        refused.mkdir(exist_ok=True, mode=0o700)
        path.rename(refused / path.name)
