"""A directory on the service's machine as a source: watched in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from faas.errors import FaasError
from faas.models import UploadEvent
from faas.watching.directory import CompletedFile, DirectoryWatcher, present_files
from registry import triggers
from registry.database import Database
from registry.triggers import Known
from router.triggers.intake import Intake

log = logging.getLogger(__name__)

_BATCH = 500
_LARGEST_MANIFEST_BYTES = 1024 * 1024


def uploads(root: Path, files: Iterable[CompletedFile]) -> Iterator[UploadEvent]:
    """Completed files of a directory as uploads."""
    for file in files:
        yield UploadEvent(
            bucket=str(root),
            key=file.path,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            event_time=file.seen_at,
        )


class DirectorySource:
    """Watches a trigger's directory until it is stopped.

    Args:
        trigger: the trigger.
        intake: takes what comes.
        database: the registry's.
    """

    def __init__(self, trigger: Known, intake: Intake, database: Database) -> None:
        self._trigger = trigger
        self._intake = intake
        self._database = database
        self._root = Path(trigger.source)
        self._watcher: DirectoryWatcher | None = None
        self._knows_what_was_there = trigger.backfill or trigger.listed_at is not None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"trigger-{trigger.name[:20]}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns at once."""
        self._stopped.set()
        if self._watcher is not None:
            self._watcher.stop()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if not self._knows_what_was_there:
                    self._pass_over_what_is_there()
                watcher = self._watcher = DirectoryWatcher(self._root, settle_s=self._trigger.settings.settle_s)
                if not self._stopped.is_set():
                    watcher.run(self._deliver)
            except FaasError as error:
                log.warning("trigger %s: %s", self._trigger.name, error)
                self._stopped.wait(10.0)
            except Exception:
                log.exception("trigger %s: its directory could not be watched", self._trigger.name)
                self._stopped.wait(10.0)

    def _pass_over_what_is_there(self) -> None:
        """Know the files that were there before the trigger; those still being written are another version later."""
        before = [file for file in present_files(self._root) if file.mtime_ns < self._trigger.created_at * 1e9]
        for start in range(0, len(before), _BATCH):
            some = uploads(self._root, before[start : start + _BATCH])
            self._intake.take(self._trigger, some, old=True).result()
        self._database.write_soon(triggers.note_listing, self._trigger.trigger_id, "", over=True).result()
        self._knows_what_was_there = True

    def _deliver(self, files: list[CompletedFile]) -> None:
        try:
            self._intake.take(self._trigger, uploads(self._root, files), read_text=self._read).result()
        except Exception:
            # The watcher tells every version once; the next one tells what is there from the beginning.
            if self._watcher is not None:
                self._watcher.stop()
            raise

    def _read(self, upload: UploadEvent) -> str | None:
        try:
            with (self._root / upload.key).open(encoding="utf-8", errors="replace") as file:
                return file.read(_LARGEST_MANIFEST_BYTES)
        except OSError:
            return None
