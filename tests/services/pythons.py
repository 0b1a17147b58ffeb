"""The Pythons of this machine that runners support: on the path, and those pyenv has."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

OLDEST = (3, 8)
"""Runners need this version or a newer one."""
_ASK = "import importlib.util, sys; print(*sys.version_info[:2], importlib.util.find_spec('numpy') is not None)"


@dataclass(frozen=True)
class Python:
    """An interpreter."""

    version: tuple[int, int]
    path: Path
    numpy: bool
    """Whether it has NumPy."""

    def __str__(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


@functools.cache
def installed() -> tuple[Python, ...]:
    """One interpreter of each minor version but this one's, the oldest first; this machine may have none."""
    found: dict[tuple[int, int], Python] = {}
    for candidate in _candidates():
        asked = subprocess.run([candidate, "-c", _ASK], capture_output=True, text=True, check=False)
        if asked.returncode:
            continue
        major, minor, numpy = asked.stdout.split()
        python = Python((int(major), int(minor)), candidate, numpy == "True")
        if python.version >= OLDEST and python.version != sys.version_info[:2]:
            known = found.get(python.version)
            if known is None or (python.numpy and not known.numpy):
                found[python.version] = python
    return tuple(found[version] for version in sorted(found))


def own() -> Python:
    """The one that runs the tests."""
    return Python(sys.version_info[:2], Path(sys.executable), importlib.util.find_spec("numpy") is not None)


def other_pythons() -> tuple[Python, ...]:
    """Those interpreters; the test is skipped where there are none."""
    if not installed():
        pytest.skip(
            "no Python from 3.8 on is found but the one that runs the tests: name others in FAAS_TESTS_PYTHONS,"
            " or run 'pyenv install 3.12'"
        )
    return installed()


def _candidates() -> list[Path]:
    named = os.environ.get("FAAS_TESTS_PYTHONS", "").split(os.pathsep)
    on_path = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 20)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return [*(Path(path) for path in [*named, *on_path] if path), *sorted(pyenv.glob("3.*/bin/python"))]
