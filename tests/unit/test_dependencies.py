"""Every package that is imported is declared, in the base or in the extra whose folder imports it."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"faas", "registry", "router", "endpoints"}
EXTRAS: dict[str, set[str]] = {
    "faas": {"notebook"},  # figures and notebooks, imported when they are asked for
    "registry": {"service"},
    "router": {"service", "notebook"},
    "endpoints": {"endpoint", "cobalt"},
    "notebooks": {"notebook", "demo", "service", "endpoint"},
}
BROUGHT_ALONG = {
    "parsl": "globus-compute-endpoint",  # pinned there; another version would not fit
    "starlette": "fastapi",
    "botocore": "boto3",
    "IPython": "ipykernel",
    "zmq": "globus-compute-endpoint",  # what the pilots and the engine speak
}
"""Packages that are part of another one's interface, and come with it."""


def declared(folder: str) -> set[str]:
    """Distributions that whoever runs a folder's code is told to install."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tables = {"": re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)}
    for extra in EXTRAS[folder]:
        tables[extra] = re.search(rf"^{extra} = \[(.*?)^\]", text, re.S | re.M)
    names = set()
    for extra, table in tables.items():
        assert table is not None, f"pyproject.toml has no dependencies {extra}"
        names |= set(re.findall(r'^\s*"([A-Za-z0-9_.-]+)', table.group(1), re.M))
    return {name.lower().replace("_", "-") for name in names}


def imported(path: Path) -> Iterator[str]:
    """Top-level names a file imports when it runs (what only a type checker sees needs no package)."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        pending += ast.iter_child_nodes(node)


@pytest.mark.parametrize("folder", EXTRAS)
def test_imported_packages_are_declared(folder: str) -> None:
    known = declared(folder)
    distributions = importlib.metadata.packages_distributions()
    beside = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    undeclared: dict[str, str] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in set(imported(path)) - OURS - beside - set(sys.stdlib_module_names) - {"__future__", "__main__"}:
            sources = {source.lower().replace("_", "-") for source in distributions.get(name, [name])}
            if not (sources | {BROUGHT_ALONG.get(name, name)}) & known:
                undeclared.setdefault(name, str(path.relative_to(ROOT)))
    assert not undeclared, f"declare in pyproject.toml what {folder}/ imports: {undeclared}"
