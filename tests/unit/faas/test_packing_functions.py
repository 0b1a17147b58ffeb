"""Functions of every shape, packed here and run where none of our modules exist."""

from __future__ import annotations

import functools
import importlib
import math
import subprocess
import sys
import textwrap
import uuid
import warnings
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from faas.errors import SerializationFailed
from faas.packing import UnshippedModuleWarning, function_id, pack_function
from tests.unit.faas.at_a_site import run_at_a_site

FACTOR = 3
CALLS: list[int] = []
_cache: dict[str, int] | None = None


def alone(number: int, power: int = 2) -> int:
    """Needs nothing from outside."""
    import math

    return int(math.pow(number, power))


def alone_and_annotated(numbers: list[int], at: Path | None = None) -> Iterator[Any] | int:
    return sum(numbers)


def recursive(number: int) -> int:
    return 1 if number < 2 else number * recursive(number - 1)


def with_nested(numbers: list[int]) -> list[int]:
    def twice(number: int) -> int:
        return 2 * number

    return [twice(number) for number in numbers if number > min(numbers)]


def asserting(number: int) -> int:
    assert number > 0, "pytest rewrites this"
    return number


def helper(number: int) -> int:
    return number * FACTOR


def with_helper(number: int) -> int:
    return helper(number) + 1


def with_module(number: float) -> float:
    return math.sqrt(number)


def with_submodule(text: str) -> str:
    return xml.etree.ElementTree.fromstring(text).tag


def with_global_state(number: int) -> int:
    remember(number)
    return len(CALLS)


def remember(number: int) -> None:
    CALLS.append(number)


def filled() -> dict[str, int]:
    global _cache
    if _cache is None:
        fill()
    assert _cache is not None
    return _cache


def fill() -> None:
    global _cache
    _cache = {"filled": 1}


def default_from_global(number: int, factor: int = FACTOR) -> int:
    return number * factor


def even(number: int) -> bool:
    return True if number == 0 else odd(number - 1)


def odd(number: int) -> bool:
    return False if number == 0 else even(number - 1)


@functools.lru_cache(maxsize=3)
def cached(number: int) -> int:
    return number + FACTOR


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return ("wrapped", function(*args))

    return wrapper


@decorated
def wrapped(number: int) -> int:
    return number


class Detector:
    pixels = 4

    def __init__(self, gain: int) -> None:
        self.gain = gain

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(self.gain)

    def __call__(self, number: int) -> int:
        return self.gain * number

    def read(self, number: int) -> int:
        return self.gain * number + self.pixels

    def doubled(self) -> Detector:
        return Detector(2 * self.gain)

    @staticmethod
    def fixed(number: int) -> int:
        return helper(number)

    @classmethod
    def made(cls, number: int) -> int:
        return cls(number).gain


class LargeDetector(Detector):
    def read(self, number: int) -> int:
        return super().read(number) + 1000


def make_detector(gain: int) -> Detector:
    return LargeDetector(gain)


def closure(offset: int) -> Any:
    def add(number: int) -> int:
        return helper(number) + offset

    return add


def recursive_closure() -> Any:
    def countdown(number: int) -> list[int]:
        return [number, *countdown(number - 1)] if number else []

    return countdown


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        (alone, (3,), 9),
        (alone_and_annotated, ([1, 2],), 3),
        (recursive, (5,), 120),
        (with_nested, ([1, 2, 3],), [4, 6]),
        (asserting, (1,), 1),
    ],
)
def test_self_contained_functions_travel_as_source(function: Any, args: tuple[Any, ...], value: Any) -> None:
    assert pack_function(function).serializer == "st"
    assert run_at_a_site(function, *args) == value


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        (with_helper, (2,), 7),
        (with_module, (9.0,), 3.0),
        (with_submodule, ("<a/>",), "a"),
        (with_global_state, (1,), 1),
        (filled, (), {"filled": 1}),
        (default_from_global, (2,), 6),
        (even, (10,), True),
        (cached, (1,), 4),
        (wrapped, (5,), ("wrapped", 5)),
        (closure(5), (2,), 11),
        (recursive_closure(), (2,), [2, 1]),
        (lambda number: helper(number) + 1, (1,), 4),
        (functools.partial(with_helper, 4), (), 13),
        (functools.partial(closure(1), number=2), (), 7),
        (Detector(3), (2,), 6),
        (Detector(3).read, (2,), 10),
        (LargeDetector(3).read, (2,), 1010),
        (Detector.fixed, (2,), 6),
        (Detector.made, (2,), 2),
        (pow, (2, 5), 32),
        (math.hypot, (3, 4), 5.0),
        (str.upper, ("a",), "A"),
        (dict, ([("a", 1)],), {"a": 1}),
    ],
)
def test_other_callables_travel_by_value(function: Any, args: tuple[Any, ...], value: Any) -> None:
    assert pack_function(function).serializer == "01"
    assert run_at_a_site(function, *args) == value


def test_a_class_of_this_module_comes_back_as_itself() -> None:
    for _ in range(2):
        detector = run_at_a_site(make_detector, 2)
        assert type(detector) is LargeDetector
        assert detector == LargeDetector(2)
        assert type(run_at_a_site(LargeDetector.doubled, detector)) is Detector


def test_an_exception_class_of_this_module_comes_back_as_itself() -> None:
    assert isinstance(run_at_a_site(raising), CalibrationError)


class CalibrationError(Exception):
    pass


def raising() -> None:
    raise CalibrationError("no beam")


