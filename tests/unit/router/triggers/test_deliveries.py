"""Deliveries as stores really make them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.triggers.deliveries import NotAnEvent, read_delivery

CEPH = {
    "Records": [
        {
            "eventVersion": "2.2",
            "eventSource": "ceph:s3",
            "eventTime": "2026-11-22T14:28:35.738476Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "configurationId": "n1",
                "bucket": {"name": "n-2af6a8", "arn": "arn:aws:s3:::n-2af6a8"},
                "object": {
                    "key": "in/a b+é.bin",
                    "size": 5,
                    "eTag": "5d41402abc4b2a76b9719d911017c592",
                    "versionId": "",
                    "sequencer": "13FC026B6FDE222C",
                },
            },
            "eventId": "1",
            "opaqueData": "my-data",
        }
    ]
}


def amazon(key: str, name: str = "ObjectCreated:CompleteMultipartUpload") -> dict[str, Any]:
    return {
        "eventSource": "aws:s3",
        "eventTime": "2026-11-22T14:28:35.738Z",
        "eventName": name,
        "s3": {"bucket": {"name": "raw"}, "object": {"key": key, "size": 7, "eTag": '"ab-2"', "versionId": "v1"}},
    }


def test_keys_of_ceph_are_as_they_are() -> None:
    (upload,) = read_delivery(json.dumps(CEPH).encode())
    assert not isinstance(upload, NotAnEvent)
    assert (upload.bucket, upload.key, upload.size_bytes) == ("n-2af6a8", "in/a b+é.bin", 5)
    assert upload.event_time == pytest.approx(1795357715.738476)
    assert upload.version_id == ""


@pytest.mark.parametrize("key", ["in%2Fa+b%2B%C3%A9.bin", "in/a+b%2B%C3%A9.bin"])
def test_keys_of_amazon_are_encoded(key: str) -> None:
    (upload,) = read_delivery(json.dumps({"Records": [amazon(key)]}).encode())
    assert not isinstance(upload, NotAnEvent)
    assert (upload.key, upload.etag, upload.version_id) == ("in/a b+é.bin", "ab-2", "v1")


def test_a_message_by_way_of_a_topic_is_read() -> None:
    inner = json.dumps({"Records": [amazon("a")]})
    (upload,) = read_delivery(json.dumps({"Type": "Notification", "Message": inner}).encode())
    assert not isinstance(upload, NotAnEvent) and upload.key == "a"


def test_only_what_was_created_counts() -> None:
    records = [
        amazon("a", "ObjectRemoved:Delete"),
        amazon("b", "s3:ObjectCreated:Put"),
        amazon("c", "ObjectTagging:Put"),
    ]
    assert [each.key for each in read_delivery(json.dumps({"Records": records}).encode())] == ["b"]  # type: ignore[union-attr]
    assert list(read_delivery(b'{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw"}')) == []


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b"{}", b'{"Records": 5}', b'{"Message": "no JSON"}', b"null"]
)
def test_what_is_no_event_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(NotAnEvent, match="event message"):
        list(read_delivery(body))


def test_a_record_that_cannot_be_read_does_not_spoil_the_others() -> None:
    found = list(read_delivery(json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}, amazon("b")]}).encode()))
    assert isinstance(found[0], NotAnEvent)
    assert not isinstance(found[1], NotAnEvent) and found[1].key == "b"
