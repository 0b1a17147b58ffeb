"""Runs packed functions as a site does: with the runner's own loading code, in a process without our modules."""

from __future__ import annotations

import atexit
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

from faas.packing import pack_arguments, pack_function, unpack_value

RUNNER = Path(__file__).parents[3] / "endpoints" / "runner.py"
_SITE = """
import importlib.util, pickle, sys

specification = importlib.util.spec_from_file_location("runner", sys.argv[1])
runner = importlib.util.module_from_spec(specification)
specification.loader.exec_module(runner)
path, modules = list(sys.path), set(sys.modules)
while True:
    try:
        archive, name, python, code, payload = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    sys.path[:0] = [archive] if archive else []
    function = runner.LoadedFunction({"name": name, "python": python, "id": "0" * 36}, code)
    sys.modules["__main__"] = function.main
    try:
        call = function.load()
        args, kwargs = runner.unpack_arguments({}, payload, function)
        answer = runner.pack(call(*args, **kwargs), False, function.main)
    except Exception as error:
        answer = runner.pack(error, False, function.main)
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    sys.path[:] = path
    for loaded in [each for each in sys.modules if archive in str(getattr(sys.modules[each], "__file__", None))]:
        if archive:
            del sys.modules[loaded]
"""


@lru_cache(maxsize=1)
def _site() -> subprocess.Popen[bytes]:
    site = subprocess.Popen(
        [sys.executable, "-I", "-c", _SITE, str(RUNNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tempfile.gettempdir(),
    )
    atexit.register(site.communicate)
    return site


def run_at_a_site(
    function: Callable[..., Any], *args: Any, modules: Iterable[ModuleType | str] = (), **kwargs: Any
) -> Any:
    """Pack a function and its arguments, run it elsewhere, and unpack what it returns or raises."""
    packed = pack_function(function, modules)
    payload = pack_arguments(args, kwargs).payload
    site = _site()
    with tempfile.NamedTemporaryFile(suffix=".zip") as archive:
        archive.write(packed.modules)
        archive.flush()
        place = archive.name if packed.modules else ""
        stdin, stdout = cast("IO[bytes]", site.stdin), cast("IO[bytes]", site.stdout)
        pickle.dump((place, packed.name, packed.python_version, packed.code, payload), stdin)
        stdin.flush()
        return unpack_value(pickle.load(stdout))
