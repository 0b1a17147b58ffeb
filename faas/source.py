"""What a function is made of: whether its source says it all, which modules it imports, what in it does not pickle."""

from __future__ import annotations
import __future__

import ast
import contextlib
import dis
import functools
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from faas import byvalue
from faas.errors import SerializationFailed

_LATE_ANNOTATIONS = "from __future__ import annotations\n"
_CALLING = ("CALL", "PRECALL", "PUSH_NULL", "KW_NAMES", "CACHE", "NOP", "EXTENDED_ARG")
_PYTEST_REWROTE = "@pytest_ar"


def name_of(function: Callable[..., Any]) -> str:
    """A name to register a callable under."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", None) or type(inner).__name__
    return "lambda" if name == "<lambda>" else str(name)


def check_callable(function: Callable[..., Any], name: str) -> None:
    """Refuse what could not run at a site.

    Raises:
        SerializationFailed: not callable, or a coroutine function.
    """
    if not callable(function):
        raise SerializationFailed(f"{function!r} is not callable. Give a function.")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SerializationFailed(
            f"{name} is a coroutine function; a site calls plain ones. Wrap it: lambda *a: asyncio.run({name}(*a))."
        )


def portable_source(function: Callable[..., Any]) -> str | None:
    """The source of a function that needs nothing but itself; None for every other callable.

    The source is compared, compiled, with the function: a file edited since it was imported is not what runs here.
    """
    if type(function) is not FunctionType or not _stands_alone(function):
        return None
    try:
        text = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError, ValueError):
        return None  # typed at the prompt, or only part of a statement
    if len(tree.body) != 1 or not isinstance(definition := tree.body[0], ast.FunctionDef):
        return None
    if definition.name != function.__name__:
        return None
    if definition.decorator_list:
        # What they made of it stays here; what travels is the function that they were given.
        text = "".join(text.splitlines(keepends=True)[definition.lineno - 1 :])
    defaults = [*definition.args.defaults, *(value for value in definition.args.kw_defaults if value is not None)]
    if any(isinstance(part, ast.Name) for default in defaults for part in ast.walk(default)):
        return None
    if _has_annotations(definition):
        # They may name anything, and are looked up when the function is made: not at the site.
        text = _LATE_ANNOTATIONS + text
    namespace: dict[str, Any] = {}
    try:
        exec(compile(text, "<source>", "exec", dont_inherit=True), namespace)
    except Exception:
        return None
    return text if _same(function, namespace[function.__name__]) else None


def _stands_alone(function: FunctionType) -> bool:
    name = function.__name__
    if name != function.__qualname__ or not name.isidentifier() or function.__closure__ or function.__dict__:
        return False
    home = function.__globals__
    foreign = {other for other in byvalue.global_names(function.__code__) if other in home and other != name}
    if _PYTEST_REWROTE in foreign:
        foreign -= {_PYTEST_REWROTE, "@py_builtins"}
    own = home.get(name, function)
    if own is not function and getattr(own, "__wrapped__", None) is function:
        # A decorator's work goes by that name, which is not what calls itself at the site.
        return not foreign and name not in byvalue.global_names(function.__code__)
    return not foreign and own is function


def _has_annotations(definition: ast.FunctionDef) -> bool:
    every = definition.args
    arguments = [*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg]
    return definition.returns is not None or any(argument and argument.annotation for argument in arguments)


def _same(function: FunctionType, compiled: FunctionType) -> bool:
    if _PYTEST_REWROTE in byvalue.global_names(function.__code__):
        return True  # its assertions look different compiled, and the source is what its author wrote
    if function.__defaults__ != compiled.__defaults__ or function.__kwdefaults__ != compiled.__kwdefaults__:
        return False
    return _same_code(function.__code__, compiled.__code__)


def _same_code(one: CodeType, other: CodeType) -> bool:
    if one.co_varnames != other.co_varnames or _steps(one) != _steps(other):
        return False
    late = __future__.annotations.compiler_flag
    if (one.co_flags | late) != (other.co_flags | late) or len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _same_code(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else (type(a), a) == (type(b), b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def _steps(code: CodeType) -> list[tuple[str, object]]:
    """What code does, without how calls are arranged: ``math.pow(x)`` compiles differently where math is a global."""
    return [
        (step.opname.replace("LOAD_METHOD", "LOAD_ATTR"), _operand(step))
        for step in dis.get_instructions(code)
        if not step.opname.startswith(_CALLING)
    ]


def _operand(step: dis.Instruction) -> object:
    if step.opcode in dis.hasjabs or step.opcode in dis.hasjrel or isinstance(step.argval, CodeType):
        return None  # where to jump depends on how calls are arranged; nested code is compared for itself
    return step.argval


def modules_imported(function: Callable[..., Any]) -> set[str]:
    """Modules a function's body imports when it runs."""
    code = getattr(function, "__code__", None)
    return _imports(code) if isinstance(code, CodeType) else set()


def _imports(code: CodeType) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME" and step.argval}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _imports(constant)
    return names


def unpackable_part(function: Callable[..., Any], by_name: frozenset[str]) -> str:
    """Which global or closure variable does not pickle, as the start of a sentence; empty if that is not it."""
    if not isinstance(function, FunctionType):
        return ""
    used: dict[str, Any] = {
        name: function.__globals__[name]
        for name in byvalue.global_names(function.__code__)
        if name in function.__globals__
    }
    with contextlib.suppress(TypeError, ValueError):
        used.update(inspect.getclosurevars(function).nonlocals)
    for name, value in used.items():
        if value is function or isinstance(value, ModuleType):
            continue
        try:
            byvalue.dumps(value, by_name)
        except Exception:
            return f"it uses {name!r} ({type(value).__qualname__}) from outside itself, which does not pickle: "
    return ""
