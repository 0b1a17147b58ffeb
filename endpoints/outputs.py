"""Files that tasks write: where they go, what is stored of them afterwards, and what must not be left of them."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import msgspec

from endpoints.ledger import Held
from endpoints.locations import Locations, NotHere, ask_file_system
from endpoints.places import write_atomically
from endpoints.runner import remove_output, unfinished_output
from endpoints.service import Service
from faas.errors import RequestRefused
from faas.models import AttemptKey

logger = logging.getLogger(__name__)

_RECORD = ".json"
_EXPIRED = frozenset({400, 401, 403})


class Outputs:
    """Places for the files that tasks write: their own, where the site has the location, else one to be stored from.

    Args:
        directory: ``outputs/`` of the run directory: holds what is to be stored, and on record what is being written.
        locations: of this site.
        service: to store by.
    """

    def __init__(self, directory: Path, locations: Locations, service: Service) -> None:
        self._directory = Path(os.path.realpath(directory))
        self._locations = locations
        self._service = service

    async def prepare(self, held: Held) -> None:
        """Find a place for every output of a task, and write down what its attempt may leave there.

        Raises:
            NotHere: there is none for this task at this site.
            OSError: the file system does not work.
        """
        task = held.task
        for number, name in enumerate(task.outputs):
            if self._locations.has(name):
                held.outputs[name] = str(await ask_file_system(self._locations.place, name, task))
            elif name in task.output_grants:
                own = self._own(task.attempt) / str(number)
                held.outputs[name] = str(own / name.rpartition("/")[2])
                held.stored.append(name)
            else:
                raise NotHere(f"This site has no way to {name}: it neither mounts its location nor may store there.")
        unfinished = [unfinished_output(place, _text(task.attempt)) for place in held.outputs.values()]
        write_atomically(self._record(task.attempt), msgspec.json.encode(unfinished))
        held.let_go.append(lambda: self._clear(task.attempt, unfinished))

    async def store(self, held: Held) -> None:
        """Store what a task has written for locations that this site does not have.

        Raises:
            RequestRefused: the store does not take it.
            OSError: it cannot be read.
        """
        for name in held.stored:
            path = Path(held.outputs[name])
            grant = held.task.output_grants[name]
            try:
                await self._service.put_object(grant, path)
            except RequestRefused as error:
                renewed = None
                if error.status in _EXPIRED:
                    renewed = await self._service.renew_grant(held.task.attempt, name)
                if renewed is None:
                    raise
                await self._service.put_object(renewed, path)

    def _own(self, attempt: AttemptKey) -> Path:
        return self._directory / _text(attempt)

    def _record(self, attempt: AttemptKey) -> Path:
        return self._directory / (_text(attempt) + _RECORD)

    def _clear(self, attempt: AttemptKey, unfinished: list[str]) -> None:
        for path in unfinished:
            remove_output(path)
        shutil.rmtree(self._own(attempt), ignore_errors=True)
        self._record(attempt).unlink(missing_ok=True)


def clear_outputs(directory: Path) -> int:
    """Remove what attempts that nobody runs any more had begun to write; call when their runners are gone.

    Args:
        directory: ``outputs/`` of the run directory.

    Returns:
        How many files there were.
    """
    removed = 0
    for record in directory.glob(f"*{_RECORD}"):
        try:
            unfinished = msgspec.json.decode(record.read_bytes(), type=list[str])
        except (OSError, msgspec.MsgspecError):
            unfinished = []
        for path in unfinished:
            removed += os.path.lexists(path)
            remove_output(path)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(exist_ok=True)
    if removed:
        logger.info("removed %d unfinished output file(s)", removed)
    return removed


def _text(attempt: AttemptKey) -> str:
    return f"{attempt.sequence}.{attempt.number}"
