"""Arguments too large to travel inside a task: they go up as an object that the task refers to."""

from __future__ import annotations

from faas.link import Link
from faas.models import CreateObject, Submission
from faas.transfer import upload_bytes


def upload(link: Link, submission: Submission) -> None:
    """Store a task's packed arguments as an object, and note it in the submission; the payload stays in it too.

    Args:
        link: to the service.
        submission: changed in place; left alone if it was done before.

    Raises:
        RequestRefused: the service or the store said no.
        ServiceUnavailable: one of them did not answer.
    """
    if submission.argument_object:
        return
    submission.argument_object = upload_bytes(link, submission.payload, CreateObject(size_bytes=0)).object_id
