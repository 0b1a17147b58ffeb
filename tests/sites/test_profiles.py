"""Endpoints at other schedulers, and as a Globus Compute configuration has them: each runs, and leaves nothing.

They are dialects over Slurm: that a vendor's scheduler takes the same words is not shown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from parsl.jobs.states import JobState

from endpoints.block_book import name_prefix
from endpoints.configuration import Configuration
from endpoints.job_queue import cancel_all
from endpoints.profiles import find_profile
from endpoints.profiles.engine_parts import drive
from tests.services.federation import Federation
from tests.sites.cluster import Cluster
from tests.sites.site import Site

LIMIT_S = 120
QUICK = [
    *("--set", "engine.address=127.0.0.1", "--set", "retry.first_s=0.05", "--set", "stop_grace_s=0"),
    *("--set", "blocks.max_idletime_s=60", "--set", "blocks.probe_s=1", "--set", "blocks.probe_max_s=2"),
    *("--set", "scheduler.status_period_s=1"),
]
JOB_VARIABLE = {"pbspro": "PBS_JOBID", "lsf": "LSB_JOBID", "cobalt": "COBALT_JOBID", "": "SLURM_JOB_ID"}


def where(variable: str) -> tuple[str, str, str]:
    import os

    return os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"], os.environ[variable]


@contextmanager
def endpoint(directory: Path, cluster: Cluster, dialect: str, *options: str) -> Iterator[Site]:
    with Federation(directory) as federation:
        federation.add_endpoint("lab", options=[*QUICK, *options], environment=cluster.environment(dialect))
        yield Site(federation, cluster)
    assert cluster.live_jobs() == []


def runs_in_a_job(lab: Site, dialect: str) -> None:
    """Run a function, see its job by name, then stop with the block still alive."""
    with lab.executor() as executor:
        node, job_id, told = executor.submit(where, JOB_VARIABLE[dialect]).result(LIMIT_S)
    job = lab.cluster.job(job_id)
    assert told.partition(".")[0] == job_id
    assert (job.node_list, job.partition, job.account) == (node, "debug", "science")
    assert job.name.startswith(name_prefix(lab.federation.state("lab").nonce))
    lab.until(lambda: [block.state for block in lab.blocks()] == ["running"])
    assert "TimeLimit=00:10:00" in lab.cluster.run("scontrol", "show", "job", job_id)


@pytest.mark.parametrize("dialect", ["pbspro", "lsf", "cobalt"])
def test_a_function_runs_and_nothing_is_left(dialect: str, slurm: Cluster, tmp_path: Path) -> None:
    options = ["--profile", dialect, "--account", "science", "--partition", "debug", "--walltime", "00:10:00"]
    with endpoint(tmp_path / "f", slurm, dialect, *options) as lab:
        runs_in_a_job(lab, dialect)


@pytest.mark.parametrize("dialect", ["", "pbspro", "lsf", "cobalt"])
class TestProvider:
    """What the fleet asks of a provider, in a scheduler's own words."""

    def provider(self, dialect: str, folder: Path, account: str = "science") -> Any:
        text = (
            f"name: lab\nprofile: {dialect or 'slurm'}\nscheduler: {{account: {account}, walltime_s: 300}}\nworkers: 1"
        )
        configuration = Configuration.parse(text, "config.yaml")
        provider = drive(find_profile(configuration.profile).provider(configuration, "default", folder))
        provider.script_dir = str(folder)
        return provider

    def test_refusals_are_kept(self, dialect: str, at: Callable[[str], Cluster], tmp_path: Path) -> None:
        cluster = at(dialect)
        words = {"pbspro": "Invalid account", "lsf": "nobody: Invalid project name", "cobalt": "project 'nobody'"}
        with pytest.raises(Exception, match=words.get(dialect, "Invalid account")):
            self.provider(dialect, tmp_path, "nobody").submit("true", 1, "faas12345678-1")
        assert cluster.jobs() == []

    def test_states_are_told(self, dialect: str, at: Callable[[str], Cluster], tmp_path: Path) -> None:
        cluster = at(dialect)
        provider = self.provider(dialect, tmp_path)
        with cluster.queue_closed():
            first = provider.submit("sleep 600", 1, "faas12345678-1")
            assert [job.name for job in cluster.jobs()] == ["faas12345678-1"]
            assert provider.status([first])[0].state is JobState.PENDING
        second = provider.submit("echo 'no module' >&2; exit 3", 1, "faas12345678-2")
        cluster.wait_until(lambda: provider.status([first])[0].state is JobState.RUNNING)
        assert cluster.jobs()[0].node_list in provider.status([first])[0].message
        cluster.wait_until(lambda: provider.status([second])[0].terminal)
        ended = provider.status([second])[0]
        assert ended.state is JobState.FAILED
        assert "no module" in (ended.stderr_summary or ended.stdout_summary)
        provider.cancel([first])
        cluster.wait_until(lambda: provider.status([first])[0].terminal)
        provider.cancel([first])  # once more is no error