def test_the_same_function_packs_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").write_text(
        "K = {'a', 'b', 'c'}\n"
        "def f(x):\n    return x in {'p', 'q', 'r', 's'} or x in K or g(x)\n"
        "def g(x):\n    return x\n"
    )
    script = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); import analysis\n"
        "from faas.packing import pack_function\nprint(hashlib.sha256(pack_function(analysis.f).code).hexdigest())"
    )
    root = Path(__file__).parents[3]
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


def test_a_function_of_a_script_brings_its_helpers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            from tests.unit.faas.at_a_site import run_at_a_site

            @dataclass
            class Peak:
                height: int

            def scaled(peak):
                return Peak(peak.height * SCALE)

            def analyse(peak):
                return scaled(peak)

            SCALE = 10
            if __name__ == "__main__":
                peak = run_at_a_site(analyse, Peak(4))
                print(peak == Peak(40), type(peak) is Peak)
            """
        )
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package that exists only here, with a data file."""
    name = f"laboratory_{uuid.uuid4().hex}"
    package = tmp_path / name
    (package / "tables").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import optics\nLENSES = optics.LENSES\n")
    (package / "optics.py").write_text(
        "from pathlib import Path\nLENSES = 2\n"
        "def table():\n    return Path(__file__).name\n"
        "def lenses(n):\n    return n * LENSES\n"
        "class Lens:\n    pass\n"
    )
    (package / "tables" / "lines.txt").write_text("Fe 6.4\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    for loaded in [each for each in sys.modules if each.startswith(name)]:
        del sys.modules[loaded]


def test_modules_are_shipped_and_used_by_name(laboratory: ModuleType) -> None:
    optics = laboratory.optics

    def use(number: int) -> Any:
        return optics.lenses(number), optics.Lens.__module__

    value, module = run_at_a_site(use, 4, modules=[laboratory])
    assert value == 8
    assert module == f"{laboratory.__name__}.optics"
    assert run_at_a_site(optics.lenses, 5, modules=[laboratory.__name__]) == 10


def test_a_module_not_shipped_is_warned_of(laboratory: ModuleType) -> None:
    optics = laboratory.optics

    def use(number: int) -> Any:
        return optics.lenses(number)

    with pytest.warns(UnshippedModuleWarning, match=rf"modules=\[{laboratory.__name__}\]"):
        pack_function(use)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack_function(use, [laboratory])


def test_a_module_imported_inside_is_warned_of(laboratory: ModuleType) -> None:
    namespace: dict[str, Any] = {"__name__": "notebook"}
    exec(f"def use():\n    import {laboratory.__name__}\n    return {laboratory.__name__}.LENSES\n", namespace)
    with pytest.warns(UnshippedModuleWarning):
        pack_function(namespace["use"])


def test_a_function_of_a_local_module_goes_by_value(laboratory: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_at_a_site(laboratory.optics.lenses, 3) == 6


def test_the_same_files_give_the_same_archive(laboratory: ModuleType) -> None:
    first = pack_function(alone, [laboratory]).modules
    for path in Path(str(laboratory.__file__)).parent.rglob("*"):
        path.touch()
    assert pack_function(alone, laboratory).modules == first
    assert b"lines.txt" in first


@pytest.mark.parametrize("module", ["no_such_module_anywhere", "math", "json"])
def test_a_module_without_files_is_refused(module: str) -> None:
    with pytest.raises(SerializationFailed, match=module):
        pack_function(alone, [module])


def test_what_cannot_be_packed_is_named() -> None:
    generator = (number for number in range(3))

    def use() -> int:
        return next(generator)

    with pytest.raises(SerializationFailed, match=r"use cannot be packed: it uses 'generator'"):
        pack_function(use)


async def coroutine() -> None:
    pass


@pytest.mark.parametrize(("thing", "words"), [(coroutine, "coroutine"), (3, "not callable")])
def test_what_cannot_run_is_refused(thing: Any, words: str) -> None:
    with pytest.raises(SerializationFailed, match=words):
        pack_function(thing)


def test_large_globals_are_refused() -> None:
    large = bytes(9_000_000)
    with pytest.raises(SerializationFailed, match="as arguments"):
        pack_function(lambda: len(large))


def test_source_that_has_changed_since_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / f"changing_{uuid.uuid4().hex}.py"
    path.write_text("def f():\n    return 'old'\n")
    namespace: dict[str, Any] = {"__name__": path.stem}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    path.write_text("def f():\n    return 'new'\n")
    assert pack_function(namespace["f"]).serializer == "01"
    assert run_at_a_site(namespace["f"]) == "old"


def test_a_shell_function_of_globus_compute_runs() -> None:
    sdk = pytest.importorskip("globus_compute_sdk")
    assert pack_function(sdk.ShellFunction("echo {word}")).name == "ShellFunction"
    assert run_at_a_site(sdk.ShellFunction("echo {word}"), word="beam").stdout.strip() == "beam"


def test_names() -> None:
    assert pack_function(lambda: 1).name == "lambda"
    assert pack_function(functools.partial(alone, 2)).name == "alone"
    assert pack_function(Detector(1)).name == "Detector"


def test_the_id_hangs_on_owner_and_content() -> None:
    owner = "6f6a3d60-3f1c-4f0e-9d0c-0a5a5c1d2e3f"
    first = function_id(owner, "st", b"code", b"")
    assert uuid.UUID(first).version == 5
    assert first == function_id(owner, "st", b"code")
    others = {
        function_id(str(uuid.uuid4()), "st", b"code"),
        function_id(owner, "sd", b"code"),
        function_id(owner, "st", b"code2"),
        function_id(owner, "st", b"code", b"zip"),
    }
    assert len({first, *others}) == 5
