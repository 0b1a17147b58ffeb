"""The agent's side of output files: stores those that somebody wants to see, and removes those of days long past."""

from __future__ import annotations

import asyncio
import functools
import logging
import shutil
from pathlib import Path

from endpoints.configuration import Output
from endpoints.output_file import Stream, find, remove_old
from endpoints.service import Service
from faas.errors import RequestRefused
from faas.models import LogFound, LogRequest

logger = logging.getLogger(__name__)

_TIDY_S = 3600.0
_SUFFIX: dict[str, Stream] = {"stdout": "out", "stderr": "err"}


class OutputArchive:
    """The files with what tasks printed.

    Args:
        directory: ``output/`` of the endpoint.
        copies: a directory for what is on its way to the store.
        service: to answer.
        settings: how long files are kept.
    """

    def __init__(self, directory: Path, copies: Path, service: Service, settings: Output) -> None:
        self._directory = directory
        self._copies = copies
        self._service = service
        self._settings = settings
        self._delivering: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Remove what is too old, for ever."""
        while True:
            if days := await asyncio.to_thread(remove_old, self._directory, self._settings.days):
                logger.info("removed the output files of %d day(s)", days)
            await asyncio.sleep(_TIDY_S)

    @property
    def delivering(self) -> list[str]:
        """The ids of the requests being worked on."""
        return list(self._delivering)

    def deliver(self, requests: list[LogRequest]) -> None:
        """Store these files, meanwhile; one that cannot be is logged, and asked for again while somebody waits."""
        for request in requests:
            if request.request_id not in self._delivering:
                task = asyncio.ensure_future(self._deliver(request))
                self._delivering[request.request_id] = task
                task.add_done_callback(functools.partial(self._delivered, request.request_id))

    def _delivered(self, request_id: str, _: asyncio.Task[None]) -> None:
        del self._delivering[request_id]

    async def _deliver(self, request: LogRequest) -> None:
        copy = self._copies / f"log-{request.attempt.sequence}.{request.attempt.number}.{request.stream}"
        try:
            size = await asyncio.to_thread(self._copy, request, copy)
            if size is not None:
                await self._service.put_object(request.grant, copy)
            await self._service.log_found(LogFound(request_id=request.request_id, size_bytes=size))
        except (OSError, RequestRefused) as error:
            logger.error("the output of task %s could not be handed over: %s", request.task_id, error)
        finally:
            copy.unlink(missing_ok=True)

    def _copy(self, request: LogRequest, copy: Path) -> int | None:
        """The file as it is now, for the task may still be printing; None if there is none."""
        path = find(self._directory, request.attempt, request.task_id, _SUFFIX[request.stream])
        if path is None:
            return None
        shutil.copyfile(path, copy)
        return copy.stat().st_size

    def stop(self) -> None:
        """Hand over no more."""
        for task in self._delivering.values():
            task.cancel()
