"""Values and functions to bytes and back: what travels between a client and a site's runner."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import platform
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from uuid import UUID, uuid5

import msgspec

from faas.errors import SerializationFailed
from faas.models import MAX_CODE_BYTES
from faas.modules import is_local, pack_modules, shipped, top_level
from faas.references import collecting, marked

PICKLE = b"pk\n"
JSON = b"11\n"
BASE64_DILL = b"00\n"
"""Globus Compute's own way with data; understood, not made."""
SOURCE = "st"
DILL_CODE = "01"

_GLOBAL_OPCODE = b"\x93"
_BY_VALUE_MARK = b"dill._dill"
_BYTE_CODE = b"_create_code"
_BYTE_CODE_OF = b"\npython "


class UnshippedModuleWarning(UserWarning):
    """A function imports a module that exists only on this machine and is not shipped with it."""


# Values


def pack_value(value: Any) -> bytes:
    """Pack an argument, a result or an exception.

    Args:
        value: anything pickle or dill can handle; classes of scripts and local modules go by value.

    Returns:
        The bytes, with a 3-byte header.

    Raises:
        SerializationFailed: it cannot be packed; the message names the part at fault.
    """
    try:
        body = pickle.dumps(value, 5)
        if _GLOBAL_OPCODE not in body or not _names_local_module(body):
            return PICKLE + body
    except Exception:  # anything at all: the value's own __reduce__ may raise
        pass
    from faas import byvalue  # takes dill, which most values do not

    try:
        body = byvalue.dumps(value, frozenset(shipped))
        return PICKLE + body + (_byte_code_of_this_python() if _BYTE_CODE in body else b"")
    except Exception as error:
        raise SerializationFailed(_cannot_pack("The value", value, error)) from error


class PackedArguments(msgspec.Struct, frozen=True, gc=False):
    """A task's arguments, and what they refer to, each once; a submission lists it under the same names."""

    payload: bytes = b""
    """Empty for no arguments."""
    dependencies: list[str] = []
    """Ids of tasks whose results they refer to."""
    objects: list[str] = []
    """Ids of objects."""
    files: list[str] = []
    """Names of files to read."""
    outputs: list[str] = []
    """Names of files to write."""


def pack_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> PackedArguments:
    """Pack a task's arguments.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.

    Returns:
        The payload, and everything it refers to.

    Raises:
        SerializationFailed: an argument cannot be packed; the message says which.
    """
    if not args and not kwargs:
        return PackedArguments()
    with collecting() as found:
        try:
            payload = pack_value((args, kwargs))
            if found:
                payload = pack_value(marked(args, kwargs))
        except SerializationFailed as error:
            raise _which_argument(args, kwargs) or error from error.__cause__
    if not found:
        return PackedArguments(payload)
    names: dict[str, list[str]] = {"task": [], "object": [], "file": [], "output": []}
    for kind, identifier in dict.fromkeys(found):
        names[kind].append(identifier)
    return PackedArguments(payload, names["task"], names["object"], names["file"], names["output"])


def _which_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> SerializationFailed | None:
    named = [(f"Argument {place}", value) for place, value in enumerate(args)]
    named += [(f"Argument {name}=", value) for name, value in kwargs.items()]
    for name, value in named:
        try:
            pack_value(value)
        except SerializationFailed as error:
            return SerializationFailed(_cannot_pack(name, value, error.__cause__ or error))
    return None


def _cannot_pack(what: str, value: Any, error: BaseException) -> str:
    if isinstance(error, SerializationFailed):
        return str(error)
    kind = type(value)
    return (
        f"{what} ({kind.__module__}.{kind.__qualname__}) cannot be packed: {type(error).__name__}: {error}. "
        "Open files, locks, connections and generators cannot travel: pass a path, a list, or make it in the function."
    )


def unpack_value(data: bytes | bytearray | memoryview) -> Any:
    """Unpack what :func:`pack_value` or a runner packed. Runs code of whoever packed it, as every unpickling does.

    Args:
        data: header and body.

    Returns:
        The value; its classes are those of this process where it has them.

    Raises:
        SerializationFailed: it does not unpack here; the message says what is missing.
    """
    header, body = bytes(data[:3]), memoryview(data)[3:]
    try:
        if header == PICKLE:
            if not isinstance(data, memoryview) and _BY_VALUE_MARK not in data:
                return pickle.loads(body)
            from faas import byvalue

            _check_byte_code(bytes(body))
            return byvalue.loads(body)
        if header == JSON:
            return json.loads(bytes(body))
        if header == BASE64_DILL:
            from faas import byvalue

            return byvalue.loads(base64.b64decode(bytes(body)))
    except SerializationFailed:
        raise
    except ImportError as error:
        raise SerializationFailed(
            f"The value needs the module {error.name!r}, which this Python does not have. Install it here, "
            "or return plain values."
        ) from error
    except Exception as error:
        raise SerializationFailed(
            f"The value does not unpack here ({sys.version.split()[0]}): {type(error).__name__}: {error}. "
            "Use the same versions of Python and packages here and at the site, or return plain values."
        ) from error
    raise SerializationFailed(f"Bytes that start with {header!r} are no packed value.")


def _byte_code_of_this_python() -> bytes:
    """What follows a pickle that holds byte code, and is ignored by unpickling; runners do the same."""
    return _BYTE_CODE_OF + b"%d.%d" % sys.version_info[:2]


