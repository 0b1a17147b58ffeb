"""Takes in what sources tell of: matches it, and writes it into the registry; durable when it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future

from faas.models import Taken, UploadEvent
from registry import trigger_events
from registry.database import Database, Transaction
from registry.trigger_events import Arrival
from registry.triggers import Known
from router.triggers import matching
from router.triggers.deliveries import NotAnEvent, read_delivery
from router.triggers.submissions import FromSettings

DECISIONS = FromSettings()

ReadText = Callable[[UploadEvent], str | None]
"""Reads a manifest; None where it cannot be read from here."""


def unreadable(upload: UploadEvent) -> str | None:
    """Read no manifest: for sources whose files the service cannot reach."""
    return None


class Intake:
    """Takes uploads in, from any thread.

    Args:
        database: the registry's.

    Example:
        >>> intake.take(trigger, uploads).result()
        Taken(new=1, repeats=0, passed_over=0)
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self,
        trigger: Known,
        uploads: Iterable[UploadEvent],
        *,
        old: bool = False,
        read_text: ReadText = unreadable,
    ) -> Future[Taken]:
        """Take uploads in; the future is done once they are durable.

        Args:
            trigger: whose they are.
            uploads: a few hundred at most.
            old: they were there before the trigger, and are only to be known.
            read_text: reads manifests.
        """
        arrivals = []
        passed_over = 0
        manifest = matching.completeness(trigger.settings.complete_when).manifest
        for upload in uploads:
            if not matching.matches(trigger.settings, upload):
                passed_over += 1
                continue
            dataset = (matching.dataset(trigger.settings, upload) or "") if trigger.settings.group_by else ""
            named = bool(manifest) and upload.key.rpartition("/")[2] == manifest
            arrivals.append(Arrival(matching.identity(upload), upload, dataset, read_text(upload) if named else None))
        if not arrivals:
            nothing: Future[Taken] = Future()
            nothing.set_result(Taken(passed_over=passed_over))
            return nothing
        return self._database.write_soon(_take, trigger.trigger_id, arrivals, passed_over, old=old)

    def deliver(self, trigger: Known, body: bytes, *, read_text: ReadText = unreadable) -> list[Future[Taken]]:
        """Take in an event message of a store; what cannot be read becomes a dead letter.

        Args:
            trigger: whom it is for.
            body: as the store posted it.
            read_text: reads manifests.

        Returns:
            Futures that are done once all of it is durable.
        """
        uploads = []
        waiting = []
        try:
            for each in read_delivery(body):
                if isinstance(each, NotAnEvent):
                    waiting.append(self._bury(trigger, body, str(each)))
                else:
                    uploads.append(each)
        except NotAnEvent as refusal:
            waiting.append(self._bury(trigger, body, str(refusal)))
        for start in range(0, len(uploads), trigger_events.SLICE):
            some = uploads[start : start + trigger_events.SLICE]
            waiting.append(self.take(trigger, some, read_text=read_text))
        return waiting

    def _bury(self, trigger: Known, body: bytes, reason: str) -> Future[Taken]:
        return self._database.write_soon(_bury, trigger.trigger_id, body, reason)


def _take(transaction: Transaction, trigger_id: str, arrivals: list[Arrival], passed_over: int, *, old: bool) -> Taken:
    taken = trigger_events.take(transaction, trigger_id, arrivals, DECISIONS, old=old)
    taken.passed_over = passed_over
    return taken


def _bury(transaction: Transaction, trigger_id: str, body: bytes, reason: str) -> Taken:
    trigger_events.bury(transaction, trigger_id, body, reason)
    return Taken()
