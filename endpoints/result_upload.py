"""Large results go from the worker straight to the store, where its node has a way there; else by the agent."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx

from endpoints.chunk import ResultStore, TaskReport
from faas.errors import FaasError, ServiceUnavailable
from faas.exchange import object_url
from faas.link import Link
from faas.models import CreateObject, Location, Nothing
from faas.transfer import OpenFile, begin, carry_out
from faas.transports import proxy_for

logger = logging.getLogger(__name__)

_CONNECT_S = 3.0
_UNREACHABLE_S = 300.0
"""A place that did not answer is not tried again for so long: each try would hold up a result."""
_AT_ONCE = 2
_ATTEMPTS = 4

_links: dict[tuple[int, str], Link] = {}
_shut_until: dict[tuple[str, int], float] = {}
_open: set[tuple[str, int]] = set()


class ResultUploads:
    """The large results of one chunk on their way, while its further tasks run.

    Args:
        store: where to ask.
    """

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._threads: ThreadPoolExecutor | None = None
        self._under_way: list[tuple[TaskReport, Future[Location | None]]] = []

    def begin(self, report: TaskReport, ticket: str) -> None:
        """Send a report's result file, in the background."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="faas-result")
        future = self._threads.submit(store_result, self._store.url, ticket, Path(report.result_file))
        self._under_way.append((report, future))

    def finish(self) -> None:
        """Wait for all of them; each report then says where its result is: in the store, or still in its file."""
        for report, future in self._under_way:
            report.location = future.result()
            if report.location is not None:
                Path(report.result_file).unlink(missing_ok=True)
                report.result_file = ""
        if self._threads is not None:
            self._threads.shutdown()


def store_result(url: str, ticket: str, path: Path) -> Location | None:
    """Store a result's file, if the service and the store can be reached from this node.

    Args:
        url: the service's.
        ticket: leave for this one result.
        path: the file.

    Returns:
        Where it lies now; None if it cannot be stored from here.
    """
    if not _reachable(url):
        return None
    try:
        return send_result(url, ticket, path, _check_way)
    except (FaasError, OSError) as error:
        logger.warning("the result %s is left to the agent: %s", path.name, error)
        return None


def send_result(url: str, ticket: str, path: Path, check: Callable[[str], None] = lambda _: None) -> Location:
    """Store a result's file.

    Args:
        url: the service's.
        ticket: leave for this one result.
        path: the file.
        check: called with the URL where the bytes are to go; raises to go no further.

    Raises:
        OSError: the file cannot be read.
        FaasError: the service or the store said no, or did not answer.
    """
    link = _link(url).bearing(ticket)
    with path.open("rb") as file:
        source = OpenFile(file.fileno(), str(path))
        wanted = CreateObject(size_bytes=source.size_bytes)
        upload = begin(link, source, wanted)
        try:
            check(object_url(url, upload.grants[0]))
            carry_out(link, source, upload, wanted)
        except BaseException:
            with contextlib.suppress(FaasError):
                link.request("DELETE", f"/v1/objects/{upload.object_id}", response=Nothing)
            raise
    return Location(upload.object_id, 0, source.size_bytes)


def _check_way(url: str) -> None:
    if not _reachable(url):
        raise ServiceUnavailable(f"The object store at {httpx.URL(url).host} cannot be reached from this node.")


def _link(url: str) -> Link:
    key = (os.getpid(), url)
    if key not in _links:
        _links[key] = Link(url, "", attempts=_ATTEMPTS)
    return _links[key]


def _reachable(url: str) -> bool:
    """Whether the way to a URL, or to the proxy that leads there, is open; looked at once, shut ways now and then."""
    first = httpx.URL(proxy_for(httpx.URL(url)) or url)
    place = (first.host, first.port or (443 if first.scheme == "https" else 80))
    if place in _open:
        return True
    if time.monotonic() < _shut_until.get(place, 0.0):
        return False
    try:
        socket.create_connection(place, timeout=_CONNECT_S).close()
    except OSError:
        _shut_until[place] = time.monotonic() + _UNREACHABLE_S
        return False
    _open.add(place)
    return True
