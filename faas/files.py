"""Files that tasks read and write where they lie: named by location and path, or by bucket and key."""

from __future__ import annotations

import re
from typing import ClassVar

from faas.references import Reference

LOCATION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_LONGEST_PATH_BYTES = 1024
_LONGEST_PART_BYTES = 200
_S3 = "s3://"


class _NamedFile(Reference):
    """What files have in common: a name, which is all that travels."""

    __slots__ = ("name",)
    kind: ClassVar[str] = "file"

    def __init__(self, name: str) -> None:
        self.name = self._checked(name)

    @staticmethod
    def _checked(name: str) -> str:
        split_name(name)
        return name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.name == self.name

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.name))

    def reference(self) -> tuple[str, str]:
        """See :meth:`faas.references.Reference.reference`."""
        return self.kind, self.name


class File(_NamedFile):
    """A file in a location, as an argument: the function gets a ``pathlib.Path`` where it runs.

    A site that has the location on its own file systems gives the file itself, uncopied; else it is fetched, where a
    bucket backs the location.

    Args:
        name: ``location:/path``.

    Raises:
        ValueError: it is no such name; the message says what is wrong.

    Example:
        >>> executor.submit(analyse, faas.File("als-raw:/scan12.h5"))    # doctest: +SKIP
    """

    __slots__ = ()


class OutputFile(_NamedFile):
    """A file that the task is to write in a location, as an argument: the function gets a ``pathlib.Path`` to write.

    It is written beside its name and renamed when the function has returned, so nobody ever sees half of it, and a
    task that fails leaves nothing.

    Args:
        name: ``location:/path``.

    Raises:
        ValueError: it is no such name; the message says what is wrong.

    Example:
        >>> executor.submit(reduce, scan, faas.OutputFile("als-proc:/scan12/reduced.h5"))    # doctest: +SKIP
    """

    __slots__ = ()
    kind = "output"


class S3(_NamedFile):
    """An object in a bucket that backs a location, as an argument: the function gets a ``pathlib.Path`` to a copy.

    Args:
        name: ``s3://bucket/key``.

    Raises:
        ValueError: it is no such name; the message says what is wrong.

    Example:
        >>> executor.submit(analyse, faas.S3("s3://beamline/raw/scan12.h5"))    # doctest: +SKIP
    """

    __slots__ = ()

    @staticmethod
    def _checked(name: str) -> str:
        split_s3_name(name)
        return name


def file_named(name: str) -> File | S3:
    """The reference for a name of either kind."""
    return S3(name) if name.startswith(_S3) else File(name)


def split_name(name: str) -> tuple[str, str]:
    """A file's location and its path there.

    Args:
        name: ``location:/path``.

    Returns:
        The location's name, and the path, which starts with ``/``.

    Raises:
        ValueError: it is no such name; the message says what is wrong.

    Example:
        >>> split_name("als-raw:/2026/scan12.h5")
        ('als-raw', '/2026/scan12.h5')
    """
    if not isinstance(name, str):
        raise ValueError(f"A file's name is a text like 'als-raw:/scan12.h5', not {name!r}.")
    if name.startswith(_S3):
        raise ValueError(f"{name!r} names an object in a bucket: use faas.S3({name!r}).")
    location, colon, path = name.partition(":")
    if not colon or not path.startswith("/"):
        raise ValueError(f"{name!r} is not like 'location:/path': write 'als-raw:/scan12.h5', for example.")
    if not LOCATION_NAME.fullmatch(location):
        raise ValueError(
            f"{name!r}: {location!r} cannot name a location. It takes up to 64 letters, digits, dots, dashes and"
            " underscores."
        )
    _check_path(name, path[1:])
    if "" in path[1:].split("/"):
        raise ValueError(f"{name!r}: the path needs a name between every two slashes, and one after the last.")
    return location, path


def split_s3_name(name: str) -> tuple[str, str]:
    """The bucket and the key of an object's name.

    Args:
        name: ``s3://bucket/key``.

    Raises:
        ValueError: it is no such name; the message says what is wrong.

    Example:
        >>> split_s3_name("s3://beamline/raw/scan12.h5")
        ('beamline', 'raw/scan12.h5')
    """
    if not isinstance(name, str) or not name.startswith(_S3):
        raise ValueError(f"{name!r} is not like 's3://bucket/key'.")
    bucket, _, key = name[len(_S3) :].partition("/")
    if not _BUCKET_NAME.fullmatch(bucket) or not key:
        raise ValueError(f"{name!r} is not like 's3://bucket/key': it needs a bucket's name and a key.")
    _check_path(name, key)
    return bucket, key


def _check_path(name: str, path: str) -> None:
    parts = path.split("/")
    if ".." in parts or "." in parts:
        raise ValueError(f"{name!r}: '.' and '..' have no place in a path. Write it out.")
    if not path.isprintable():
        raise ValueError(f"{name!r} has characters that cannot be printed, such as line breaks.")
    try:
        lengths = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} has characters that are no text.") from None
    if sum(lengths) + len(parts) > _LONGEST_PATH_BYTES or max(lengths) > _LONGEST_PART_BYTES:
        raise ValueError(
            f"{name!r} is too long: {_LONGEST_PATH_BYTES} bytes at most, and {_LONGEST_PART_BYTES} between slashes."
        )
