"""A queue of SQS as a source: messages are held while in hand, and deleted only once what they tell is durable."""

from __future__ import annotations

import logging
import threading
from typing import Any
from urllib.parse import urlsplit

from faas.models import Taken
from registry.triggers import Known
from router.triggers.intake import Intake

log = logging.getLogger(__name__)

_POLL_S = 10
_HELD_S = 60
_AGAIN_S = 5.0
_BATCH = 10
"""Messages that SQS gives, and deletes, at once."""


class QueueSource:
    """Reads a trigger's queue until it is stopped.

    Args:
        trigger: the trigger; its source is ``sqs:`` and the queue's URL.
        intake: takes what comes.
    """

    def __init__(self, trigger: Known, intake: Intake) -> None:
        self._trigger = trigger
        self._intake = intake
        self._url = trigger.source.removeprefix("sqs:")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"trigger-{trigger.name[:20]}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; returns at once. What is in hand then is told again by the queue."""
        self._stopped.set()

    def _run(self) -> None:
        import boto3  # memory that most services need not spend

        queue = None
        while not self._stopped.is_set():
            try:
                queue = queue or boto3.session.Session().client("sqs", region_name=_region(self._url))
                self._receive(queue)
            except Exception as error:
                log.warning("trigger %s: its queue does not answer: %s", self._trigger.name, error)
                self._stopped.wait(_AGAIN_S)

    def _receive(self, queue: Any) -> None:
        answer = queue.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=_POLL_S, VisibilityTimeout=_HELD_S
        )
        messages = answer.get("Messages", [])
        if not messages or self._stopped.is_set():
            return
        waiting = [
            each for message in messages for each in self._intake.deliver(self._trigger, message["Body"].encode())
        ]
        for each in waiting:
            while not _done(each.result, _HELD_S / 3):
                self._hold(queue, messages)
        entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)]
        queue.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _hold(self, queue: Any, messages: list[dict[str, Any]]) -> None:
        entries = [
            {"Id": str(n), "ReceiptHandle": each["ReceiptHandle"], "VisibilityTimeout": _HELD_S}
            for n, each in enumerate(messages)
        ]
        queue.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


def _done(result: Any, timeout_s: float) -> bool:
    from concurrent.futures import TimeoutError as TooLong

    try:
        taken: Taken = result(timeout_s)
    except TooLong:
        return False
    return taken is not None


def _region(url: str) -> str | None:
    """The region in a queue's URL, of AWS; None leaves it to the settings around."""
    parts = (urlsplit(url).hostname or "").split(".")
    return parts[1] if len(parts) > 2 and parts[0] == "sqs" else None
