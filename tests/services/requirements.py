"""One rule for what a test needs: present, or the test is skipped; with FAAS_TESTS_REQUIRE_ALL=1, no skip passes.

The last part is a plugin of pytest, so that it holds for whoever skips: a mark, an import, this module.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterable
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
    """Skip the test for want of software."""
    pytest.skip(f"{what}: run 'make system-deps'")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a test that is skipped fail where all is said to be there."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _insist(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Have a module that is skipped as a whole fail likewise."""
    report = yield
    _insist(report)
    return report


def _insist(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("FAAS_TESTS_REQUIRE_ALL", "") not in ("", "0"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (FAAS_TESTS_REQUIRE_ALL says that nothing may be skipped)"
