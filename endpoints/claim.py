"""How an endpoint is claimed at the service: by an agent for its session, or for a moment, to know that none runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from endpoints.configuration import Configuration
from endpoints.session import SessionState
from faas import __version__
from faas.credentials import Credentials
from faas.errors import AlreadyRunning, Conflict, FaasError
from faas.link import Link
from faas.models import OpenSession, SessionOpened

_ATTEMPTS = 3


def claim_of(
    configuration: Configuration,
    state: SessionState,
    *,
    replaces: str = "",
    takeover: bool = False,
    cached: dict[str, int] | None = None,
) -> OpenSession:
    """What an agent with this configuration tells the service when it opens a session.

    Args:
        configuration: the endpoint's.
        state: the session's, with the nonce that is its own.
        replaces: a session known to be dead.
        takeover: replace a live session.
        cached: what its cache holds, digest to bytes.
    """
    return OpenSession(
        nonce=state.nonce,
        host=state.host,
        pid=state.pid,
        version=__version__,
        policy=configuration.policy(),
        labels=configuration.labels,
        shapes=configuration.shapes_offered(),
        environments=sorted(configuration.environments),
        locations=configuration.mounts(),
        cached=cached or {},
        replaces=replaces,
        takeover=takeover,
    )


@contextmanager
def claimed(configuration: Configuration, credentials: Credentials) -> Iterator[None]:
    """Hold an endpoint's session without working in it: while this lasts, no agent runs anywhere.

    Raises:
        AlreadyRunning: one does; the message says where.
        FaasError: the service cannot be asked.
    """
    with Link(credentials.url, credentials.token, attempts=_ATTEMPTS) as link:
        try:
            opened = link.request(
                "POST", "/v1/sessions", claim_of(configuration, SessionState.new()), response=SessionOpened
            )
        except Conflict as error:
            raise AlreadyRunning(str(error)) from None
        try:
            yield
        finally:
            with suppress(FaasError):  # It ends by itself when it has been silent for a while.
                _close(link, opened.session_id)


def close_session(session_id: str, credentials: Credentials) -> None:
    """End a session whose agent is known to be gone, so that what it held is settled now.

    Raises:
        FaasError: the service cannot be asked, or refuses.
    """
    with Link(credentials.url, credentials.token, attempts=_ATTEMPTS) as link:
        _close(link, session_id)


def _close(link: Link, session_id: str) -> None:
    link.request("DELETE", f"/v1/sessions/{session_id}", response=dict[str, Any])