def _check_byte_code(body: bytes) -> None:
    """Refuse byte code of another Python: loaded all the same, it would crash this process when it is called."""
    start = body.rfind(_BYTE_CODE_OF, len(body) - 20) if _BYTE_CODE in body else -1
    if start >= 0 and body[start:] != _byte_code_of_this_python():
        theirs = body[start + len(_BYTE_CODE_OF) :].decode(errors="replace")
        raise SerializationFailed(
            f"The value holds functions or classes of Python {theirs} by value, as byte code that this Python "
            f"{platform.python_version()} cannot run. Return plain values, define the classes in a module that both "
            "sides have, or use the same minor version here and at the site."
        )


_marks: tuple[tuple[int, int], list[bytes]] = ((0, 0), [])


def _names_local_module(body: bytes) -> bool:
    """Whether a pickle refers by name to a class or function of a local module.

    A pickle (protocol 4 and up) spells a module as SHORT_BINUNICODE, length, name, MEMOIZE: cheap to look for,
    and a false alarm costs only time.
    """
    global _marks
    state, marks = _marks
    now = (len(sys.modules), len(shipped))
    if state != now:
        names = [name for name in list(sys.modules) if is_local(name) and top_level(name) not in shipped]
        marks = [b"\x8c" + bytes([len(name)]) + name for text in names if len(name := text.encode()) < 256]
        _marks = (now, marks)
    return any(mark in body for mark in marks)


# Functions


@dataclass(frozen=True)
class PackedFunction:
    """A function ready to be registered."""

    name: str
    serializer: str
    """Globus Compute's id of the strategy: ``st`` or ``01``."""
    code: bytes
    modules: bytes
    python_version: str


def function_id(owner_id: str, serializer: str, code: bytes, modules: bytes = b"") -> str:
    """The id of a function: the same owner and content give the same id, everywhere.

    Args:
        owner_id: the identity that registers it.
        serializer: Globus Compute's id of the strategy.
        code: the packed code, header included.
        modules: the zip of shipped modules; empty for none.

    Returns:
        A UUID.

    Raises:
        ValueError: ``owner_id`` is not a UUID.
    """
    parts = (serializer, hashlib.sha256(code).hexdigest(), hashlib.sha256(modules).hexdigest())
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return str(uuid5(UUID(owner_id), digest))


def pack_function(function: Callable[..., Any], modules: Iterable[ModuleType | str] = ()) -> PackedFunction:
    """Pack a function, and the modules it needs, and load it once to see that it will load.

    Self-contained module-level functions travel as source, so they run under any version of Python; others go by
    value through dill, helpers of local modules included.

    Args:
        function: any callable: a function, lambda, ``functools.partial``, bound method or callable object.
        modules: local modules or packages to ship; the function then refers to them by name.

    Returns:
        The packed function.

    Raises:
        SerializationFailed: it cannot be packed; the message says why and what to change.

    Warns:
        UnshippedModuleWarning: it needs a local module that is not listed.
    """
    from faas import source  # dis, ast and inspect: only who registers needs them

    if isinstance(modules, (str, ModuleType)):
        modules = (modules,)
    modules = tuple(modules)
    name = source.name_of(function)
    source.check_callable(function, name)
    archive = pack_modules(modules)
    by_name = frozenset(top_level(module if isinstance(module, str) else module.__name__) for module in modules)
    text = source.portable_source(function)
    if text is not None:
        serializer, body = SOURCE, f"{name}:{text}"
        needed = source.modules_imported(function)
    else:
        serializer = DILL_CODE
        body, needed = _pack_by_value(function, name, by_name)
    code = f"{serializer}\n{body}".encode()
    if len(code) + len(archive) > MAX_CODE_BYTES:
        raise SerializationFailed(
            f"{name} takes {(len(code) + len(archive)) / 1e6:.1f} MB with what it refers to and its modules; "
            f"{MAX_CODE_BYTES / 1e6:.1f} MB is the limit. Pass large data as arguments instead of globals."
        )
    _warn_of_unshipped(name, {top_level(module) for module in needed} - by_name)
    return PackedFunction(name, serializer, code, archive, platform.python_version())


def _pack_by_value(function: Callable[..., Any], name: str, by_name: frozenset[str]) -> tuple[str, set[str]]:
    from faas import byvalue, source

    try:
        pickled = byvalue.dumps(function, by_name)
    except Exception as error:
        culprit = source.unpackable_part(function, by_name)
        raise SerializationFailed(
            f"{name} cannot be packed: {culprit}{type(error).__name__}: {error}. "
            "Make what it needs inside the function, or pass it as an argument."
        ) from error
    try:
        needed = byvalue.modules_needed(pickled)
    except Exception as error:
        raise SerializationFailed(
            f"{name} was packed but does not load again: {type(error).__name__}: {error}. "
            "Move it and what it uses to a module of its own, and list that in modules=[…]."
        ) from error
    return base64.encodebytes(pickled).decode("ascii"), needed | source.modules_imported(function)


def _warn_of_unshipped(name: str, modules: set[str]) -> None:
    for module in sorted(module for module in modules if is_local(module)):
        if module == "__main__":
            continue
        warnings.warn(
            f"{name} needs the module {module!r}, which is local to this machine. "
            f"Ship it: register_function({name}, modules=[{module}]); or see that it is installed at the site.",
            UnshippedModuleWarning,
            stacklevel=4,
        )
