"""Outcomes on disk from the moment they are known until the service has acknowledged them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from pathlib import Path

import msgspec

from endpoints.places import write_atomically
from faas.models import AttemptKey, Outcome

logger = logging.getLogger(__name__)

_SUFFIX = ".batch"


class Batch(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Outcomes of one owner's attempts, with the bytes of their results.

    The three lists run in step. An outcome has its bytes in ``results``, or in the file that ``files``
    names, or none at all.
    """

    owner_id: str
    outcomes: list[Outcome] = []
    results: list[bytes] = []
    files: list[str] = []
    run_s: dict[str, tuple[float, int]] = {}
    """Function id to the run time of its calls in this batch: their sum, and how many."""

    def add(self, outcome: Outcome, result: bytes = b"", file: str = "") -> None:
        """Append one outcome."""
        self.outcomes.append(outcome)
        self.results.append(result)
        self.files.append(file)

    @property
    def size_bytes(self) -> int:
        """Bytes of the results held in memory."""
        return sum(map(len, self.results))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


class Spool:
    """A directory of batches, one file each, in the order they came.

    Args:
        directory: made by the caller; nothing else writes there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._counter = itertools.count()

    def save(self, batch: Batch) -> Path:
        """Write a batch; from now on it survives a ``kill -9`` of the agent."""
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._counter)}{_SUFFIX}"
        path = self._directory / name
        write_atomically(path, _encoder.encode(batch))
        return path

    def load(self, path: Path) -> Batch | None:
        """Read a batch; None, and the file set aside, if it is damaged."""
        try:
            return _decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            logger.error("spool file %s is damaged (%s); set aside", path.name, error)
            self.set_aside(path)
            return None

    def paths(self) -> list[Path]:
        """The batches on disk, oldest first."""
        return sorted(self._directory.glob(f"*{_SUFFIX}"))

    def attempts(self) -> set[AttemptKey]:
        """Every attempt with an outcome on disk."""
        batches = (self.load(path) for path in self.paths())
        return {outcome.attempt for batch in batches if batch is not None for outcome in batch.outcomes}

    def remove(self, path: Path) -> None:
        """The service has acknowledged this batch."""
        path.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> None:
        """Keep a batch for a person to look at; it is not delivered any more."""
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_suffix(".refused"))
