"""Objects in the store, as people hold them: references, with ways to read what they stand for."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faas.models import ContentKind, Location
from faas.references import Reference

if TYPE_CHECKING:
    from faas.link import Link

_READ_BYTES = 4 * 1024 * 1024


class _Bound(threading.local):
    link: Link | None = None


_bound = _Bound()


def bind(link: Link | None) -> Link | None:
    """Have references that this thread unpickles from now on read through a link; returns the one before."""
    before, _bound.link = _bound.link, link
    return before


@contextmanager
def bound_to(link: Link) -> Iterator[None]:
    """Have references that are unpickled meanwhile read through a link."""
    before = bind(link)
    try:
        yield
    finally:
        bind(before)


class ObjectRef(Reference):
    """Stands for an object in the store, anywhere in a task's arguments or result.

    Made by :meth:`faas.Client.put`. Where a task runs, it becomes what it stands for: the value, a local file for a
    parameter annotated ``Path``, or itself for one annotated ``ObjectRef``.

    Args:
        object_id: its id.
        size_bytes: its size.
        sha256: of its bytes, in hexadecimal; empty where it is not known.
        content: whether it holds a packed value or bytes as they are.
        name: of the file it is a copy of; empty for none.

    Example:
        >>> reference = client.put(Path("scan12.h5"))           # doctest: +SKIP
        >>> future = executor.submit(analyse, reference)        # doctest: +SKIP
    """

    __slots__ = ("_link", "content", "name", "object_id", "sha256", "size_bytes")

    def __init__(
        self, object_id: str, size_bytes: int, sha256: str = "", content: ContentKind = "value", name: str = ""
    ) -> None:
        self.object_id = object_id
        self.size_bytes = size_bytes
        self.sha256 = sha256
        self.content = content
        self.name = name
        self._link = _bound.link

    def __repr__(self) -> str:
        return f"ObjectRef({self.object_id!r}, {self.size_bytes} bytes)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and other.object_id == self.object_id

    def __hash__(self) -> int:
        return hash(self.object_id)

    def reference(self) -> tuple[str, str, int, str, str, str]:
        """See :meth:`faas.references.Reference.reference`."""
        return "object", self.object_id, self.size_bytes, self.sha256, self.content, self.name

    def get(self) -> Any:
        """Fetch what it stands for: the value, or the bytes.

        Returns:
            What was given to :meth:`faas.Client.put`; bytes for a file.

        Raises:
            ChecksumMismatch: its bytes are not what was stored.
            NotFound: it is another identity's, or was deleted.
            ServiceUnavailable: the service or the store did not answer.
        """
        from faas.transfer import download_bytes

        link = self._through()
        data = download_bytes(link, self._whole, sha256=self.sha256)
        if self.content == "bytes":
            return bytes(data)
        from faas.packing import unpack_value

        with bound_to(link):
            return unpack_value(data)

    def read(self) -> bytes:
        """Fetch its bytes as they are stored: a value's are packed.

        Raises:
            ChecksumMismatch: they are not what was stored.
        """
        from faas.transfer import download_bytes

        return bytes(download_bytes(self._through(), self._whole, sha256=self.sha256))

    def open(self) -> io.BufferedReader:
        """Read its bytes as a stream; seeking is cheap, for only what is read is fetched. No checksum is checked.

        Returns:
            A binary file, open for reading.

        Example:
            >>> with reference.open() as file:         # doctest: +SKIP
            ...     header = file.read(512)
        """
        return io.BufferedReader(ObjectReader(self), _READ_BYTES)

    def download(self, path: str | Path, progress: Callable[[int], None] | None = None) -> Path:
        """Fetch its bytes into a file, large ones in parallel and in constant memory.

        Args:
            path: the file, or a directory to put it in under its own name; it appears when it is complete.
            progress: told how many more bytes came, from any thread.

        Returns:
            The file's path.

        Raises:
            OSError: the file cannot be written.
            ChecksumMismatch: the bytes are not what was stored.
            NotFound: it is another identity's, or was deleted.
        """
        from faas.transfer import download_file

        target = Path(path)
        if target.is_dir():
            target /= self.name or self.object_id
        told = progress or (lambda _: None)
        download_file(self._through(), self._whole, target, sha256=self.sha256, progress=told)
        return target

    def through(self, link: Link) -> ObjectRef:
        """The same, read through a link of the caller's; returns itself."""
        self._link = link
        return self

    @property
    def _whole(self) -> Location:
        return Location(self.object_id, 0, self.size_bytes)

    def _through(self) -> Link:
        if self._link is None:
            from faas.client import Client

            self._link = Client().link
        return self._link


class ObjectReader(io.RawIOBase):
    """An object's bytes as a raw stream: each read is one request.

    Args:
        reference: the object.
    """

    def __init__(self, reference: ObjectRef) -> None:
        from faas.transfer import Leave

        super().__init__()
        self.name = reference.name or reference.object_id
        self._reference = reference
        self._leave = Leave(reference._through(), reference.object_id)
        self._position = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read anywhere."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go somewhere; fetches nothing."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reference.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fetch the next bytes."""
        view = memoryview(buffer).cast("B")
        start = self._position
        length = max(0, min(len(view), self._reference.size_bytes - start))
        if not length:
            return 0

        def take(offset: int, data: bytes) -> None:
            view[offset - start : offset - start + len(data)] = data

        self._leave.receive(Location(self._reference.object_id, start, length), take)
        self._position += length
        return length
