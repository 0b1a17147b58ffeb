"""What a scheduler says of a job that went wrong, fit for one line that a person reads."""

from __future__ import annotations

from typing import Any

_CHARACTERS = 2_000


def said(error: BaseException) -> str:
    """What a scheduler's command said on its way to failure, in one line."""
    words = getattr(error, "stderr", "") or getattr(error, "stdout", "") or str(error) or type(error).__name__
    if isinstance(words, bytes):
        words = words.decode(errors="replace")
    return " ".join(str(words).split())[:_CHARACTERS]


def last_lines(status: Any, wanted: bool) -> str:
    """The last lines a job wrote to stderr, if it matters why it ended."""
    if not wanted:
        return ""
    try:
        lines = (status.stderr_summary or status.stdout_summary or "").strip().splitlines()
    except OSError:
        return ""
    return " / ".join(line.strip() for line in lines[-3:])[-_CHARACTERS:]


def last_words(provider: Any, job_id: str) -> str:
    """What a job that is given up has written so far."""
    status = provider.resources.get(job_id, {}).get("status")
    words = last_lines(status, True) if status is not None else ""
    return f"; it wrote: {words}" if words else ""
