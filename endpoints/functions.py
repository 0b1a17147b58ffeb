"""Function code at the site: fetched once, its id recomputed from the content, kept where workers find it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from pathlib import Path

import msgspec

from endpoints.places import write_atomically
from endpoints.service import Service
from faas.errors import FaasError
from faas.models import FunctionCode
from faas.packing import function_id

logger = logging.getLogger(__name__)


class CodeRefused(FaasError):
    """The code that came is not the function's."""


class FunctionCodes:
    """The code of functions that have run here, one file each in ``code/`` of the run directory.

    Args:
        directory: ``code/``.
        service: to fetch what is missing.
    """

    def __init__(self, directory: Path, service: Service) -> None:
        self._directory = directory
        self._service = service
        self._modules: dict[str, str] = {}
        self._coming: dict[str, asyncio.Task[str]] = {}

    def modules(self, identifier: str) -> str | None:
        """The digest of a function's modules (empty for none) if its code is here and checked; else None."""
        return self._modules.get(identifier)

    async def fetch(self, identifier: str) -> str:
        """See that a function's code is here; many may wait for the same one.

        Returns:
            The digest of its modules, empty for none.

        Raises:
            CodeRefused: what came is not the function with this id.
            RequestRefused: the service does not give it.
        """
        task = self._coming.get(identifier)
        if task is None:
            task = self._coming[identifier] = asyncio.ensure_future(self._fetch(identifier))
            task.add_done_callback(lambda _: self._coming.pop(identifier, None))
        return await asyncio.shield(task)

    async def _fetch(self, identifier: str) -> str:
        if str(uuid.UUID(identifier)) != identifier:
            raise CodeRefused(f"{identifier!r} is not a function id.")
        path = self._directory / identifier
        code = _kept(path, identifier)
        if code is None:
            code = await self._service.function_code(identifier)
            if not _is(code, identifier):
                raise CodeRefused(
                    f"The code the service gave for function {identifier} has another id when recomputed,"
                    " so this site does not run it."
                )
            write_atomically(path, msgspec.msgpack.encode(code), mode=0o644)
            logger.info("fetched function %s (%s), %d bytes", identifier, code.name, len(code.code) + len(code.modules))
        digest = hashlib.sha256(code.modules).hexdigest() if code.modules else ""
        self._modules[identifier] = digest
        return digest


def _is(code: FunctionCode, identifier: str) -> bool:
    try:
        made = function_id(code.owner_id, code.serializer, code.code, code.modules)
    except ValueError:
        return False
    return made == code.function_id == identifier


def _kept(path: Path, identifier: str) -> FunctionCode | None:
    """Code fetched by an earlier session, if it is still what its id says."""
    try:
        code = msgspec.msgpack.decode(path.read_bytes(), type=FunctionCode)
    except (OSError, msgspec.DecodeError):
        return None
    return code if _is(code, identifier) else None
