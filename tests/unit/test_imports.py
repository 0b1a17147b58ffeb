"""Who may import whom: the design's table, checked on every file and in fresh interpreters."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "faas": {"faas"},
    "registry": {"registry", "faas"},
    "router": {"router", "registry", "faas"},
    "endpoints": {"endpoints", "faas"},
}
HEAVY = ["sqlalchemy", "fastapi", "uvicorn", "globus_compute_sdk", "globus_compute_endpoint", "parsl", "boto3", "typer"]
SOURCES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]
CLIENT_SIDE = [path for path in SOURCES if path.is_relative_to(ROOT / "faas") and "commands" not in path.parts]


def imported_packages(source: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and top-level package of each import, wherever it stands: functions and TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, path.relative_to(ROOT).parts[0]
            elif node.module:
                yield node.lineno, node.module.partition(".")[0]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            first = node.args[0] if node.args else None
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value).partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_imports_only_what_its_package_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imported_packages(path.read_text(encoding="utf-8"), path)
        if name in ALLOWED and name not in ALLOWED[package]
    ]
    assert not forbidden, f"{package}/ may import only {', '.join(sorted(ALLOWED[package]))}: {forbidden}"


def test_an_import_inside_a_function_or_by_name_is_seen() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import router.app\n"
        "def load():\n    from registry import tasks\n    return importlib.import_module('endpoints.agent')\n"
    )
    found = {name for _, name in imported_packages(source, ROOT / "faas" / "client.py")}
    assert {"router", "registry", "endpoints"} <= found


def run_python(code: str, cwd: Path, *first_on_path: Path) -> str:
    """Run code in a fresh interpreter that finds the project behind the given directories."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*first_on_path, ROOT]))}
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_import_faas_is_light(tmp_path: Path) -> None:
    loaded = run_python("import sys, faas; print(*{name.partition('.')[0] for name in sys.modules})", tmp_path).split()
    assert not {"registry", "router", "endpoints"} & set(loaded)
    assert not set(HEAVY) & set(loaded)


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A directory with modules of a user's own that bear the names of our other packages."""
    for name in ("registry", "router", "endpoints"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('the decoy {name}.py was imported')\n")
    return tmp_path


def test_a_users_own_modules_shadow_nothing_the_client_imports(decoys: Path) -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in CLIENT_SIDE]
    names = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    code += "print(*[name for name in ('registry', 'router', 'endpoints') if name in sys.modules])"
    assert run_python(code, decoys, decoys) == ""


def test_pickles_name_nothing_of_ours_but_faas(decoys: Path) -> None:
    code = """
import pickle, pickletools
import faas, faas.errors, faas.models

values = [getattr(faas, name) for name in dir(faas) if not name.startswith('_')]
values += [error for error in vars(faas.errors).values() if isinstance(error, type)]
values += [model for model in vars(faas.models).values() if isinstance(model, type)]
for value in values:
    if callable(value):
        for opcode, argument, _ in pickletools.genops(pickle.dumps(value, protocol=2)):
            if opcode.name == "GLOBAL":
                print(argument.split()[0].partition(".")[0])
"""
    named = set(run_python(code, decoys, decoys).split())
    assert "faas" in named
    assert not named & {"registry", "router", "endpoints"}
