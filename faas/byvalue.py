"""A pickler for what exists only here: functions and classes of scripts, notebooks and local modules, by value.

It extends dill's. dill packs a function of an importable module as its name, which no site could import, and gives
each function a copy of the globals of its own; here all functions of a module share one dictionary, as they do at
home. The outcome is loaded by plain dill.
"""

from __future__ import annotations

import dis
import importlib
import io
import pickle
import sys
from collections.abc import Iterator
from enum import Enum, EnumMeta
from functools import partial
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

import dill
from dill import _dill

from faas.errors import SerializationFailed
from faas.modules import is_local, top_level

PROTOCOL = 5
_GLOBAL_NAMES = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})
_PLAIN = (str, bytes, int, float, bool, type(None))


def dumps(value: Any, by_name: frozenset[str] = frozenset()) -> bytes:
    """Pickle a value, packing functions and classes of local modules by value.

    Args:
        value: anything.
        by_name: top-level local modules that are shipped along, so their contents go by name.

    Returns:
        The pickle, for ``dill.loads``.
    """
    file = io.BytesIO()
    _ByValue(file, by_name).dump(value)
    return file.getvalue()


def global_names(code: CodeType) -> set[str]:
    """Names a function's code looks up or sets in its module, nested functions and classes included."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in _GLOBAL_NAMES}
    for nested in _nested(code):
        names |= global_names(nested)
    return names


def attribute_names(code: CodeType) -> set[str]:
    """All names in a function's code: among them the submodules it reaches as ``package.submodule``."""
    return set(code.co_names).union(*(attribute_names(nested) for nested in _nested(code)))


