"""Files under one root, by key: durable, all or nothing, never outside the root. Blocking, see directory.py."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from faas.errors import Conflict
from router.store.protocol import StoredObject, check_key

UPLOADS = ".uploads"
"""Where uploads grow, on the same file system; no key can name it, since no part of a key begins with a dot."""
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO planted below the root would hang the thread.
_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_SUCH_OBJECT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_MOVES = 8
"""Tries to move an upload into place while deletions remove the folder it goes to."""


class Files:
    """The files behind a directory store.

    Every folder on the way to an object is opened relative to the one above it and without following
    symbolic links, so a link planted below the root leads nowhere.

    Args:
        root: the folder; ``prepare`` makes it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Folders whose entries in the folders above them are known to be on disk.
        self._durable: set[str] = set()

    def prepare(self) -> None:
        """Make the root, and remove what crashed uploads left; those of live processes are left alone."""
        uploads = self.root / UPLOADS
        uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
        if uploads.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "Not a folder but a link", str(uploads))
        for leftover in uploads.iterdir():
            with contextlib.suppress(OSError):
                descriptor = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    # The process that writes it holds the lock; then this raises.
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    leftover.unlink()
                finally:
                    os.close(descriptor)

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Put an object whole; it is on disk on return."""
        with Upload(self, key) as upload:
            upload.append(data)
            upload.finish()

    def open(self, key: str) -> int | None:
        """Open an object for reading.

        Returns:
            A file descriptor, the caller's to close, or None if there is no such object.
        """
        folder, name = self._place(key)
        try:
            with self._folder(folder) as parent:
                descriptor = os.open(name, _OBJECT, dir_fd=parent)
        except OSError as error:
            if error.errno in _NO_SUCH_OBJECT:
                return None
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    def size(self, key: str) -> int | None:
        """Return an object's length in bytes, or None if there is no such object."""
        descriptor = self.open(key)
        if descriptor is None:
            return None
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, and the folders this leaves empty."""
        for key in keys:
            folder, name = self._place(key)
            try:
                with self._folder(folder) as parent:
                    os.unlink(name, dir_fd=parent)  # of a symbolic link: the link
            except OSError as error:
                if error.errno not in (*_NO_SUCH_OBJECT, errno.EISDIR, errno.EPERM):
                    raise
            self._remove_empty(folder)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List the objects whose key starts with a prefix, in the order of their keys."""
        # The whole parts of the prefix name the folder to start in.
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        yield from self._walk(folder, prefix)

    def move_into_place(self, upload: str, key: str) -> None:
        """Give a finished upload its key, durably.

        Args:
            upload: name of the file among the uploads, already on disk.
            key: where it goes; what was there is replaced.
        """
        folder, name = self._place(key)
        source = f"{self.root}/{UPLOADS}/{upload}"
        for last in (False,) * (_MOVES - 1) + (True,):
            try:
                with self._folder(folder, make=True) as parent:
                    os.rename(source, name, dst_dir_fd=parent)
                    os.fsync(parent)
                return
            except FileNotFoundError:
                # The folder became empty and was removed just now; make it again.
                self._durable.discard(folder)
                if last:
                    raise
            except (NotADirectoryError, IsADirectoryError) as error:
                raise Conflict(
                    f"{key!r} cannot be stored: a key may not be the beginning of another one, up to a '/'.",
                    fix="Use another key.",
                    field="key",
                ) from error

    def _place(self, key: str) -> tuple[str, str]:
        folder, _, name = check_key(key).rpartition("/")
        return folder, name

    @contextlib.contextmanager
    def _folder(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder below the root, part by part, without following links."""
        descriptor = os.open(self.root, _ROOT)
        durable = folder in self._durable
        try:
            for part in folder.split("/") if folder else ():
                if make and not durable:
                    below = _make_folder(part, descriptor)
                else:
                    below = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            if make and not durable:
                self._durable.add(folder)
            yield descriptor
        finally:
            os.close(descriptor)

    def _remove_empty(self, folder: str) -> None:
        while folder:
            above, _, name = folder.rpartition("/")
            self._durable.discard(folder)
            try:
                with self._folder(above) as parent:
                    os.rmdir(name, dir_fd=parent)
            except OSError:
                return  # not empty, or already gone
            folder = above

    def _walk(self, folder: str, prefix: str) -> Iterator[StoredObject]:
        found: list[tuple[str, os.stat_result | None]] = []
        try:
            with self._folder(folder) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    key = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        found.append((f"{key}/", None))
                    elif entry.is_file(follow_symlinks=False) and key.startswith(prefix):
                        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                            found.append((key, entry.stat(follow_symlinks=False)))
        except OSError as error:
            if error.errno not in _NO_SUCH_OBJECT:
                raise
            return
        # A folder sorts with the "/" that follows its name in its keys.
        for key, status in sorted(found, key=lambda item: item[0]):
            if status is not None:
                yield StoredObject(key, status.st_size, status.st_mtime)
            elif key.startswith(prefix):
                yield from self._walk(key[:-1], prefix)


def _make_folder(name: str, above: int) -> int:
    """Make a folder if it is not there, its entry on disk, and open it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode=0o700, dir_fd=above)
    descriptor = os.open(name, _FOLDER, dir_fd=above)
    try:
        os.fsync(above)  # even if it was there: it may be another thread's, just made
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class Upload:
    """One object on its way in; it has its key only after ``finish``, and leaves nothing if that is not reached.

    ``close`` may come from another thread while a call is at work: it waits for it.

    Args:
        files: where it goes.
        key: under which name.
    """

    def __init__(self, files: Files, key: str) -> None:
        self._files = files
        self._key = check_key(key)
        self._name = secrets.token_hex(16)
        self._path = f"{files.root}/{UPLOADS}/{self._name}"
        self._finished = False
        self._lock = threading.Lock()
        self._closed = False
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Tells a service that starts meanwhile that this upload is alive.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def append(self, data: bytes | bytearray) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        with self._lock:
            self._check_open()
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Bring all of it to disk, then give it its key."""
        with self._lock:
            self._check_open()
            os.fsync(self._descriptor)
            self._files.move_into_place(self._name, self._key)
            self._finished = True

    def close(self) -> None:
        """Let go; without ``finish`` the upload is dropped."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._finished:
                Path(self._path).unlink(missing_ok=True)
            os.close(self._descriptor)

    def _check_open(self) -> None:
        # The descriptor's number may belong to another file by now.
        if self._closed:
            raise ValueError(f"the upload of {self._key!r} was dropped")

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
