"""Tells the service of completed files from wherever they are; what it cannot tell yet lies on disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from faas.errors import FaasError, RequestRefused, ServiceUnavailable
from faas.models import Taken, UploadEvent, UploadEvents
from faas.watching.directory import CompletedFile, DirectoryWatcher
from faas.watching.spool import EventSpool

if TYPE_CHECKING:
    from faas.link import Link

log = logging.getLogger(__name__)

_AGAIN_S = 5.0


class Forwarder:
    """Watches a directory for a trigger, with a token that may only submit.

    Args:
        link: to the service.
        trigger: name or id of the trigger.
        watcher: of the directory.
        spool: where events lie until the service has them.
        store: stores a copy of a file, for sites that cannot reach it; returns the object's id and its SHA-256.
        again_s: between attempts while the service is away.

    Example:
        >>> Forwarder(link, "fits", watcher, EventSpool(Path("/var/spool/faas"))).run()       # doctest: +SKIP
    """

    def __init__(
        self,
        link: Link,
        trigger: str,
        watcher: DirectoryWatcher,
        spool: EventSpool,
        *,
        store: Callable[[Path], tuple[str, str]] | None = None,
        again_s: float = _AGAIN_S,
    ) -> None:
        from faas.catalogue import segment

        self._link = link
        self._path = f"/v1/triggers/{segment(trigger)}/events"
        self._watcher = watcher
        self._spool = spool
        self._store = store
        self._again_s = again_s
        self._news = threading.Event()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Watch and tell until :meth:`stop`."""
        sender = threading.Thread(target=self._send_all, name="watch-send", daemon=True)
        sender.start()
        try:
            self._watcher.run(self._keep)
        finally:
            self._stopping.set()
            self._news.set()
            sender.join()

    def stop(self) -> None:
        """Make :meth:`run` return; what the service does not have yet stays on disk."""
        self._stopping.set()
        self._watcher.stop()

    def _keep(self, files: list[CompletedFile]) -> None:
        self._spool.save(files)
        self._news.set()

    def _send_all(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                for path, files in self._spool.waiting():
                    self._send(path, files)
                    if self._stopping.is_set():
                        return
            except ServiceUnavailable as error:
                log.info("the service is away: %s", error)
                self._stopping.wait(self._again_s)
                continue
            except (FaasError, OSError) as error:
                log.warning("could not tell the service: %s", error)
                self._stopping.wait(self._again_s)
                continue
            self._news.wait()

    def _send(self, path: Path, files: list[CompletedFile]) -> None:
        events = [event for file in files if (event := self._event(file)) is not None]
        try:
            taken = self._link.request("POST", self._path, UploadEvents(events=events), response=Taken)
        except RequestRefused as refusal:
            if refusal.status in (401, 403, 404):  # somebody can mend that
                raise
            log.warning("the service refused %s: %s", path.name, refusal)
            return self._spool.set_aside(path)
        log.info("%d new files", taken.new)
        self._spool.remove(path)

    def _event(self, file: CompletedFile) -> UploadEvent | None:
        root = self._watcher.root
        object_id = sha256 = ""
        if self._store is not None:
            try:
                object_id, sha256 = self._store(root / file.path)
            except FileNotFoundError:
                log.warning("%s is gone before it could be stored", file.path)
                return None
        return UploadEvent(
            bucket=str(root),
            key=file.path,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            event_time=file.seen_at,
            object_id=object_id,
            sha256=sha256,
        )
