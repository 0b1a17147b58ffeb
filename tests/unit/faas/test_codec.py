"""The codec: both encodings of every model, and errors that name the field."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faas import codec
from faas.errors import InvalidRequest
from faas.models import Function, Submission, SubmitRequest


@pytest.mark.parametrize("content_type", codec.CONTENT_TYPES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    submission=st.builds(
        Submission,
        task_id=st.text(),
        function=st.text(),
        payload=st.binary(),
        dependencies=st.lists(st.text()),
        timeout_s=st.none() | st.floats(0, 1e9),
        tags=st.dictionaries(st.text(), st.text()),
    )
)
def test_a_batch_round_trips_item_by_item(content_type: str, submission: Submission) -> None:
    item = msgspec.Raw(codec.encode(submission, content_type))
    body = codec.encode(SubmitRequest(group_id="g", tasks=[item]), content_type)
    (raw,) = codec.decode(body, SubmitRequest, content_type).tasks
    assert codec.decode(raw, Submission, content_type) == submission


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "Application/JSON", "application/problem+json"],
)
def test_spellings_of_json(content_type: str) -> None:
    assert codec.decode(b'{"task_id": "a", "function": "f"}', Submission, content_type).task_id == "a"


@pytest.mark.parametrize(
    ("body", "at", "field"),
    [
        (b'{"task_id": "a", "function": 3}', "", "function"),
        (b'{"task_id": "a", "function": 3}', "tasks[3]", "tasks[3].function"),
        (b'{"task_id": "a", "function": "f", "dependencies": ["x", 1]}', "tasks[0]", "tasks[0].dependencies[1]"),
        (b'{"task_id": "a"}', "tasks[3]", "tasks[3]"),
        (b"[]", "", ""),
        (b"{", "tasks[3]", "tasks[3]"),
        (b"", "", ""),
        (b'"\xff"', "", ""),
    ],
)
def test_errors_name_the_field(body: bytes, at: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(body, Submission, codec.JSON, at=at)
    assert caught.value.field == field


def test_the_path_into_a_list_begins_with_its_index() -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(b'[{"name": 1}]', list[Function], codec.JSON)
    assert caught.value.field == "[0].name"


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_do_worse_than_being_refused(data: bytes) -> None:
    for content_type in codec.CONTENT_TYPES:
        with contextlib.suppress(InvalidRequest):
            codec.decode(data, Submission, content_type)


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/xml"])
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match=r"application/msgpack or application/json"):
        codec.decode(b"{}", Submission, content_type)
