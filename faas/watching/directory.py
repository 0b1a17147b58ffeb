"""Watches a directory: tells of each file in it once it is complete, by inotify or by looking."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from faas.errors import ConfigurationError
from faas.file_systems import NETWORK, file_system_of
from faas.watching.settling import Settling, Version

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

SETTLE_S = 2.0
LOOK_S = 5.0
"""Between looks at a directory whose changes are not told of."""
CHECK_S = 300.0
"""Between looks at one whose changes are told of: for what may have been missed."""
_BATCH = 500
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", "~")


class CompletedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is complete, as far as can be told."""

    path: str
    """Below the directory, with ``/``."""
    size_bytes: int
    mtime_ns: int
    seen_at: float
    """Seconds since the epoch, by this host's clock."""


class DirectoryWatcher:
    """Tells of completed files below a directory; what is there already is told first.

    Hidden files, those whose names end like something unfinished (``.part``, ``.tmp``, …) and symbolic links are
    passed over. Network file systems, where the writes of other hosts raise no event here, are looked at every
    ``look_s``; others are told of by inotify, and looked at now and then all the same.

    Args:
        root: the directory.
        settle_s: a file that nobody was seen to close is complete when it has not changed for this long.
        look_s: between looks, where nothing tells of changes.
        poll: look even where inotify would tell; None decides by the file system.

    Raises:
        ConfigurationError: there is no such directory.

    Example:
        >>> watcher = DirectoryWatcher(Path("/data/incoming"))                   # doctest: +SKIP
        >>> watcher.run(lambda files: print([file.path for file in files]))      # doctest: +SKIP
    """

    def __init__(
        self, root: Path, *, settle_s: float = SETTLE_S, look_s: float = LOOK_S, poll: bool | None = None
    ) -> None:
        self.root = root.absolute()
        if not self.root.is_dir():
            raise ConfigurationError(f"There is no directory {self.root} to watch. Make it, or name another one.")
        self.polls = file_system_of(self.root) in NETWORK if poll is None else poll
        self._settling = Settling(settle_s)
        self._look_s = look_s if self.polls else CHECK_S
        self._told: SimpleQueue[tuple[str, bool] | None] = SimpleQueue()
        self._stopping = threading.Event()
        self.watching = threading.Event()
        """Set once every change is noticed."""

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._stopping.set()
        self._told.put(None)

    def run(self, deliver: Callable[[list[CompletedFile]], None]) -> None:
        """Watch until stopped.

        Args:
            deliver: called with completed files, in batches; what it does not keep is not told again.
        """
        told = None if self.polls else _Inotify(self.root, self._told)
        self.watching.set()
        try:
            look_at = time.monotonic()
            while not self._stopping.is_set():
                now = time.monotonic()
                if now >= look_at:
                    self._look(now)
                    look_at = time.monotonic() + self._look_s
                self._deliver([self._completed(*each) for each in self._quiet(time.monotonic())], deliver)
                due = self._settling.next_due()
                wait_s = max(0.0, min(look_at, due if due is not None else look_at) - time.monotonic())
                self._deliver(list(self._news(wait_s)), deliver)
        finally:
            if told is not None:
                told.stop()

    def _news(self, wait_s: float) -> Iterator[CompletedFile]:
        """What inotify tells within a time: files closed or renamed in are complete."""
        try:
            first = self._told.get(timeout=wait_s)
        except Empty:
            return
        news = [first]
        while len(news) < _BATCH:
            try:
                news.append(self._told.get_nowait())
            except Empty:
                break
        for each in news:
            if each is None:
                continue
            name, complete = each
            path = Path(name)
            if path.is_dir():
                self._look(time.monotonic(), path)
                continue
            if not _counts(self.root, path):
                continue
            relative = self._relative(path)
            version = _version(path)
            if version is None:
                self._settling.gone(relative)
            elif not complete:
                self._settling.seen(relative, version, time.monotonic())
            elif self._settling.closed(relative, version):
                yield self._completed(relative, version)

    def _quiet(self, now: float) -> Iterator[tuple[str, Version]]:
        """Files that are still as they were when they were last seen, a while ago."""
        for relative in self._settling.changing():
            version = _version(self.root / relative)
            if version is None:
                self._settling.gone(relative)
            else:
                self._settling.seen(relative, version, now)
        yield from self._settling.due(now)

    def _look(self, now: float, below: Path | None = None) -> None:
        present = set()
        for path, version in _files(below or self.root):
            if _counts(self.root, path):
                relative = self._relative(path)
                present.add(relative)
                self._settling.seen(relative, version, now)
        if below is None:
            self._settling.keep_only(present)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _completed(self, relative: str, version: Version) -> CompletedFile:
        return CompletedFile(
            path=relative, size_bytes=version.size_bytes, mtime_ns=version.mtime_ns, seen_at=time.time()
        )

    @staticmethod
    def _deliver(files: list[CompletedFile], deliver: Callable[[list[CompletedFile]], None]) -> None:
        for start in range(0, len(files), _BATCH):
            deliver(files[start : start + _BATCH])


class _Inotify:
    """Puts what inotify tells into a queue: a path, and whether that file is complete."""

    def __init__(self, root: Path, news: SimpleQueue[tuple[str, bool] | None]) -> None:
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers.inotify import InotifyObserver

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                kind = event.event_type
                if event.is_directory and kind not in ("created", "moved"):
                    return
                if kind in ("created", "modified", "closed", "deleted"):
                    news.put((os.fsdecode(event.src_path), kind == "closed"))
                elif kind == "moved":
                    for end, complete in ((event.src_path, False), (event.dest_path, True)):
                        if end:
                            news.put((os.fsdecode(end), complete))

        self._observer = InotifyObserver(generate_full_events=True)
        self._observer.schedule(Handler(), str(root), recursive=True)
        try:
            self._observer.start()
        except OSError as error:
            raise ConfigurationError(
                f"The directory {root} cannot be watched: {error.strerror}. Raise fs.inotify.max_user_watches, or poll."
            ) from error

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join()


def present_files(root: Path) -> Iterator[CompletedFile]:
    """The files below a directory as they are now, complete or not, by the watcher's rules."""
    for path, version in _files(root):
        if _counts(root, path):
            relative = path.relative_to(root).as_posix()
            yield CompletedFile(
                path=relative, size_bytes=version.size_bytes, mtime_ns=version.mtime_ns, seen_at=time.time()
            )


def _counts(root: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and not path.name.endswith(_UNFINISHED)


def _files(directory: Path) -> Iterator[tuple[Path, Version]]:
    waiting = [str(directory)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # it went, or may not be read
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield Path(entry.path), Version(status.st_size, status.st_mtime_ns)
            except OSError:
                continue


def _version(path: Path) -> Version | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return Version(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
