"""Locations at this site: names of files to paths on its own file systems, for those who may use them."""

from __future__ import annotations

import os
from asyncio import TimeoutError as TooSlow
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from endpoints.configuration import MountedLocation
from endpoints.threads import in_thread
from faas.files import split_name
from faas.models import FailureKind, LeasedTask

_PATIENCE_S = 60.0
T = TypeVar("T")


class NotHere(Exception):
    """This site has no such file, or none for this task.

    Args:
        reason: what is the matter, and what to do.
        kind: how a task that needs the file ends.
    """

    def __init__(self, reason: str, kind: FailureKind = "refused") -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind


class Locations:
    """The locations that the configuration declares.

    Args:
        mounts: by name.
        owner_id: the identity the endpoint belongs to; it may use all of them.

    Example:
        >>> mounts = {"als-raw": MountedLocation(path="/global/cfs/als")}
        >>> Locations(mounts, "1").path("als-raw:/scan12.h5", task)    # doctest: +SKIP
        PosixPath('/global/cfs/als/scan12.h5')
    """

    def __init__(self, mounts: Mapping[str, MountedLocation], owner_id: str) -> None:
        self._mounts = mounts
        self._owner_id = owner_id

    def has(self, name: str) -> bool:
        """Whether the location of a file is one of this site's."""
        return not name.startswith("s3://") and split_name(name)[0] in self._mounts

    def path(self, name: str, task: LeasedTask) -> Path:
        """Where a file to read is; looks at the file system.

        Args:
            name: ``location:/path``.
            task: that is to read it.

        Raises:
            NotHere: its owner may not read there, it leads out of the location, or there is no such file.
            ValueError: it is no such name.
        """
        mount, root, path = self._root(name)
        if not self._may(task, mount.readers):
            raise NotHere(self._no_right(name, task, "read", "readers"))
        found = Path(os.path.realpath(root + path))
        _check_inside(found, root, name)
        if not found.exists():
            raise NotHere(f"There is no file {name} at this site (it would be {mount.path}{path}).", "serialization")
        return found

    def place(self, name: str, task: LeasedTask) -> Path:
        """Where a file is to be written, which need not be there, nor its directory; looks at the file system.

        Args:
            name: ``location:/path``.
            task: that is to write it.

        Raises:
            NotHere: its owner may not write there, it leads out of the location, or it is a directory.
            ValueError: it is no such name.
        """
        mount, root, path = self._root(name)
        if not self._may(task, mount.writers):
            raise NotHere(self._no_right(name, task, "write", "writers"))
        directory, _, last = (root + path).rpartition("/")
        # What is not there yet cannot be a link; the runner looks once more when it has made it.
        place = Path(os.path.realpath(directory)) / last
        _check_inside(place, root, name)
        if place.is_dir() and not place.is_symlink():
            raise NotHere(f"{name} is a directory at this site, and cannot be written as a file.")
        return place

    def _root(self, name: str) -> tuple[MountedLocation, str, str]:
        location, path = split_name(name)
        mount = self._mounts.get(location)
        if mount is None:
            raise NotHere(
                f"This site has no location {location!r}. Its owner can declare it under `locations:` in its"
                " config.yaml; or send the task to a site that has it."
            )
        root = os.path.realpath(mount.path)
        if not Path(root).is_dir():
            raise NotHere(f"The location {location!r} of this site is not there: {mount.path} is no directory.")
        return mount, root, path

    def _may(self, task: LeasedTask, others: tuple[str, ...]) -> bool:
        return task.owner_id == self._owner_id or task.owner in others or "*" in others

    def _no_right(self, name: str, task: LeasedTask, verb: str, key: str) -> str:
        location = split_name(name)[0]
        return (
            f"Tasks of {task.owner} may not {verb} {name} at this site. Its owner can add {task.owner} to"
            f" `locations: {{{location}: {{{key}: […]}}}}` in its config.yaml and restart it."
        )


def _check_inside(path: Path, root: str, name: str) -> None:
    if not path.is_relative_to(root) or str(path) == root:
        raise NotHere(f"{name} leads out of its location by a symbolic link, and is refused.")


async def ask_file_system(question: Callable[[str, LeasedTask], T], name: str, task: LeasedTask) -> T:
    """Look at a file system, which may be busy, or not answer at all.

    Raises:
        OSError: it did not answer.
        NotHere: see :class:`Locations`.
    """
    try:
        return await in_thread(lambda: question(name, task), timeout_s=_PATIENCE_S, name="file-system")
    except TooSlow:
        raise OSError(f"The file system of {name} does not answer.") from None
