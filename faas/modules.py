"""Which modules exist only on this machine, and how they are shipped: as a zip of their files."""

from __future__ import annotations

import importlib
import importlib.util
import io
import site
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from faas.errors import SerializationFailed

_EPOCH = (1980, 1, 1, 0, 0, 0)
_NOT_SHIPPED = frozenset({"__pycache__", ".git", ".hg", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache"})
_INSTALLED = ("site-packages", "dist-packages")

shipped: set[str] = set()
"""Top-level modules some function of this process carries along: values refer to their classes by name."""


def top_level(module: str) -> str:
    """``pkg`` of ``pkg.sub.leaf``."""
    return module.partition(".")[0]


@lru_cache(maxsize=1)
def _installed_places() -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths.add(site.getusersitepackages())
    return tuple(f"{Path(path).resolve()}/" for path in paths if path)


@lru_cache(maxsize=16384)
def is_local(module: str) -> bool:
    """Whether a module is the user's own: neither of Python nor installed, so absent at a site.

    Args:
        module: a dotted name; need not be imported yet.

    Returns:
        True for ``__main__``, scripts, notebooks, and modules found beside them or on ``PYTHONPATH``.
    """
    top = top_level(module)
    if top == "__main__":
        return True
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or top in ("faas", "dill"):
        return False
    loaded = sys.modules.get(module) or sys.modules.get(top)
    if loaded is not None:
        spec, file = getattr(loaded, "__spec__", None), getattr(loaded, "__file__", None)
        if spec is None and file is None:
            return True  # made by hand: types.ModuleType("x")
    else:
        try:
            spec, file = importlib.util.find_spec(top), None
        except (ImportError, ValueError):
            return False
        if spec is None:
            return False  # nowhere here, so no more local than elsewhere
    places = [file or (spec.origin if spec else None), *(spec.submodule_search_locations or () if spec else ())]
    paths = [place for place in places if place and place not in ("built-in", "frozen", "namespace")]
    return any(_is_users_own(path) for path in paths)


def _is_users_own(path: str) -> bool:
    if any(part in _INSTALLED for part in Path(path).parts):
        return False
    return not str(Path(path).resolve()).startswith(_installed_places())


def pack_modules(modules: Iterable[ModuleType | str]) -> bytes:
    """Pack modules and whole packages into a zip: the same files give the same bytes, anywhere.

    Args:
        modules: modules, or their names; of a submodule the whole top-level package is packed.

    Returns:
        The zip archive; empty for no modules.

    Raises:
        SerializationFailed: a module cannot be found, or has no files.
    """
    files: dict[str, Path] = {}
    for module in modules:
        name = top_level(module if isinstance(module, str) else module.__name__)
        files.update(_files(name))
        shipped.add(name)
    if not files:
        return b""
    archive = io.BytesIO()
    # Stored, not deflated: zlib's output differs between its versions, and the function's id hangs on it.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for place in sorted(files):
            entry = zipfile.ZipInfo(place, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, files[place].read_bytes())
    return archive.getvalue()


def _files(name: str) -> Iterator[tuple[str, Path]]:
    """A top-level module's files, by their place in the archive."""
    if name in sys.stdlib_module_names:
        raise SerializationFailed(f"modules: {name!r} is part of Python and need not be sent. Leave it out.")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise SerializationFailed(
            f"modules: {name!r} cannot be imported here: {error}. Name a module or package that can."
        ) from error
    found = False
    for directory in getattr(module, "__path__", ()):
        root = Path(directory)
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and path.suffix != ".pyc" and _NOT_SHIPPED.isdisjoint(inside.parts):
                found = True
                yield f"{name}/{inside.as_posix()}", path
    if not found and not hasattr(module, "__path__") and getattr(module, "__file__", None) and name != "__main__":
        path = Path(str(module.__file__))
        if path.is_file():
            found = True
            yield path.name, path
    if not found:
        raise SerializationFailed(
            f"modules: {name!r} has no files that could be sent. "
            "Put the code in a file beside the script and import it, or install it at the site."
        )