def _nested(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


class _ByValue(dill.Pickler):  # type: ignore[misc]  # dill is untyped
    def __init__(self, file: io.BytesIO, by_name: frozenset[str]) -> None:
        super().__init__(file, protocol=PROTOCOL, recurse=True)
        self._by_name = by_name
        self._namespaces: dict[int, dict[str, Any]] = {}
        self._sent_names: dict[int, set[str]] = {}
        self._kept: list[Any] = []  # the memo goes by id: what it knows must not be collected

    def goes_by_value(self, obj: Any) -> bool:
        """Whether a function or class is defined where no site can import it from."""
        module = getattr(obj, "__module__", None)
        if not isinstance(module, str):
            return False
        return is_local(module) and top_level(module) not in self._by_name

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        kind = type(obj)
        if id(obj) not in self.memo:
            if kind is FunctionType and (self.goes_by_value(obj) or not _dill._locate_function(obj, self)):
                return self._save_function(obj)
            if kind is ModuleType or isinstance(obj, ModuleType):
                return self._save_module(obj)
            if isinstance(obj, EnumMeta) and self.goes_by_value(obj) and len(obj.__bases__) == 1:
                return self._save_enum(obj)
            if kind is CodeType and obj.co_filename != PurePath(obj.co_filename).name:
                # Where the file lay is nobody's business, and differs each time for a notebook's cell.
                obj = obj.replace(co_filename=PurePath(obj.co_filename).name)
                self._kept.append(obj)
            elif kind in (set, frozenset) and obj and all(type(item) in _PLAIN for item in obj):
                # Sorted, so that the same code gives the same bytes whatever the hash seed.
                ordered = sorted(obj, key=repr)
                self._kept.append(ordered)
                self.save_reduce(kind, (ordered,), obj=obj)
                return None
        super().save(obj, save_persistent_id)
        return None

    def _save_module(self, module: ModuleType) -> None:
        if module.__name__ == "__main__":
            raise SerializationFailed(
                "It uses the module __main__ itself, which is another one at the site. Pass what it needs as arguments."
            )
        self.save_reduce(importlib.import_module, (module.__name__,), obj=module)

    def _save_enum(self, enumeration: EnumMeta) -> None:
        """Make an enumeration by calling its base, as in ``Enum("Color", [("RED", 1)])``; dill cannot."""
        (base,) = enumeration.__bases__
        known: dict[str, Enum] = dict(enumeration.__members__)
        members = [(name, member.value) for name, member in known.items()]
        make = partial(base, module=enumeration.__module__, qualname=enumeration.__qualname__)
        self._kept.append(make)
        self.save_reduce(_dill._create_type, (make, enumeration.__name__, members), obj=enumeration)
        own = vars(enumeration)
        generated = {*vars(make(enumeration.__name__, members)), *known}
        for name in own:
            if name not in generated or (name == "__doc__" and own[name]):
                self._afterwards(setattr, enumeration, name, own[name])

    def _save_function(self, function: FunctionType) -> None:
        """Make the function first, with empty globals and cells; fill those once it is known: it may be in them."""
        namespace = self._namespace(function)
        cells = [cell for cell in function.__closure__ or () if id(cell) not in self.memo]
        for cell in cells:
            self.save_reduce(_dill._create_cell, (None,), obj=cell)
            self.write(pickle.POP)
        self.save_reduce(
            _dill._create_function,
            (function.__code__, namespace, function.__name__, None, function.__closure__),
            obj=function,
        )
        for cell in cells:
            try:
                contents = cell.cell_contents
            except ValueError:  # assigned later, or never
                self._afterwards(delattr, cell, "cell_contents")
                continue
            self._afterwards(setattr, cell, "cell_contents", contents)
        self._fill(function, namespace)
        attributes = {
            name: value
            for name in ("__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__annotations__")
            if (value := getattr(function, name, None)) is not None
        }
        self.save((function.__dict__ or None, attributes))
        self.write(pickle.BUILD)

    def _namespace(self, function: FunctionType) -> dict[str, Any]:
        """The globals the function will have: one dictionary for all functions of a module."""
        home = id(function.__globals__)
        if home not in self._namespaces:
            self._namespaces[home] = {"__name__": function.__globals__.get("__name__", function.__module__)}
            self._sent_names[home] = {"__name__", "__builtins__"}
            self._kept.append(function.__globals__)
        return self._namespaces[home]

    def _fill(self, function: FunctionType, namespace: dict[str, Any]) -> None:
        home = function.__globals__
        sent = self._sent_names[id(home)]
        needed = {name: home[name] for name in sorted(global_names(function.__code__) - sent) if name in home}
        sent.update(needed)
        used = attribute_names(function.__code__)
        for value in list(needed.values()):
            if isinstance(value, ModuleType):
                for submodule in _submodules(value, used):
                    self._afterwards(importlib.import_module, submodule)
        if needed:
            self._kept.append(needed)
            self._afterwards(_dill._setitems, namespace, needed)

    def _afterwards(self, call: Any, *arguments: Any) -> None:
        """Call at loading time: now, or when the outermost class being made exists, for it may be in the arguments."""
        outermost = next(iter(self._postproc.values()), None)
        if outermost is not None:
            outermost.insert(0, (call, arguments))  # dill works this list off from its end
            return
        self.save_reduce(call, arguments)
        self.write(pickle.POP)


def _submodules(package: ModuleType, used: set[str]) -> Iterator[str]:
    """Imported submodules of a package that code reaches as attributes: ``xml.etree.ElementTree``."""
    prefix = f"{package.__name__}."
    for name in sorted(sys.modules):
        if name.startswith(prefix) and used.issuperset(name[len(prefix) :].split(".")):
            yield name


_locate_anywhere = _dill._locate_function


def _locate(obj: Any, pickler: Any = None) -> bool:
    """Answer dill's question whether a class can be found by name: no for local ones, to our pickler alone."""
    if isinstance(pickler, _ByValue) and pickler.goes_by_value(obj):
        return False
    return bool(_locate_anywhere(obj, pickler))


_dill._locate_function = _locate


class _Loader(dill.Unpickler):  # type: ignore[misc]  # dill is untyped
    """Loads what :func:`dumps` made, noting the modules it needs, and preferring the classes that exist here."""

    def __init__(self, file: io.BytesIO, classes_from_here: bool) -> None:
        super().__init__(file, ignore=True)
        self._classes_from_here = classes_from_here
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.modules.add(module)
        found = super().find_class(module, name)
        if found is importlib.import_module:
            return self._import
        if self._classes_from_here and found is _dill._create_type:
            return _class_from_here
        return found

    def _import(self, name: str) -> ModuleType:
        self.modules.add(name)
        return importlib.import_module(name)


def _class_from_here(kind: Any, name: str, *definition: Any) -> Any:
    """The class of this process that was packed by value and came back, so that ``isinstance`` holds."""
    if isinstance(kind, partial):  # an enumeration; see _save_enum
        home, names = kind.keywords, {member for member, _ in definition[0]}
    else:
        home = names = definition[1]
    here: Any = sys.modules.get(str(home.get("__module__", home.get("module", ""))))
    for part in str(home.get("__qualname__", home.get("qualname", name))).split("."):
        here = getattr(here, part, None)
    # Python adds names of its own as classes are used, such as __slotnames__ once one was pickled.
    users = {member for member in names if not member.startswith("__") and member != "_abc_impl"}
    if isinstance(here, type) and users <= set(vars(here)):
        return here
    return _dill._create_type(kind, name, *definition)


def loads(data: bytes | memoryview) -> Any:
    """Load a value, with classes that exist in this process taken from it."""
    return _Loader(io.BytesIO(data), classes_from_here=True).load()


def modules_needed(data: bytes) -> set[str]:
    """Load a pickle once, as a site will, and tell which modules that took."""
    loader = _Loader(io.BytesIO(data), classes_from_here=False)
    loader.load()
    return loader.modules
