"""One rule for system software a test needs: present, or the test is skipped; with FAAS_TESTS_REQUIRE_ALL, failed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest


def require(program: str, package: str, *, also_in: Iterable[Path] = ()) -> Path:
    """Find a program, or end the test.

    Args:
        program: its name.
        package: the Debian package that has it.
        also_in: folders to look in besides PATH.

    Returns:
        The program's path.
    """
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, also_in), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=folders)
    if found is None:
        missing(f"{program} is not installed (Debian package {package})")
    return Path(found)


def missing(what: str) -> NoReturn:
    """Skip the test for want of software; fail it where FAAS_TESTS_REQUIRE_ALL=1 says that all is there."""
    message = f"{what}: run 'make system-deps'"
    if os.environ.get("FAAS_TESTS_REQUIRE_ALL", "") not in ("", "0"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
