"""The journal of a chunk: what its worker started, on disk, so that the agent knows it if the worker is lost.

One file per chunk, one line per event, in the order of events::

    worker <where it runs, as JSON>
    started <sequence>.<number> <seconds since the epoch> <runner's process id>
    ended <sequence>.<number>

`started` is on file (in the operating system's cache; not synced) before the worker looks at
anything else the runner does. `ended` waits for the next `started`, to save a write for each task:
after a lost worker the last task named may have ended although the journal does not say so. Its
result is lost all the same, so it did start and it does count.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from endpoints.whereabouts import Whereabouts
from faas.models import AttemptKey


class Journal:
    """The worker's side: appends events; closed when the chunk ends.

    Args:
        path: the file; made if absent. A chunk that runs again is appended.
        worker: where it runs.
    """

    def __init__(self, path: Path, worker: Whereabouts | None = None) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._unwritten = f"worker {msgspec.json.encode(worker).decode()}\n" if worker else ""

    def started(self, attempt: AttemptKey, at: float, runner: int) -> None:
        """Note that a task runs; written by the next `flush`."""
        self._unwritten += f"started {attempt.sequence}.{attempt.number} {at:.3f} {runner}\n"

    def ended(self, attempt: AttemptKey) -> None:
        """Note that a task ended; written with the next task's start."""
        self._unwritten += f"ended {attempt.sequence}.{attempt.number}\n"

    def flush(self) -> None:
        """Write what was noted."""
        if self._unwritten:
            os.write(self._descriptor, self._unwritten.encode())
            self._unwritten = ""

    def close(self) -> None:
        """Write what was noted, and close."""
        self.flush()
        os.close(self._descriptor)


@dataclass
class JournalEntries:
    """What a journal says."""

    worker: Whereabouts = field(default_factory=Whereabouts)
    """Where the chunk ran last."""
    started: dict[AttemptKey, float] = field(default_factory=dict)
    """Every attempt that started, to when."""
    runners: dict[AttemptKey, int] = field(default_factory=dict)
    """The process each attempt ran in."""
    ended: set[AttemptKey] = field(default_factory=set)

    @property
    def running(self) -> dict[AttemptKey, float]:
        """Attempts that started and are not known to have ended."""
        return {attempt: at for attempt, at in self.started.items() if attempt not in self.ended}


def read_journal(path: Path) -> JournalEntries:
    """Read a journal, possibly while it is written; a missing file is an empty journal.

    Args:
        path: ``journal/<chunk_id>`` in the run directory.

    Returns:
        The events. A line cut short by a crash is left out.

    Example:
        >>> read_journal(Path("/nowhere")).started
        {}
    """
    entries = JournalEntries()
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return entries
    for line in text.splitlines(keepends=True):
        if line.startswith("worker "):
            with contextlib.suppress(msgspec.MsgspecError):
                entries.worker = msgspec.json.decode(line[len("worker ") :], type=Whereabouts)
            continue
        words = line.split()
        if not line.endswith("\n") or len(words) not in (2, 4):
            continue
        try:
            sequence, _, number = words[1].partition(".")
            attempt = AttemptKey(int(sequence), int(number))
            if words[0] == "started":
                entries.started[attempt] = float(words[2])
                entries.runners[attempt] = int(words[3])
                entries.ended.discard(attempt)
            elif words[0] == "ended":
                entries.ended.add(attempt)
        except (ValueError, IndexError):
            continue
    return entries
