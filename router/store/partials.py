"""Uploads in parts to a directory: every part at its offset in one file, moved into place when all are there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from faas.errors import Conflict, NotFound
from router.store.files import UPLOADS, Files

_DATA = "data"
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"([0-9a-f]{32})\.(\d{1,6})\.(\d{1,15})")


class Partials:
    """The uploads in parts below a store's root; they outlive the service. Blocking, see directory.py.

    Each is a folder: ``data`` grows to be the object, and a file named by its number marks each part that is on disk.

    Args:
        files: where they end up.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._root = files.root / UPLOADS

    def begin(self, key: str) -> str:
        """Make room for an upload; returns its id."""
        upload_id = secrets.token_hex(16)
        folder = self._root / upload_id
        folder.mkdir(mode=0o700)
        (folder / _DATA).touch(mode=0o600)
        (folder / "key").write_text(key)
        return upload_id

    def part(self, key: str, name: str) -> PartialPart:
        """Begin to write a part named by a signed URL.

        Args:
            key: of the object.
            name: ``upload_id.number.offset``.

        Raises:
            NotFound: the upload was completed or dropped.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise NotFound(f"There is no part {name[:80]!r}.")
        folder = self._folder(key, match.group(1))
        return PartialPart(folder, int(match.group(2)), int(match.group(3)))

    def stored(self, key: str, upload_id: str) -> dict[int, str]:
        """The parts on disk.

        Raises:
            NotFound: no such upload.
        """
        folder = self._folder(key, upload_id)
        return {int(found.name): found.read_text() for found in folder.iterdir() if found.name.isdigit()}

    def complete(self, key: str, upload_id: str, parts: Mapping[int, str]) -> None:
        """Give the object its key.

        Raises:
            NotFound: no such upload.
            Conflict: a part is not there.
        """
        folder = self._folder(key, upload_id)
        stored = self.stored(key, upload_id)
        missing = [number for number, tag in sorted(parts.items()) if stored.get(number) != tag]
        if missing or not parts:
            raise Conflict(
                f"Part {missing[0] if missing else 1} of {key!r} is not stored as it was said to be.",
                fix="Upload the missing parts again, then complete.",
                field="parts",
            )
        self._files.move_into_place(f"{upload_id}/{_DATA}", key)
        shutil.rmtree(folder, ignore_errors=True)

    def abort(self, upload_id: str) -> None:
        """Drop an upload."""
        if _UPLOAD_ID.fullmatch(upload_id):
            shutil.rmtree(self._root / upload_id, ignore_errors=True)

    def _folder(self, key: str, upload_id: str) -> Path:
        folder = self._root / upload_id
        with contextlib.suppress(OSError):
            if _UPLOAD_ID.fullmatch(upload_id) and (folder / "key").read_text() == key and (folder / _DATA).exists():
                return folder
        raise NotFound(f"There is no upload of {key!r}.", fix="It was completed, or dropped; begin a new one.")


class PartialPart:
    """One part on its way in: it counts only after ``finish``.

    ``close`` may come from another thread while a call is at work: it waits for it.

    Args:
        folder: of the upload.
        number: of the part.
        offset: where in the object it begins.
    """

    def __init__(self, folder: Path, number: int, offset: int) -> None:
        self._marker = folder / str(number)
        self._position = offset
        self._length = 0
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(folder / _DATA, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        # A part that comes again, otherwise, must not count as the one before while it is half written.
        self._marker.unlink(missing_ok=True)

    def append(self, data: bytes | bytearray) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        with self._lock:
            descriptor = self._open()
            while rest:
                written = os.pwrite(descriptor, rest, self._position)
                self._position += written
                self._length += written
                rest = rest[written:]

    def finish(self) -> str:
        """Bring all of it to disk, and mark it; returns what it is called."""
        with self._lock:
            os.fdatasync(self._open())
            tag = f'"{self._marker.name}-{self._length}"'
            draft = self._marker.with_name(f".{self._marker.name}.{secrets.token_hex(4)}")
            draft.write_text(tag)
            draft.rename(self._marker)
            return tag

    def close(self) -> None:
        """Let go."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:  # its number may belong to another file by now
            raise ValueError("the part was dropped")
        return self._descriptor

    def __enter__(self) -> PartialPart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
