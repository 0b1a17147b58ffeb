"""The names of an agent's blocks, on disk before anything is submitted, so that its successor finds what it left."""

from __future__ import annotations

from pathlib import Path

import msgspec

from endpoints.places import write_atomically

_NONCE_LETTERS = 8


def name_prefix(nonce: str) -> str:
    """How the names of a session's batch jobs start; no name exceeds the 15 letters that some schedulers take."""
    return f"faas{nonce[:_NONCE_LETTERS]}-"


class _Page(msgspec.Struct, kw_only=True):
    prefix: str = ""
    profile: str = ""
    blocks: dict[str, str] = {}
    """Names to job ids; empty until the scheduler has told one."""


class BlockBook:
    """Names blocks, and knows which of them may have a job.

    Args:
        path: where it is kept.
        nonce: the session's.
        profile: how the session gets its blocks.
    """

    def __init__(self, path: Path, nonce: str, profile: str = "") -> None:
        self._path = path
        self._page = _Page(prefix=name_prefix(nonce), profile=profile)
        self._number = 0

    @property
    def prefix(self) -> str:
        """How all the names start."""
        return self._page.prefix

    def new(self) -> str:
        """A name for a block about to be submitted; it is on disk when this returns."""
        self._number += 1
        name = f"{self._page.prefix}{self._number}"
        self._page.blocks[name] = ""
        self._save()
        return name

    def submitted(self, name: str, job_id: str) -> None:
        """The scheduler has taken the block's job."""
        self._page.blocks[name] = job_id
        self._save()

    def over(self, name: str) -> None:
        """The block has no job any more."""
        if self._page.blocks.pop(name, None) is not None:
            self._save()

    def _save(self) -> None:
        write_atomically(self._path, msgspec.json.encode(self._page))


def left_by(path: Path) -> list[str]:
    """The job ids in the book that an agent left; those in whose place it had none yet are left out."""
    try:
        page = msgspec.json.decode(path.read_bytes(), type=_Page)
    except (OSError, msgspec.DecodeError):
        return []
    return [job_id for job_id in page.blocks.values() if job_id]
