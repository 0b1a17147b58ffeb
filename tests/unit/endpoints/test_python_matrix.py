"""Every Python found here, as the one that packs and as the one that runs: it works, or it says both versions.

Where there is no other Python than the one that runs the tests, that one is the whole matrix.
"""

from __future__ import annotations

import dataclasses
import importlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from endpoints.chunk import TaskReport
from endpoints.processes import find_processes
from endpoints.worker import stop_runners
from faas.errors import SerializationFailed
from faas.packing import pack_arguments, unpack_value
from faas.references import TaskReference
from tests.services.pythons import Python, installed, own
from tests.unit.endpoints.chunks import ChunkMaker, failure, value

PYTHONS = [own(), *installed()]


@dataclasses.dataclass
class Peak:
    """Of this very module, which no site has: it travels by value."""

    energy_kev: float
    counts: list[int]

    def total(self) -> int:
        return sum(self.counts)


@pytest.fixture
def chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChunkMaker]:
    nonce = uuid.uuid4().hex
    monkeypatch.setenv("FAAS_NONCE", nonce)
    yield ChunkMaker(tmp_path)
    stop_runners()
    assert find_processes(nonce) == []


def under(chunk: ChunkMaker, python: Python) -> ChunkMaker:
    """The chunk maker, for a new chunk that runs under that Python."""
    chunk.interpreter = [] if python == own() else [str(python.path)]
    chunk.tasks.clear()
    return chunk


def check_refused(report: TaskReport, packed_by: Python, python: Python) -> None:
    """It failed, and says why so that a person can act on it."""
    failed = failure(report)
    assert failed.kind == "serialization"
    for version in (packed_by, python):
        assert f"Python {version}" in failed.message


def of_a_peak(peak: Any) -> tuple[int, float]:
    return peak.total(), peak.energy_kev


runs_under = pytest.mark.parametrize("python", PYTHONS, ids=str)
packed_under = pytest.mark.parametrize("packer", PYTHONS, ids=str)


@runs_under
def test_plain_functions_and_values_run_everywhere(chunk: ChunkMaker, python: Python) -> None:
    under(chunk, python).add_source("def f(*values):\n    return values\n", 1, 2.5, "é", b"\0", [{}], {3}, None, 1j)
    report = chunk.run()
    assert value(report.tasks[0]) == (1, 2.5, "é", b"\0", [{}], {3}, None, 1j)
    assert report.python_version.startswith(f"{python}.")


@runs_under
def test_closures(chunk: ChunkMaker, python: Python) -> None:
    offset = 10
    under(chunk, python).add(lambda number: number + offset, 1)
    (report,) = chunk.run().tasks
    if python == own():
        assert value(report) == 11
    else:
        check_refused(report, own(), python)
        assert "travels as source" in report.message


@runs_under
def test_instances_of_local_classes(chunk: ChunkMaker, python: Python) -> None:
    under(chunk, python).add(of_a_peak, Peak(6.4, [1, 2]))
    (report,) = chunk.run().tasks
    if python == own():
        assert value(report) == (3, 6.4)
    else:
        check_refused(report, own(), python)


@runs_under
def test_instances_of_classes_in_a_shipped_module(
    chunk: ChunkMaker, python: Python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spectra_shipped.py").write_text(
        "import dataclasses\n@dataclasses.dataclass\nclass Peak:\n    energy_kev: float\n    counts: list\n"
        "    def total(self):\n        return sum(self.counts)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spectra = importlib.import_module("spectra_shipped")
    identifier = under(chunk, python).register(of_a_peak, (spectra,))
    chunk.add(identifier, spectra.Peak(6.4, [1, 2]))
    assert value(chunk.run().tasks[0]) == (3, 6.4)


@runs_under
def test_arrays(chunk: ChunkMaker, python: Python) -> None:
    under(chunk, python).add_source("def f(array):\n    return array * 2\n", numpy.arange(3))
    report = chunk.run()
    (task,) = report.tasks
    if python.numpy and task.state == "succeeded":
        assert value(task).tolist() == [0, 2, 4]
    elif python.numpy:  # of another age, whose arrays are pickled by another name
        check_refused(task, own(), python)
        assert "numpy" in task.message
    else:
        check_refused(task, own(), python)
        assert "Module 'numpy" in task.message
        assert "install it there" in task.message


@packed_under
@runs_under
def test_results_by_value_of_one_as_arguments_of_another(chunk: ChunkMaker, packer: Python, python: Python) -> None:
    under(chunk, packer).add_source(
        "import dataclasses\n"
        "@dataclasses.dataclass\nclass Peak:\n    energy_kev: float\n    counts: list\n"
        "    def total(self):\n        return sum(self.counts)\n"
        "def f():\n    return Peak(6.4, [1, 2])\n"
    )
    (made,) = chunk.run().tasks
    assert made.state == "succeeded"
    reference = str(uuid.uuid4())
    payload = pack_arguments((TaskReference(reference),), {}).payload
    under(chunk, python).add_packed(of_a_peak, payload, values={reference: made.result})
    (report,) = chunk.run().tasks
    if packer == python:
        assert value(report) == (3, 6.4)
    else:
        check_refused(report, packer, python)


@packed_under
def test_results_by_value_come_home_or_say_both_versions(chunk: ChunkMaker, packer: Python) -> None:
    under(chunk, packer).add_source("def f():\n    offset = 2\n    return lambda number: number + offset\n")
    (made,) = chunk.run().tasks
    assert made.state == "succeeded"
    if packer == own():
        assert unpack_value(made.result)(1) == 3
        return
    with pytest.raises(SerializationFailed) as refused:
        unpack_value(made.result)
    for version in (packer, own()):
        assert f"Python {version}" in str(refused.value)
