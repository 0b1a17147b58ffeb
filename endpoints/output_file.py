"""Files at the site with all that each task printed, written as it runs: they outlive the worker that wrote them.

They lie at ``output/<day>/<sequence>.<number>.<task id>.out`` and ``.err`` in the endpoint's directory. A task that
prints nothing has none.
"""

from __future__ import annotations

import datetime
import io
import os
import re
import shutil
from pathlib import Path
from typing import Literal

from faas.models import AttemptKey

Stream = Literal["out", "err"]

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PLAIN = re.compile(r"[0-9A-Za-z-]{1,64}")


class OutputFile:
    """One stream of one task, up to a size; made at the first byte.

    Args:
        path: the file; its directory is made if need be. A task that is run again by the same chunk is appended.
        limit_bytes: what comes after this is left out, and the file says so.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        try:
            self._file = io.FileIO(path, "a", opener=_private)
        except FileNotFoundError:  # the first of its day
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = io.FileIO(path, "a", opener=_private)

    def write(self, data: bytes) -> None:
        """Append; in the operating system's hands when this returns.

        Raises:
            OSError: the disk is full, or the quota used up.
        """
        if self._left_bytes <= 0:
            return
        kept = data[: self._left_bytes]
        self._left_bytes -= len(kept)
        if not self._left_bytes:
            kept += b"\n[the rest is left out: the endpoint's output.task_bytes is reached]\n"
        while kept:
            kept = kept[self._file.write(kept) :]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def place(directory: Path, attempt: AttemptKey, task_id: str, at: float) -> Path:
    """Where an attempt's output goes, without the suffix that tells the streams apart.

    Args:
        directory: ``output/`` of the endpoint.
        attempt: the attempt.
        task_id: the task's.
        at: when it starts.
    """
    return (
        directory / f"{datetime.datetime.fromtimestamp(at, datetime.timezone.utc):%Y-%m-%d}" / _stem(attempt, task_id)
    )


def find(directory: Path, attempt: AttemptKey, task_id: str, stream: Stream) -> Path | None:
    """The file of an attempt's stream; None if it printed nothing, or its file has been removed."""
    name = f"{_stem(attempt, task_id)}.{stream}"
    return next((day / name for day in _days(directory) if (day / name).is_file()), None)


def find_unnamed(directory: Path, attempt: AttemptKey, stream: Stream) -> Path | None:
    """The same where the task's id is not known; reads whole directories."""
    prefix = f"{attempt.sequence}.{attempt.number}."
    for day in _days(directory):
        for path in day.iterdir():
            if path.name.startswith(prefix) and path.suffix == f".{stream}":
                return path
    return None


def tail(path: Path | None, size_bytes: int) -> str:
    """The end of a file as text; empty if there is none."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size_bytes))
            return as_text(file.read(size_bytes))
    except OSError:
        return ""


def as_text(data: bytes) -> str:
    """Bytes whose beginning may be cut off within a character, as text."""
    return data.lstrip(bytes(range(0x80, 0xC0))).decode(errors="replace") if data else ""


def remove_old(directory: Path, days: float, today: datetime.date | None = None) -> int:
    """Remove the files of days long past.

    Args:
        directory: ``output/`` of the endpoint.
        days: how long files are kept.
        today: in UTC.

    Returns:
        How many days' files were removed.
    """
    today = today or datetime.datetime.now(datetime.timezone.utc).date()
    old = [day for day in _days(directory) if (today - datetime.date.fromisoformat(day.name)).days > days]
    for day in old:
        shutil.rmtree(day, ignore_errors=True)
    return len(old)


def _stem(attempt: AttemptKey, task_id: str) -> str:
    # The id comes from a client: it names a file here only if it cannot name any other.
    return f"{attempt.sequence}.{attempt.number}.{task_id if _PLAIN.fullmatch(task_id) else 'task'}"


def _days(directory: Path) -> list[Path]:
    """The directories there are, the newest first."""
    try:
        found = [path for path in directory.iterdir() if _DAY.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found, reverse=True)
