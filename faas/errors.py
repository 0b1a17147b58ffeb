"""Every error the federation raises, in one tree.

::

    FaasError
    ├── RequestRefused            the service answered 4xx; .status .detail .field .fix
    │   ├── InvalidRequest        400  malformed or impossible input
    │   ├── NotAuthenticated      401  no, wrong, expired or revoked token
    │   ├── PermissionDenied      403  the token is good, the right is missing
    │   ├── NotFound              404  unknown, or not visible to the caller
    │   ├── Conflict              409  same id, other content; or a name already in use
    │   └── TooLarge              413  body, argument or code over the stated limit
    ├── ServiceUnavailable        nothing (sensible) answered at the service's address
    ├── ConfigurationError        a setting, file or command-line value is wrong
    │   ├── AlreadyRunning        an endpoint's agent runs, here or elsewhere
    │   └── SchemaMismatch        a database written by another version
    ├── SerializationFailed       an argument, function or result cannot be packed or unpacked
    ├── ChecksumMismatch          an object came with other bytes than were stored, twice
    ├── TaskPending               a wait ended before the task did
    └── TaskFailed                the task ended without a value; .task_id .remote_traceback
        ├── TaskCancelled         cancelled by a person
        ├── TaskTimedOut          ran longer than its timeout_s
        ├── TaskLost              lost with its worker more often than allowed
        └── DependencyFailed      a task it depends on did not succeed

The service raises the same classes the client does: ``router`` turns them into
``application/problem+json`` (RFC 9457) and ``faas.link`` turns that back.
"""

from __future__ import annotations


class FaasError(Exception):
    """Anything this federation raises on purpose."""


class RequestRefused(FaasError):
    """The service refused a request; the message says what to change.

    Args:
        detail: what happened, to which object.
        fix: what to do next, as one sentence; empty if the detail says it all.
        field: the input field at fault, as a path such as ``tasks[3].timeout_s``.
    """

    status = 400
    title = "Request refused"

    def __init__(self, detail: str, *, fix: str = "", field: str = "") -> None:
        super().__init__(f"{detail} {fix}".strip())
        self.detail = detail
        self.fix = fix
        self.field = field


class InvalidRequest(RequestRefused):
    """Malformed or impossible input (400)."""

    title = "Invalid request"


class NotAuthenticated(RequestRefused):
    """No token, or one that is wrong, expired or revoked (401)."""

    status = 401
    title = "Not authenticated"


class PermissionDenied(RequestRefused):
    """The token is good but does not carry the right (403)."""

    status = 403
    title = "Permission denied"


class NotFound(RequestRefused):
    """Unknown, or not visible to the caller (404)."""

    status = 404
    title = "Not found"


class Conflict(RequestRefused):
    """The same id with other content, or a name already in use (409)."""

    status = 409
    title = "Conflict"


class TooLarge(RequestRefused):
    """A body, an argument or code over the stated limit (413)."""

    status = 413
    title = "Too large"


class ServiceUnavailable(FaasError):
    """Nothing, or nothing sensible, answered at the service's address."""


class ConfigurationError(FaasError):
    """A setting, a file or a command-line value is wrong; the message names it."""


class AlreadyRunning(ConfigurationError):
    """An agent of this endpoint runs already, here or elsewhere."""


class SchemaMismatch(ConfigurationError):
    """The database was written by another version of the service."""


class SerializationFailed(FaasError):
    """An argument, a function or a result cannot be packed or unpacked."""


class ChecksumMismatch(FaasError):
    """An object came with other bytes than were stored, and did so again when it was fetched once more."""


class TaskPending(FaasError):
    """A wait ended before the task did; ask again later."""


class TaskFailed(FaasError):
    """The task ended without a value.

    ``__cause__`` is the exception the function raised, where it unpickles here.

    Args:
        message: what happened, in one or two sentences.
        task_id: the task.
        remote_traceback: the traceback at the site; empty if there was none.
    """

    def __init__(self, message: str, *, task_id: str = "", remote_traceback: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.task_id = task_id
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        if not self.remote_traceback:
            return self.message
        return f"{self.message}\n\n{self.remote_traceback.rstrip()}"


class TaskCancelled(TaskFailed):
    """The task was cancelled."""


class TaskTimedOut(TaskFailed):
    """The task ran longer than its ``timeout_s`` and was killed."""


class TaskLost(TaskFailed):
    """The task's workers were lost more often than ``max_losses`` allows."""


class DependencyFailed(TaskFailed):
    """A task this one depends on did not succeed."""


REFUSALS: dict[int, type[RequestRefused]] = {
    refusal.status: refusal
    for refusal in (InvalidRequest, NotAuthenticated, PermissionDenied, NotFound, Conflict, TooLarge)
}
"""HTTP status to the class that carries it."""
