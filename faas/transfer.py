"""Objects up and down: large ones in parts, side by side, in constant memory, with checksums and fresh grants."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from faas.errors import ChecksumMismatch, FaasError, PermissionDenied, ServiceUnavailable
from faas.link import Link
from faas.models import CompleteUpload, CreateObject, Grant, Location, ObjectInfo, Upload, WantParts
from faas.parts import RANGE_BYTES, Part, parts
from faas.side_by_side import Check, SideBySide

THREADS = 4
PIECE_BYTES = 1024 * 1024
_SLICE = 32
"""Grants asked for at once."""
_GRANT_TRIES = 3
_MARGIN_S = 60.0
_SHORTEST_S = 30.0

Progress = Callable[[int], None]
"""Told how many more bytes went; from any thread."""


def _silent(_: int) -> None:
    """Nobody wants to know."""


class Source(Protocol):
    """Bytes to upload."""

    size_bytes: int

    def read(self, offset: int, length: int) -> bytes | memoryview:
        """All of a range."""
        ...


class InMemory:
    """Bytes in memory, to be uploaded, or to be filled by a download.

    Args:
        data: the bytes.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")
        self.size_bytes = self._view.nbytes

    def read(self, offset: int, length: int) -> memoryview:
        """A range."""
        return self._view[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        """Fill a range."""
        self._view[offset : offset + len(data)] = data


class OpenFile:
    """A file by its descriptor, to be uploaded, or to be filled by a download.

    Args:
        descriptor: the caller's to close.
        name: for messages.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._began = os.fstat(descriptor)
        self.size_bytes = self._began.st_size

    def read(self, offset: int, length: int) -> bytes:
        """A range.

        Raises:
            FaasError: the file has become shorter.
        """
        data = os.pread(self._descriptor, length, offset)
        while 0 < len(data) < length and (more := os.pread(self._descriptor, length - len(data), offset + len(data))):
            data += more
        if len(data) != length:
            raise FaasError(f"{self._name} became shorter while it was read. Upload it when it is complete.")
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Fill a range."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            offset += written
            rest = rest[written:]

    def check_unchanged(self) -> None:
        """Find out that nobody wrote to the file meanwhile.

        Raises:
            FaasError: somebody did.
        """
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._began.st_size, self._began.st_mtime_ns):
            raise FaasError(f"{self._name} was written to while it was uploaded. Upload it when it is complete.")


# Up


def upload_bytes(
    link: Link,
    data: bytes | bytearray | memoryview,
    wanted: CreateObject,
    progress: Progress = _silent,
    *,
    resume: str = "",
) -> ObjectInfo:
    """Store bytes as an object.

    Args:
        link: to the service.
        data: the bytes.
        wanted: what is said of the object besides size and checksum, which are filled in.
        progress: told as it goes.
        resume: the id of an object whose upload broke off.

    Returns:
        The object; of its fields only id, size and checksum are told, for nothing was asked back.

    Raises:
        RequestRefused: the service or the store said no.
        ServiceUnavailable: one of them did not answer.
    """
    source = InMemory(data)
    wanted.size_bytes = source.size_bytes
    return send(link, source, wanted, progress, resume=resume)


def upload_file(
    link: Link, path: Path, wanted: CreateObject, progress: Progress = _silent, *, resume: str = ""
) -> ObjectInfo:
    """Store a file as an object, in constant memory.

    Args:
        link: to the service.
        path: the file.
        wanted: what is said of the object besides size and checksum, which are filled in.
        progress: told as it goes.
        resume: the id of an object whose upload broke off: parts that the store has are not sent again.

    Returns:
        The object; of its fields only id, size and checksum are told.

    Raises:
        OSError: the file cannot be read.
        FaasError: it was written to meanwhile.
        RequestRefused: the service or the store said no.
        ServiceUnavailable: one of them did not answer.
    """
    with path.open("rb") as file:
        source = OpenFile(file.fileno(), str(path))
        wanted.size_bytes = source.size_bytes
        return send(link, source, wanted, progress, resume=resume)


def send(
    link: Link, source: Source, wanted: CreateObject, progress: Progress = _silent, *, resume: str = ""
) -> ObjectInfo:
    """Store what a source gives; see :func:`upload_file`."""
    return carry_out(link, source, begin(link, source, wanted, resume), wanted, progress)


def begin(link: Link, source: Source, wanted: CreateObject, resume: str = "") -> Upload:
    """Ask for leave to store what a source gives, or to go on with it."""
    if not resume:
        if not wanted.sha256 and source.size_bytes <= RANGE_BYTES:
            wanted.sha256 = _checksum(source)
        return link.request("POST", "/v1/objects", wanted, response=Upload)
    upload = link.request("GET", f"/v1/objects/{resume}/upload", response=Upload)
    if upload.size_bytes != source.size_bytes:
        raise FaasError(
            f"Object {resume} was begun with {upload.size_bytes:,} bytes, and there are {source.size_bytes:,} now. "
            "Upload it as a new one."
        )
    return upload


def carry_out(
    link: Link, source: Source, upload: Upload, wanted: CreateObject, progress: Progress = _silent
) -> ObjectInfo:
    """Store what :func:`begin` got leave for."""
    grants = _Grants(link, upload)
    todo = [part for part in parts(upload.size_bytes, upload.part_bytes) if part.number not in upload.stored]
    progress(source.size_bytes - sum(part.length for part in todo))
    digest = None if wanted.sha256 else hashlib.sha256()

    def job(part: Part) -> Callable[[Check], str]:
        return lambda check: _send_part(link, source, part, grants, progress, check)

    with _told_how_to_go_on(upload), SideBySide([job(part) for part in todo], THREADS) as going:
        if digest is not None:  # while the parts are on their way
            for offset in range(0, source.size_bytes, PIECE_BYTES):
                digest.update(source.read(offset, min(PIECE_BYTES, source.size_bytes - offset)))
        sent = {part.number: tag for part, tag in zip(todo, going, strict=True)}
    if isinstance(source, OpenFile):
        source.check_unchanged()
    sha256 = wanted.sha256 if digest is None else digest.hexdigest()
    if upload.part_bytes or digest is not None or wanted.keep:
        tags = {**upload.stored, **sent}
        told = CompleteUpload(parts=tags if all(tags.values()) else {}, sha256=sha256)
        link.request("POST", f"/v1/objects/{upload.object_id}/complete", told, response=ObjectInfo)
    return ObjectInfo(object_id=upload.object_id, size_bytes=upload.size_bytes, sha256=sha256)


@contextmanager
def _told_how_to_go_on(upload: Upload) -> Iterator[None]:
    try:
        yield
    except ServiceUnavailable as error:
        if not upload.part_bytes:
            raise
        raise ServiceUnavailable(
            f"{error} What is stored so far stays for a day: go on with client.put(…, resume={upload.object_id!r}) or "
            f"`faas object put --resume {upload.object_id}`."
        ) from error


class _Grants:
    """Grants for the parts of an upload, asked for in slices, and anew for a part whose grant was refused."""

    def __init__(self, link: Link, upload: Upload) -> None:
        self._link = link
        self._path = f"/v1/objects/{upload.object_id}"
        self._whole = not upload.part_bytes
        self._missing = [part.number for part in parts(upload.size_bytes, upload.part_bytes)]
        self._missing = [number for number in self._missing if number not in upload.stored]
        self._lock = threading.Lock()
        self._held: dict[int, tuple[float, Grant]] = {}
        self._hold(self._missing, upload.grants)

    def take(self, number: int) -> Grant:
        """One for a part; no part gets the same grant twice."""
        with self._lock:
            good_until, grant = self._held.pop(number, (0.0, None))
            if grant is None or time.monotonic() > good_until:
                self._ask(number)
                _, grant = self._held.pop(number)
            return grant

    def _hold(self, numbers: list[int], grants: list[Grant]) -> None:
        now, here = time.time(), time.monotonic()
        for number, grant in zip(numbers, grants, strict=False):
            # A store that finds a grant expired may break the connection off before that is heard.
            self._held[number] = (here + max(_SHORTEST_S, grant.expires_at - now - _MARGIN_S), grant)

    def _ask(self, number: int) -> None:
        if self._whole:
            answer = self._link.request("GET", f"{self._path}/upload", response=Upload)
            self._hold([number], answer.grants)
            return
        place = self._missing.index(number)
        numbers = self._missing[place : place + _SLICE]
        answer = self._link.request("POST", f"{self._path}/parts", WantParts(numbers=numbers), response=Upload)
        self._hold(numbers, answer.grants)


def _send_part(link: Link, source: Source, part: Part, grants: _Grants, progress: Progress, check: Check) -> str:
    def content() -> Iterator[bytes]:
        for offset in range(part.offset, part.offset + part.length, PIECE_BYTES):
            check()
            yield source.read(offset, min(PIECE_BYTES, part.offset + part.length - offset))  # type: ignore[misc]

    for last in (False,) * (_GRANT_TRIES - 1) + (True,):
        try:
            tag = link.send_object(grants.take(part.number), content, part.length)
        except PermissionDenied:  # the grant has expired
            if last:
                raise
        else:
            progress(part.length)
            return tag
    raise AssertionError("not reached")


# Down


class Sink(Source, Protocol):
    """What a download fills, and reads again for its checksum."""

    def write(self, offset: int, data: bytes) -> None:
        """Fill a range."""
        ...


def download_bytes(
    link: Link,
    wanted: Location,
    grant: Grant | None = None,
    *,
    sha256: str = "",
    progress: Progress = _silent,
) -> bytearray:
    """Fetch an object, or a range of one, into memory.

    Args:
        link: to the service.
        wanted: the range.
        grant: for the object, if one is at hand.
        sha256: of the range, where it is known.
        progress: told as it goes.

    Returns:
        The bytes.

    Raises:
        ChecksumMismatch: they are not what was stored, twice.
        RequestRefused: the service or the store said no.
        ServiceUnavailable: one of them did not answer.
    """
    data = bytearray(wanted.length_bytes)
    receive(link, wanted, InMemory(data), grant, sha256=sha256, progress=progress)
    return data


def download_file(
    link: Link,
    wanted: Location,
    path: Path,
    grant: Grant | None = None,
    *,
    sha256: str = "",
    progress: Progress = _silent,
) -> None:
    """Fetch an object into a file, in constant memory; the file has its name only when it is complete.

    Args:
        link: to the service.
        wanted: the whole of the object.
        path: the file; replaced if it exists.
        grant: for the object, if one is at hand.
        sha256: of the object, where it is known.
        progress: told as it goes.

    Raises:
        OSError: the file cannot be written.
        ChecksumMismatch: the bytes are not what was stored, twice.
        RequestRefused: the service or the store said no.
        ServiceUnavailable: one of them did not answer.
    """
    with _draft(path) as (descriptor, draft):
        os.truncate(descriptor, wanted.length_bytes)
        receive(link, wanted, OpenFile(descriptor, str(draft)), grant, sha256=sha256, progress=progress)


@contextmanager
def _draft(path: Path) -> Iterator[tuple[int, Path]]:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor, draft
        draft.replace(path)
    finally:
        os.close(descriptor)
        draft.unlink(missing_ok=True)


def receive(
    link: Link,
    wanted: Location,
    sink: Sink,
    grant: Grant | None = None,
    *,
    sha256: str = "",
    progress: Progress = _silent,
) -> None:
    """Fill a sink with a range of an object; see :func:`download_bytes`."""
    leave = Leave(link, wanted.object_id, grant)
    for again in (False, True):
        digest = hashlib.sha256() if sha256 else None
        ranges = list(parts(wanted.length_bytes, RANGE_BYTES)) if wanted.length_bytes else []

        def job(part: Part) -> Callable[[Check], None]:
            return lambda check: _receive_range(wanted, part, sink, leave, progress, check)

        with SideBySide([job(part) for part in ranges], THREADS) as going:
            for part, _ in zip(ranges, going, strict=True):
                if digest is not None:
                    for offset in range(part.offset, part.offset + part.length, PIECE_BYTES):
                        digest.update(sink.read(offset, min(PIECE_BYTES, part.offset + part.length - offset)))
        if digest is None or digest.hexdigest() == sha256:
            return
        if again:
            raise ChecksumMismatch(
                f"Object {wanted.object_id} has the SHA-256 {digest.hexdigest()[:16]}…, and was stored with "
                f"{sha256[:16]}…, fetched twice. Its bytes were changed in the store or on the way: "
                "run the task again, or upload the data anew."
            )
        progress(-wanted.length_bytes)


def fetch_result(link: Link, place: Location, grant: Grant | None) -> bytes | bytearray:
    """Fetch a result; its checksum is checked where it has an object to itself.

    Args:
        link: to the service.
        place: where it lies.
        grant: for that object, if one is at hand.
    """
    sha256 = grant.sha256 if grant is not None else ""
    if grant is not None and not sha256 and place.length_bytes <= RANGE_BYTES:
        return link.get_object(grant, place)
    return download_bytes(link, place, grant, sha256=sha256)


class Leave:
    """Leave to download one object, renewed when it is refused.

    Args:
        link: to the service.
        object_id: the object.
        grant: for it, if one is at hand.
    """

    def __init__(self, link: Link, object_id: str, grant: Grant | None = None) -> None:
        self._link = link
        self._path = f"/v1/objects/{object_id}"
        self._lock = threading.Lock()
        self._grant = grant

    def _get(self, refused: Grant | None) -> Grant:
        with self._lock:
            if self._grant is None or self._grant is refused:
                self._grant = self._link.request("GET", self._path, response=Grant)
            return self._grant

    def receive(self, wanted: Location, take: Callable[[int, bytes], None]) -> None:
        """Fetch a range; what broke off goes on where it did, also with another grant.

        Args:
            wanted: the range; not empty.
            take: called with each piece and its offset in the object, in order.
        """
        done = 0

        def note(offset: int, data: bytes) -> None:
            nonlocal done
            take(offset, data)
            done += len(data)

        refused: Grant | None = None
        for last in (False,) * (_GRANT_TRIES - 1) + (True,):
            grant = self._get(refused)
            rest = Location(wanted.object_id, wanted.offset + done, wanted.length_bytes - done)
            try:
                return self._link.receive_object(grant, rest, note)
            except PermissionDenied:  # it has expired
                if last:
                    raise
                refused = grant


def _receive_range(wanted: Location, part: Part, sink: Sink, leave: Leave, progress: Progress, check: Check) -> None:
    def take(offset: int, data: bytes) -> None:
        check()
        sink.write(offset - wanted.offset, data)
        progress(len(data))

    leave.receive(Location(wanted.object_id, wanted.offset + part.offset, part.length), take)


def _checksum(source: Source) -> str:
    digest = hashlib.sha256()
    for offset in range(0, source.size_bytes, PIECE_BYTES):
        digest.update(source.read(offset, min(PIECE_BYTES, source.size_bytes - offset)))
    return digest.hexdigest()
