"""Matching: identities that hold apart exactly what differs, datasets that are complete exactly once all is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faas.errors import InvalidRequest
from faas.models.triggers import TriggerSettings, UploadEvent
from router.triggers.matching import Completeness, check_settings, dataset, fill, identity, matches, progress

TEXTS = st.text(max_size=8)
UPLOADS = st.builds(
    UploadEvent,
    bucket=TEXTS,
    key=TEXTS,
    size_bytes=st.integers(0, 5),
    etag=TEXTS,
    version_id=st.sampled_from(["", "1", "2"]),
    mtime_ns=st.none() | st.integers(0, 5),
    sequencer=TEXTS,
    event_time=st.none() | st.floats(0, 10),
)


def _told_apart_by(upload: UploadEvent) -> tuple[object, ...]:
    if upload.version_id:
        return upload.bucket, upload.key, "version", upload.version_id
    if upload.mtime_ns is not None:
        return upload.bucket, upload.key, "file", upload.size_bytes, upload.mtime_ns
    return upload.bucket, upload.key, "etag", upload.etag, upload.size_bytes


@given(UPLOADS, UPLOADS)
def test_uploads_are_the_same_exactly_if_their_version_is(one: UploadEvent, other: UploadEvent) -> None:
    assert (identity(one) == identity(other)) == (_told_apart_by(one) == _told_apart_by(other))


def upload(key: str) -> UploadEvent:
    return UploadEvent(bucket="raw", key=key, etag="e", size_bytes=1)


def test_prefix_and_suffix() -> None:
    settings = TriggerSettings(prefix="run/", suffix=".h5")
    assert matches(settings, upload("run/a.h5"))
    assert not matches(settings, upload("other/a.h5"))
    assert not matches(settings, upload("run/a.txt"))


def test_a_marker_counts_whatever_its_suffix() -> None:
    settings = TriggerSettings(suffix=".h5", group_by=r"(scan\d+)/", complete_when="marker=DONE")
    check_settings(settings)
    assert matches(settings, upload("scan1/DONE"))
    assert not matches(settings, upload("scan1/notes.txt"))
    assert not matches(settings, upload("elsewhere/a.h5"))
    assert dataset(settings, upload("2026/scan12/a.h5")) == "scan12"


@given(st.sets(st.integers(0, 9)), st.integers(1, 10))
def test_a_count_is_reached_by_different_files(numbers: set[int], count: int) -> None:
    keys = [f"scan/{number}.h5" for number in numbers] * 2
    found = progress(Completeness(count=count), keys)
    assert found.complete == (len(numbers) >= count) == (found.missing == "")


def test_a_manifest_says_what_is_missing() -> None:
    said = Completeness(manifest="files.txt")
    assert progress(said, ["s/a.h5"]).missing == "its manifest files.txt"
    listed = "# frames\na.h5\nb.h5\n\nc.h5\n"
    assert progress(said, ["s/a.h5"], listed).missing == "b.h5, c.h5"
    assert progress(said, ["s/a.h5", "s/b.h5", "s/c.h5"], listed).complete


@given(UPLOADS)
def test_what_is_filled_in_is_not_filled_in_again(some: UploadEvent) -> None:
    assert fill("<{key}|{bucket}>{{key}}", some) == f"<{some.key}|{some.bucket}>{{key}}"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (TriggerSettings(group_by="("), "group_by"),
        (TriggerSettings(group_by="scan", complete_when="count=2"), "group_by"),
        (TriggerSettings(group_by="(scan)"), "complete_when"),
        (TriggerSettings(complete_when="count=2"), "group_by"),
        (TriggerSettings(group_by="(scan)", complete_when="count=0"), "complete_when"),
        (TriggerSettings(arguments={"path": "{secret}"}), "arguments"),
        (TriggerSettings(arguments={"path": "{key.__class__}"}), "arguments"),
        (TriggerSettings(arguments={"path": "{key!r}"}), "arguments"),
        (TriggerSettings(arguments={"path": "{key"}), "arguments"),
        (TriggerSettings(arguments={"not a name": "{key}"}), "arguments"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: TriggerSettings, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_settings(settings)
    assert refused.value.field == f"settings.{field}"
