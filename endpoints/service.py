"""The agent's calls to the service: each repeated until it is answered, with one log line per change."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from endpoints.configuration import Retry
from endpoints.result_upload import send_result
from faas import tickets
from faas.errors import RequestRefused, ServiceUnavailable
from faas.link import AsyncLink
from faas.models import (
    AttemptKey,
    FunctionCode,
    Grant,
    GrantsGiven,
    GrantsWanted,
    Heartbeat,
    HeartbeatResponse,
    LeaseRequest,
    LeaseResponse,
    Location,
    LogFound,
    OpenSession,
    ReportRequest,
    ReportResponse,
    SessionOpened,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Service:
    """What an agent asks of the service and its store, patiently.

    Refusals (4xx) are raised at once; anything that may pass is tried again for ever, more and more
    slowly, so callers that must not wait for ever put a time limit around the call.

    Args:
        link: to the service; should not retry much by itself.
        retry: how patiently to try again.
        token: the endpoint's, for tickets.
    """

    def __init__(self, link: AsyncLink, retry: Retry, token: str = "") -> None:
        self.session_id = ""
        self._token_hash = hashlib.sha256(token.encode()).hexdigest()
        self._link = link
        self._retry = retry
        self._away: set[str] = set()

    @property
    def url(self) -> str:
        """The service's address."""
        return self._link.url

    async def open_session(self, request: OpenSession) -> SessionOpened:
        """Open a session; later calls are made in it."""
        opened = await self._call("POST", "/v1/sessions", request, SessionOpened)
        self.session_id = opened.session_id
        return opened

    async def close_session(self, session_id: str) -> None:
        """End a session: what it still holds is settled at once."""
        await self._call("DELETE", f"/v1/sessions/{session_id}", None, dict[str, Any])

    async def lease(self, request: LeaseRequest) -> LeaseResponse:
        """Ask for work; a long poll."""
        path = f"/v1/sessions/{self.session_id}/lease"
        return await self._call("POST", path, request, LeaseResponse, wait_s=request.wait_s)

    async def report(self, request: ReportRequest) -> ReportResponse:
        """Tell what became of attempts, or ask for segment grants."""
        return await self._call("POST", f"/v1/sessions/{self.session_id}/report", request, ReportResponse)

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatResponse:
        """Show that the agent lives; a long poll."""
        path = f"/v1/sessions/{self.session_id}/heartbeat"
        return await self._call("POST", path, beat, HeartbeatResponse, wait_s=beat.wait_s)

    async def log_found(self, found: LogFound) -> None:
        """Tell that output is stored, or that there is none."""
        await self._call("POST", f"/v1/sessions/{self.session_id}/logs", found, dict[str, Any])

    async def function_code(self, function_id: str) -> FunctionCode:
        """Fetch the code of a function one of whose tasks is held."""
        return await self._call("GET", f"/v1/functions/{function_id}/code", None, FunctionCode)

    async def renew_grant(self, attempt: AttemptKey, name: str) -> Grant | None:
        """A fresh grant for something that a leased task reads or writes; None if there is none to be had."""
        path = f"/v1/sessions/{self.session_id}/grants"
        try:
            given = await self._call("POST", path, GrantsWanted(attempt=attempt, names=[name]), GrantsGiven)
        except RequestRefused as error:
            logger.debug("no new grant for %s: %s", name, error)
            return None
        return given.grants.get(name)

    async def get_object(self, grant: Grant, location: Location | None = None) -> bytes:
        """Fetch an object or a range of it."""
        return await self._patiently("object store", lambda: self._link.get_object(grant, location))

    async def save_object(self, grant: Grant, path: Path, small_bytes: int = -1) -> bytes | None:
        """Fetch an object of any size into a file; one of few bytes is returned instead."""
        return await self._patiently("object store", lambda: self._link.save_object(grant, path, small_bytes))

    async def put_object(self, grant: Grant, data: bytes | Path) -> None:
        """Store an object."""
        await self._patiently("object store", lambda: self._link.put_object(grant, data))

    def ticket(self, attempt: AttemptKey) -> str:
        """Leave to store the result of an attempt, for whoever holds it."""
        return tickets.issue(self._token_hash, self.session_id, attempt)

    async def store_result(self, attempt: AttemptKey, path: Path) -> Location:
        """Store the file of a result that is too large for one PUT, in parts and in constant memory.

        Raises:
            Conflict: its task has ended.
            NotFound: the attempt is not known (any more).
        """
        store = functools.partial(send_result, self.url, self.ticket(attempt), path)
        return await self._patiently("object store", lambda: asyncio.to_thread(store))

    async def close(self) -> None:
        """Close every connection."""
        await self._link.close()

    async def _call(self, method: str, path: str, body: Any, response: type[T], *, wait_s: float = 0) -> T:
        return await self._patiently(
            "service", lambda: self._link.request(method, path, body, response=response, wait_s=wait_s)
        )

    async def _patiently(self, who: str, call: Callable[[], Awaitable[T]]) -> T:
        pause_s = self._retry.first_s
        failures = 0
        while True:
            try:
                answer = await call()
            except ServiceUnavailable as error:
                failures += 1
                # Proxies cut connections that were idle, which shows in the next request and means nothing.
                if failures > 1 and who not in self._away:
                    self._away.add(who)
                    logger.warning("the %s is away; trying again until it is back: %s", who, error)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, self._retry.longest_s)
            else:
                if who in self._away:
                    self._away.discard(who)
                    logger.info("the %s is back", who)
                return answer
