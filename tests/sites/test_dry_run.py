"""Dry runs in every dialect: a script and a command are printed, and nothing is submitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from endpoints.configuration import Configuration
from endpoints.dry_run import agent_submission, submissions
from endpoints.places import Places
from tests.sites.cluster import Cluster

PROGRAMS = {"slurm": "sbatch", "pbspro": "qsub", "lsf": "bsub", "cobalt": "qsub"}


@pytest.mark.parametrize("profile", PROGRAMS)
def test_nothing_is_submitted(profile: str, at: Callable[[str], Cluster], tmp_path: Path) -> None:
    cluster = at("" if profile == "slurm" else profile)
    text = f"name: lab\nprofile: {profile}\nengine: {{address: 127.0.0.1}}\n"
    configuration = Configuration.parse(f"{text}scheduler: {{account: science, partition: debug}}\n", "config.yaml")
    places = Places(tmp_path / "endpoints" / "lab")
    (block,) = submissions(configuration, places)
    assert block.command.split()[0] == PROGRAMS[profile]
    assert "process_worker_pool" in block.script and "faas00000000-1" in block.script
    agent = agent_submission(configuration, places, "faasA000000-1")
    assert agent.command.split()[0] == PROGRAMS[profile]
    assert "endpoint start lab" in agent.script and "--in-job faasA000000-1" in agent.script
    assert str(places.directory) in agent.script + agent.command
    assert cluster.jobs() == []
