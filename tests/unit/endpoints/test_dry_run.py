"""Dry runs: the provider's own script, and nothing started or left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest

from endpoints import profiles
from endpoints.configuration import Configuration
from endpoints.dry_run import submissions
from endpoints.places import Places
from endpoints.profiles import Profile
from faas.errors import ConfigurationError, FaasError


def places_in(directory: Path) -> Places:
    return Places(directory / "endpoints" / "lab")


def test_local_blocks_are_scripts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "drafts"))
    (tmp_path / "drafts").mkdir()
    shapes = "shapes: {small: {cores: 1}, big: {cores: 2}}\n"
    configuration = Configuration.parse(f"name: lab\nworkers: 4\n{shapes}", "config.yaml")
    before = psutil.Process().children()
    small, big = submissions(configuration, places_in(tmp_path))
    assert (small.shape, big.shape) == ("small", "big")
    assert "--max_workers_per_node=4" in small.script and "--max_workers_per_node=2" in big.script
    assert small.command.startswith(f"bash {places_in(tmp_path).run}/engine/small/")
    assert "drafts" not in small.script + small.command
    assert list((tmp_path / "drafts").iterdir()) == []
    assert not places_in(tmp_path).directory.exists()
    assert psutil.Process().children() == before


def test_settings_that_the_engine_does_not_take(tmp_path: Path) -> None:
    configuration = Configuration.parse("name: lab\nengine: {no_such: 1}\n", "config.yaml")
    with pytest.raises(ConfigurationError, match="no_such"):
        submissions(configuration, places_in(tmp_path))


def test_a_provider_of_another_kind_is_never_made_to_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from parsl.providers.base import ExecutionProvider

    class Other(ExecutionProvider):
        nodes_per_block = 1
        mem_per_node = cores_per_node = None
        script_dir = ""

        def __init__(self) -> None:
            pass

        def submit(self, command: str, tasks_per_node: int, job_name: str = "") -> object:
            raise AssertionError("submitted")

        status = cancel = label = status_polling_interval = lambda *_: None

    profiles.find_profile("local")
    other = Profile("other", lambda *_: Other(), profiles.PROFILES["local"].queue, on_this_host=True)
    monkeypatch.setitem(profiles.PROFILES, "other", other)
    configuration = Configuration.parse("name: lab\nprofile: other\n", "config.yaml")
    with pytest.raises(FaasError, match="without a script"):
        submissions(configuration, places_in(tmp_path))
