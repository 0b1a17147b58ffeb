"""Arguments too large to travel inside a task: they go up as an object that the task refers to."""

from __future__ import annotations

import hashlib

from faas.link import Link
from faas.models import CreateObject, Grant, Submission


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
    data = submission.payload
    wanted = CreateObject(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    grant = link.request("POST", "/v1/objects", wanted, response=Grant)
    link.put_object(grant, data)
    submission.argument_object = grant.object_id
