"""Where an agent's log lines go: its file, and the terminal of whoever started it in the foreground."""

from __future__ import annotations

import logging
import logging.handlers
import time
from pathlib import Path

_FILE_BYTES = 10 * 1024 * 1024
_FILES_KEPT = 3


def log_to(path: Path, *, terminal: bool) -> None:
    """Send what agents and their engine log to a file, which is rotated, and to stderr if wanted.

    Args:
        path: of the file.
        terminal: whether somebody watches.
    """
    file = logging.handlers.RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT)
    file.setFormatter(_formatter("%(asctime)s %(levelname)s %(message)s"))
    ours = logging.getLogger("endpoints")
    ours.setLevel(logging.INFO)
    ours.propagate = False
    ours.handlers[:] = [file]
    if terminal:
        screen = logging.StreamHandler()
        screen.setFormatter(_formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        ours.addHandler(screen)
    for name in ("parsl", "globus_compute_endpoint", "globus_compute_sdk", "asyncio"):
        # Theirs is for the file alone, and only when something is wrong.
        theirs = logging.getLogger(name)
        theirs.setLevel(logging.WARNING)
        theirs.propagate = False
        theirs.handlers[:] = [file]


def _formatter(pattern: str, times: str | None = None) -> logging.Formatter:
    """Times in UTC, in the file as in everything else."""
    formatter = logging.Formatter(pattern, times)
    formatter.converter = time.gmtime
    formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = "%s.%03dZ"
    return formatter
