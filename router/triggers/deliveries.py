"""What stores deliver when something was uploaded, in the words of AWS, Ceph and moto, as uploads.

The form is Amazon S3's event message structure (User Guide, "Event message structure"). Keys are URL-encoded in it,
except by Ceph; a queue gets a test event first.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from urllib.parse import unquote_plus

import msgspec

from faas.models.triggers import UploadEvent

_CREATED = ("ObjectCreated:", "s3:ObjectCreated:")
_RAW_KEYS = "ceph:s3"


class NotAnEvent(ValueError):
    """A delivery that is no event message."""


class _Object(msgspec.Struct):
    key: str
    size: int = 0
    eTag: str = ""  # noqa: N815  # as it is spelt there
    versionId: str = ""  # noqa: N815
    sequencer: str = ""


class _Bucket(msgspec.Struct):
    name: str


class _S3(msgspec.Struct):
    bucket: _Bucket
    object: _Object


class _Record(msgspec.Struct):
    eventName: str  # noqa: N815
    s3: _S3
    eventSource: str = ""  # noqa: N815
    eventTime: str = ""  # noqa: N815


class _Message(msgspec.Struct):
    Records: list[msgspec.Raw] | None = None
    Event: str = ""
    Message: str = ""
    """The message inside one of SNS."""


def read_delivery(body: bytes) -> Iterator[UploadEvent | NotAnEvent]:
    """The uploads that a delivery tells of; for a record that cannot be read, why.

    Args:
        body: JSON as a store posts it, or as it lies in a queue, by way of SNS or not.

    Raises:
        NotAnEvent: it is no event message at all.

    Example:
        >>> s3 = b'{"bucket": {"name": "raw"}, "object": {"key": "a+b.h5"}}'
        >>> record = b'{"eventName": "ObjectCreated:Put", "s3": ' + s3 + b"}"
        >>> [event.key for event in read_delivery(b'{"Records": [' + record + b"]}")]
        ['a b.h5']
    """
    try:
        message = msgspec.json.decode(body, type=_Message)
        if message.Message and message.Records is None:
            message = msgspec.json.decode(message.Message.encode(), type=_Message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotAnEvent(f"It is no event message of a store: {error}") from None
    if message.Records is None:
        if message.Event == "s3:TestEvent":
            return
        raise NotAnEvent("It is no event message of a store: it has no Records.")
    for raw in message.Records:
        try:
            record = msgspec.json.decode(raw, type=_Record)
        except msgspec.MsgspecError as error:
            yield NotAnEvent(f"A record of it cannot be read: {error}")
            continue
        if record.eventName.startswith(_CREATED):
            yield _upload(record)


def _upload(record: _Record) -> UploadEvent:
    found = record.s3.object
    key = found.key if record.eventSource == _RAW_KEYS else unquote_plus(found.key)
    return UploadEvent(
        bucket=record.s3.bucket.name,
        key=key,
        size_bytes=found.size,
        etag=found.eTag.strip('"'),
        version_id="" if found.versionId == "null" else found.versionId,
        sequencer=found.sequencer,
        event_time=_seconds(record.eventTime),
    )


def _seconds(text: str) -> float | None:
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp()
