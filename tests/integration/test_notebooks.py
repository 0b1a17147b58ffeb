"""Every notebook runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_LIMIT_S = 240


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that raises fails this test with its traceback; what a notebook started, it has stopped."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(path.parents[1]), os.environ.get("PYTHONPATH", "")]))
    for name in ("FAAS_URL", "FAAS_TOKEN", "FAAS_CREDENTIALS", "FAAS_HOME", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    client = NotebookClient(read(path), timeout=CELL_LIMIT_S, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    assert any("image/png" in output.get("data", {}) for cell in client.nb.cells for output in cell.get("outputs", []))
    left = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    assert [command for command in left if str(tmp_path) in command] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in read(path).cells:
        assert not cell.get("outputs"), f"strip the outputs of {path.name}: cell {cell['id']} has some"
        assert cell.get("execution_count") is None
