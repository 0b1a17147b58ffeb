"""Random histories against the model: one end, nothing lost, nothing run twice without cause."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.registry.federation import Federation
from tests.unit.registry.histories import Registry


@pytest.fixture
def empty_federations(registry_url: str, tmp_path: Path) -> Callable[[], Federation]:
    """Makes an empty federation for each history."""
    if not registry_url.startswith("sqlite"):
        return lambda: Federation(registry_url)
    numbers = itertools.count()

    def copied() -> Federation:
        path = tmp_path / f"history-{next(numbers)}.db"
        shutil.copy(tmp_path / "registry.db", path)
        return Federation(f"sqlite:///{path}")

    return copied


def test_no_history_breaks_the_invariants(empty_federations: Callable[[], Federation], registry_url: str) -> None:
    histories = 25 if registry_url.startswith("sqlite") else 8
    machine = type("Histories", (Registry,), {"make": staticmethod(empty_federations)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