GLOBUS = """\
display_name: Here
amqp_port: 443

engine:
  type: GlobusComputeEngine
  max_workers_per_node: 2
  worker_debug: False

  address:
    type: address_by_interface
    ifname: lo

  provider:
    type: SlurmProvider
    partition: debug
    account: {{ ACCOUNT }}
    exclusive: False
    launcher:
      type: SrunLauncher
      overrides: -c {{ CORES | default(1) }}

    scheduler_options: {{ OPTIONS }}
    worker_init: {{ COMMAND }}
    cmd_timeout: 60
    nodes_per_block: 1
    init_blocks: 0
    min_blocks: 0
    max_blocks: 1
    walltime: 00:10:00
"""


def test_a_globus_compute_configuration_works_as_it_is(slurm: Cluster, tmp_path: Path) -> None:
    (tmp_path / "globus.yaml").write_text(GLOBUS)
    options = ["--engine-config", str(tmp_path / "globus.yaml"), "--set", "ACCOUNT=science"]
    options += ["--set", "OPTIONS=#SBATCH --comment=from-globus", "--set", f"COMMAND=touch {tmp_path}/started"]
    with Federation(tmp_path / "f") as federation:
        federation.faas("endpoint", "configure", "lab", *options)
        federation.add_endpoint("lab", environment=slurm.environment())
        lab = Site(federation, slurm)
        runs_in_a_job(lab, "")
        (job,) = slurm.jobs()
        assert "Comment=from-globus" in slurm.run("scontrol", "show", "job", job.job_id)
        assert (tmp_path / "started").exists()
        lab.until(lambda: [block.workers for block in lab.blocks()] == [2])
    assert slurm.live_jobs() == []


@pytest.mark.parametrize("dialect", ["pbspro", "lsf", "cobalt"])
def test_jobs_are_found_and_cancelled_by_name(dialect: str, at: Callable[[str], Cluster], tmp_path: Path) -> None:
    cluster = at(dialect)
    queue = find_profile(dialect).queue(Configuration.parse(f"name: lab\nprofile: {dialect}", "config.yaml"))
    assert queue.find("faas") == []
    ours = cluster.submit("sleep 600", options=["-J", "faas12345678-1"])
    waiting = cluster.submit("sleep 600", options=["-J", "faas12345678-2", "--begin=now+1hour"])
    other = cluster.submit("sleep 600", options=["-J", "faas87654321-1"])
    assert {job.name for job in queue.find("faas12345678-")} == {"faas12345678-1", "faas12345678-2"}
    assert len(cancel_all(queue, "faas12345678-", 20)) == 2
    assert {job.job_id for job in cluster.live_jobs()} == {other}
    queue.cancel([ours if dialect != "pbspro" else f"{ours}.slurm"])
    assert cluster.job(waiting).state == "CANCELLED"
