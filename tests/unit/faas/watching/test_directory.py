"""Directories as they are really written to: told by inotify, or by looking with inotify off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faas.errors import ConfigurationError
from faas.watching.directory import CompletedFile, DirectoryWatcher

LIMIT_S = 60.0


class Told:
    """What a watcher in a thread has told so far."""

    def __init__(self) -> None:
        self.files: list[CompletedFile] = []
        self._news = threading.Condition()

    def take(self, files: list[CompletedFile]) -> None:
        with self._news:
            self.files += files
            self._news.notify_all()

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        with self._news:
            assert self._news.wait_for(lambda: condition([file.path for file in self.files]), LIMIT_S), self.files
            return [file.path for file in self.files]


@contextmanager
def watching(root: Path, *, poll: bool, settle_s: float = 0.2) -> Iterator[Told]:
    told = Told()
    watcher = DirectoryWatcher(root, settle_s=settle_s, look_s=0.05, poll=poll)
    thread = threading.Thread(target=watcher.run, args=(told.take,))
    thread.start()
    assert watcher.watching.wait(LIMIT_S)
    try:
        yield told
    finally:
        watcher.stop()
        thread.join(LIMIT_S)
        assert not thread.is_alive()


@pytest.fixture(params=[False, True], ids=["inotify", "looking"])
def poll(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_what_is_there_already_is_told(tmp_path: Path, poll: bool) -> None:
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "a.h5").write_bytes(b"12345")
    with watching(tmp_path, poll=poll) as told:
        assert told.until(bool) == ["run1/a.h5"]
        assert told.files[0].size_bytes == 5


def test_new_files_are_told_once_each_in_new_directories_too(tmp_path: Path, poll: bool) -> None:
    with watching(tmp_path, poll=poll) as told:
        (tmp_path / "first.h5").write_bytes(b"1")
        told.until(lambda paths: "first.h5" in paths)
        for run in range(3):
            (tmp_path / f"run{run}" / "deep").mkdir(parents=True)
            for number in range(10):
                (tmp_path / f"run{run}" / "deep" / f"{number}.h5").write_bytes(b"x" * number)
        outside = tmp_path.parent / f"{tmp_path.name}-elsewhere"
        outside.mkdir()
        (outside / "moved.h5").write_bytes(b"moved")
        (outside / "moved.h5").rename(tmp_path / "moved.h5")
        (outside / "within.h5").write_bytes(b"in a folder")
        outside.rename(tmp_path / "folder")
        paths = told.until(lambda paths: len(set(paths)) >= 33)
        assert sorted(paths) == sorted(set(paths))
        assert {"first.h5", "moved.h5", "folder/within.h5", "run2/deep/9.h5"} <= set(paths)


def test_a_file_being_written_is_not_complete(tmp_path: Path) -> None:
    with watching(tmp_path, poll=False, settle_s=3600) as told, (tmp_path / "scan.h5").open("wb") as scan:
        for _ in range(10):
            scan.write(b"frame")
            scan.flush()
        (tmp_path / "other.h5").write_bytes(b"done")
        assert told.until(bool) == ["other.h5"]
        scan.close()
        told.until(lambda paths: paths == ["other.h5", "scan.h5"])
        assert told.files[-1].size_bytes == 50


def test_a_new_version_is_told_anew(tmp_path: Path, poll: bool) -> None:
    with watching(tmp_path, poll=poll) as told:
        (tmp_path / "a.h5").write_bytes(b"1")
        told.until(lambda paths: len(paths) == 1)
        (tmp_path / "a.h5").write_bytes(b"12")
        told.until(lambda paths: paths == ["a.h5", "a.h5"])
        assert [file.size_bytes for file in told.files] == [1, 2]


def test_what_does_not_count_is_passed_over(tmp_path: Path, poll: bool) -> None:
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    secret.write_bytes(b"not for you")
    (tmp_path / ".hidden").mkdir()
    with watching(tmp_path, poll=poll) as told:
        (tmp_path / ".hidden" / "a.h5").write_bytes(b"1")
        (tmp_path / "a.h5.part").write_bytes(b"1")
        (tmp_path / "link.h5").symlink_to(secret)
        (tmp_path / "wanted.h5").write_bytes(b"1")
        assert told.until(bool) == ["wanted.h5"]
        (tmp_path / "a.h5.part").rename(tmp_path / "a.h5")
        assert told.until(lambda paths: len(paths) == 2) == ["wanted.h5", "a.h5"]


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no directory .*absent"):
        DirectoryWatcher(tmp_path / "absent")
