"""The site's cache: fetched objects as files, each once for an identity, the least used ones going first."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import re
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

logger = logging.getLogger(__name__)

Fetch: TypeAlias = Callable[[Path], Awaitable[None]]
"""Writes the whole of an object to a path, checked."""
_Key: TypeAlias = tuple[str, str]

_COMING = ".coming"
_GOING = ".going"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OWNER = re.compile(r"[0-9A-Za-z-]{1,64}")
_MOST_TOLD = 20_000
_MOST_NEWS = 5_000
_TOUCH_S = 60.0


class Cached:
    """One object in the cache, or on its way there.

    Args:
        key: owner's id and digest.
        size_bytes: as far as is known.
    """

    __slots__ = ("coming", "directory", "key", "paths", "size_bytes", "touched_at", "users")

    def __init__(self, key: _Key, directory: Path, size_bytes: int) -> None:
        self.key = key
        self.directory = directory
        self.size_bytes = size_bytes
        self.users = 0
        self.coming: asyncio.Task[None] | None = None
        self.paths: dict[str, Path] = {}
        """Its file by the names that tasks gave it."""
        self.touched_at = 0.0


class Cache:
    """A bounded directory of objects, shared by an endpoint's workers, and by the tasks of one identity.

    What is in use is pinned: it is never removed, and what is over the limit is never more than that. Only one agent
    works in a directory at a time; files appear there whole or not at all, so it can be killed at any time.

    Args:
        directory: made if need be; nothing else writes there.
        max_bytes: what it may hold.

    Example:
        >>> cached = await cache.borrow(owner_id, digest, "scan.h5", 1_000, fetch)    # doctest: +SKIP
        >>> cache.path(cached, "scan.h5")                                             # doctest: +SKIP
        >>> cache.give_back(cached)                                                   # doctest: +SKIP
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._entries: OrderedDict[_Key, Cached] = OrderedDict()
        """The least recently used first."""
        self._holders: dict[str, int] = {}
        """Digest to how many identities' copies there are."""
        self._sizes: dict[str, int] = {}
        self._changed: set[str] = set()
        """Digests that came or went since the service was told."""
        self._removing: set[asyncio.Task[None]] = set()
        self.size_bytes = 0
        """Of everything, with what is on its way."""

    def scan(self) -> None:
        """Learn what is there from before. Blocks; call it first."""
        found: list[tuple[float, Cached]] = []
        for directory in self._directory.glob("[!.]*/*/*"):
            if not _DIGEST.fullmatch(directory.name):
                continue
            try:
                files = [entry.stat() for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False)]
            except OSError:
                continue
            if len(files) != 1:
                continue
            key = (directory.parent.parent.name, directory.name)
            found.append((files[0].st_mtime, Cached(key, directory, files[0].st_size)))
        for _, cached in sorted(found, key=lambda each: each[0]):
            self._entries[cached.key] = cached
            self.size_bytes += cached.size_bytes
            self._holds(cached)

    def tidy(self) -> None:
        """Remove what an agent that is gone left half done, and what is over the limit. Blocks; before any use."""
        for part in (_COMING, _GOING):
            shutil.rmtree(self._directory / part, ignore_errors=True)
            (self._directory / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        while self.size_bytes > self._max_bytes and (victim := self._least_used()) is not None:
            self._take_out(victim)
            shutil.rmtree(victim.directory, ignore_errors=True)

    async def borrow(self, owner_id: str, digest: str, name: str, size_bytes: int, fetch: Fetch) -> Cached:
        """Get an object, fetched unless it is there; one fetch for all who ask. :meth:`give_back` it afterwards.

        Args:
            owner_id: the identity whose tasks use it.
            digest: 64 hexadecimal digits that stand for its content.
            name: what the file is to be called.
            size_bytes: its size; -1 where it is not known.
            fetch: fetches it, if it has to be.

        Raises:
            ValueError: the owner's id or the digest is none: they would name other places.
            Exception: what ``fetch`` raised; the next one who asks tries again.
        """
        if not _DIGEST.fullmatch(digest) or not _OWNER.fullmatch(owner_id):
            raise ValueError(f"{digest!r} is no checksum, or {owner_id!r} no identity's id.")
        key = (owner_id, digest)
        cached = self._entries.get(key)
        if cached is not None and not self._is_sound(cached, size_bytes):
            self._discard(cached)
            cached = None
        if cached is None:
            place = self._directory / owner_id / digest[:2] / digest
            cached = self._entries[key] = Cached(key, place, max(0, size_bytes))
            cached.users = 1  # pinned before room is made for it
            self.size_bytes += cached.size_bytes
            self._make_room()
            cached.coming = asyncio.ensure_future(self._bring(cached, name, fetch))
            cached.coming.add_done_callback(_look_at)
        else:
            cached.users += 1
            self._entries.move_to_end(key)
        try:
            if cached.coming is not None:
                await asyncio.shield(cached.coming)
            else:
                _touch(cached)
        except BaseException:
            self.give_back(cached)
            raise
        return cached

    def path(self, cached: Cached, name: str) -> Path:
        """Its file, under a name that another task may have given it otherwise."""
        path = cached.paths.get(name)
        if path is not None:
            return path
        path = cached.paths[name] = cached.directory / file_name(name)
        if not path.exists():
            (first,) = (each for each in cached.directory.iterdir() if not each.is_symlink())
            with contextlib.suppress(FileExistsError):
                path.symlink_to(first.name)
        return path

    def give_back(self, cached: Cached) -> None:
        """One user less."""
        cached.users -= 1
        if cached.users <= 0:
            self._make_room()

    def holdings(self) -> dict[str, int]:
        """All that it holds, digest to bytes, for a service that knows nothing of it: news counts from here."""
        self._changed.clear()
        return dict(list(self._sizes.items())[-_MOST_TOLD:])

    def news(self) -> tuple[dict[str, int], list[str]]:
        """What it has come to hold, and what it has dropped, since the service was :meth:`told`."""
        if not self._changed:
            return {}, []
        told = list(itertools.islice(self._changed, _MOST_NEWS))
        came = {digest: self._sizes[digest] for digest in told if digest in self._sizes}
        return came, [digest for digest in told if digest not in self._sizes]

    def told(self, came: dict[str, int], went: list[str]) -> None:
        """The service knows this now; what changed once more meanwhile is told again."""
        self._changed.difference_update([digest for digest in came if digest in self._sizes])
        self._changed.difference_update([digest for digest in went if digest not in self._sizes])

    async def _bring(self, cached: Cached, name: str, fetch: Fetch) -> None:
        coming = self._directory / _COMING / uuid.uuid4().hex
        try:
            coming.mkdir(parents=True, mode=0o700)
            path = coming / file_name(name)
            try:
                await fetch(path)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not await self._give_up_unused():
                    raise
                await fetch(path)
            path.chmod(0o400)  # shared: what one task changes all others would get
            size_bytes = path.stat().st_size
            cached.directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            coming.rename(cached.directory)
        except BaseException:
            self._forget(cached)
            shutil.rmtree(coming, ignore_errors=True)
            raise
        self.size_bytes += size_bytes - cached.size_bytes
        cached.size_bytes = size_bytes
        cached.coming = None
        self._holds(cached)
        self._make_room()

    def _is_sound(self, cached: Cached, size_bytes: int) -> bool:
        """Whether it may be given out: it is on its way, or in use, or on disk as it should be."""
        if cached.coming is not None or cached.users:
            return True
        return cached.directory.is_dir() and size_bytes in (-1, cached.size_bytes)

    def _make_room(self) -> None:
        while self.size_bytes > self._max_bytes and (victim := self._least_used()) is not None:
            self._discard(victim)

    async def _give_up_unused(self) -> bool:
        """The file system has less room than the limit says: remove all that nobody uses; returns whether there was."""
        logger.warning("the file system of the cache is full; removing what no task uses from %s", self._directory)
        while (victim := self._least_used()) is not None:
            self._discard(victim)
        removing = set(self._removing)
        if removing:
            await asyncio.wait(removing)
        return bool(removing)

    def _least_used(self) -> Cached | None:
        return next((each for each in self._entries.values() if not each.users and each.coming is None), None)

    def _discard(self, cached: Cached) -> None:
        """Remove one that nobody uses. It is out of the way at once: the same may come again before it is gone."""
        self._take_out(cached)
        going = self._directory / _GOING / uuid.uuid4().hex
        try:
            cached.directory.rename(going)
        except FileNotFoundError:  # somebody tidied up
            return
        removing = asyncio.ensure_future(asyncio.to_thread(shutil.rmtree, going, ignore_errors=True))
        self._removing.add(removing)
        removing.add_done_callback(self._removing.discard)

    def _take_out(self, cached: Cached) -> None:
        self._forget(cached)
        _, digest = cached.key
        self._holders[digest] -= 1
        if not self._holders[digest]:
            del self._holders[digest], self._sizes[digest]
            self._changed.add(digest)

    def _forget(self, cached: Cached) -> None:
        if self._entries.get(cached.key) is cached:
            del self._entries[cached.key]
            self.size_bytes -= cached.size_bytes

    def _holds(self, cached: Cached) -> None:
        _, digest = cached.key
        self._holders[digest] = self._holders.get(digest, 0) + 1
        if digest not in self._sizes:
            self._changed.add(digest)
        self._sizes[digest] = cached.size_bytes


def file_name(name: str) -> str:
    """The last part of a name that somebody gave a file, as one that may be used here."""
    last = name.replace("\0", "").rpartition("/")[2].encode(errors="replace")[-200:].decode(errors="ignore")
    return last if last.strip(".") else "object"


def _look_at(coming: asyncio.Task[None]) -> None:
    """See its error, if those who waited for it have gone."""
    if not coming.cancelled():
        coming.exception()


def _touch(cached: Cached) -> None:
    """Note on disk, now and then, that it was used, for the next agent."""
    now = time.monotonic()
    if now < cached.touched_at + _TOUCH_S:
        return
    cached.touched_at = now
    with contextlib.suppress(OSError):
        for entry in os.scandir(cached.directory):
            if not entry.is_symlink():
                os.utime(entry.path)
