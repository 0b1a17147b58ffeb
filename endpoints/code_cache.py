"""The worker's copies of function code: read from the run directory, checked against their ids, modules unpacked."""

from __future__ import annotations

import hashlib
import io
import shutil
import time
import uuid
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import msgspec

from faas.models import FunctionCode
from faas.packing import function_id

_KEPT = 256
_SHARED_FILE_SYSTEM_WAIT_S = 5.0


class CodeUnavailable(Exception):
    """A function's code is missing or is not what its id says."""


@dataclass(frozen=True)
class CachedCode:
    """A function's code with the directory of its shipped modules."""

    function: FunctionCode
    modules_directory: str
    """Empty when there are none."""


class CodeCache:
    """Code by function id; the most recently used functions stay in memory."""

    def __init__(self) -> None:
        self._codes: OrderedDict[tuple[str, str], CachedCode] = OrderedDict()

    def load(self, run_directory: Path, identifier: str) -> CachedCode:
        """The code of a function, checked.

        Args:
            run_directory: where ``code/`` and ``modules/`` are.
            identifier: the function id.

        Returns:
            The code, its modules extracted.

        Raises:
            CodeUnavailable: the message says why.
        """
        key = (str(run_directory), identifier)
        cached = self._codes.get(key)
        if cached is None:
            cached = self._read(run_directory, identifier)
            self._codes[key] = cached
            if len(self._codes) > _KEPT:
                self._codes.popitem(last=False)
        else:
            self._codes.move_to_end(key)
        return cached

    def _read(self, run_directory: Path, identifier: str) -> CachedCode:
        path = run_directory / "code" / identifier
        try:
            function = msgspec.msgpack.decode(_read_shared(path), type=FunctionCode)
        except FileNotFoundError:
            raise CodeUnavailable(
                f"The code of function {identifier} is not in {path.parent}. Do compute nodes see that directory?"
                " It has to be on a file system shared with the host the endpoint's agent runs on."
            ) from None
        except (OSError, msgspec.MsgspecError) as error:
            raise CodeUnavailable(f"The code of function {identifier} at {path} cannot be read: {error}") from error
        made = function_id(function.owner_id, function.serializer, function.code, function.modules)
        if not made == function.function_id == identifier:
            raise CodeUnavailable(f"The code at {path} is not that of function {identifier}: its content makes {made}.")
        directory = ""
        if function.modules:
            try:
                directory = str(_extract(function.modules, run_directory / "modules"))
            except (OSError, zipfile.BadZipFile, ValueError) as error:
                raise CodeUnavailable(
                    f"The modules of function {identifier} cannot be extracted to {run_directory / 'modules'}: {error}"
                ) from error
            # The archive has served; the rest is kept for the next runners.
            function = msgspec.structs.replace(function, modules=b"")
        return CachedCode(function, directory)


def _read_shared(path: Path) -> bytes:
    """Read a file another host has just made; a network file system may show it a little late."""
    deadline = time.monotonic() + _SHARED_FILE_SYSTEM_WAIT_S
    pause_s = 0.05
    while True:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if not path.parent.is_dir() or time.monotonic() > deadline:
                raise
            list(path.parent.iterdir())  # Makes NFS ask the server again.
            time.sleep(pause_s)
            pause_s *= 2


def _extract(archive: bytes, parent: Path) -> Path:
    """Extract an archive into a directory named after its content; others may do so at the same time."""
    directory = parent / hashlib.sha256(archive).hexdigest()
    if directory.is_dir():
        return directory
    parent.mkdir(parents=True, exist_ok=True)
    partial = parent / f".{directory.name}.{uuid.uuid4().hex}"
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as modules:
            for name in modules.namelist():
                if name.startswith(("/", "\\")) or ".." in Path(name).parts:
                    raise ValueError(f"the archive holds {name!r}, which lies outside of it")
            modules.extractall(partial)
        try:
            partial.rename(directory)
        except OSError:
            if not directory.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return directory
