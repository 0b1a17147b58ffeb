"""Endpoints at other schedulers, and as a Globus Compute configuration has them: each runs, and leaves nothing.

They are dialects over Slurm: that a vendor's scheduler takes the same words is not shown here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
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
QUICK = ["--set", "retry.first_s=0.05", "--set", "blocks.max_idletime_s=300", "--set", "scheduler.status_period_s=1"]
JOB_VARIABLE = {"pbspro": "PBS_JOBID", "lsf": "LSB_JOBID", "cobalt": "COBALT_JOBID", "": "SLURM_JOB_ID"}


def where(variable: str) -> tuple[str, str, str]:
    import os

    return os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"], os.environ[variable]


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


# What of a machine these clusters lack: its queues, its cores.
_HERE = {
    "theta": ("cobalt", "partition: debug"),
    "summit": ("lsf", "partition: debug"),
    "polaris": ("pbspro", "cores_per_node: 2, select_options: ''"),
    "cori": ("", "qos: '', constraint: '', cores_per_node: 2, launcher: {type: SrunLauncher, overrides: -c 2}"),
}
_LAUNCHER = """\
#!/bin/bash
echo "$0 $*" >> {folder}/launched
until [[ "$1" == */bash || "$1" == */sh ]]; do shift; done
exec "$@"
"""


@pytest.mark.parametrize("machine", _HERE)
def test_workers_start_by_the_launcher_of_a_machine(machine: str, at: Callable[[str], Cluster], tmp_path: Path) -> None:
    """Those of Cray, IBM and MPICH are stand-ins that run what they are given; srun is Slurm's own."""
    dialect, here = _HERE[machine]
    cluster = at(dialect)
    for name in ("aprun", "jsrun", "mpiexec"):
        (tmp_path / name).write_text(_LAUNCHER.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    text = (
        f"name: lab\nprofile: {machine}\nscheduler: {{account: science, {here}, worker_init: 'PATH={tmp_path}:$PATH'}}"
    )
    configuration = Configuration.parse(text, "config.yaml")
    provider = drive(find_profile(machine).provider(configuration, "default", tmp_path))
    provider.script_dir = str(tmp_path)
    job_id = provider.submit(f"echo $SLURMD_NODENAME > {tmp_path}/node", 1, "faas12345678-1")
    cluster.wait_until(lambda: provider.status([job_id])[0].terminal)
    assert provider.status([job_id])[0].state is JobState.COMPLETED
    assert (tmp_path / "node").read_text().strip() in cluster.nodes
    assert (tmp_path / "launched").exists() == (machine != "cori")


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


def test_functions_run_at_each_and_nothing_is_left(slurm: Cluster, tmp_path: Path) -> None:
    """Endpoints with the profiles of other schedulers, and one with a Globus Compute configuration, word for word."""
    (tmp_path / "globus.yaml").write_text(GLOBUS)
    batch = ["--account=science", "--partition=debug", "--walltime=00:10:00", "--set=engine.address=127.0.0.1"]
    theirs = ["--engine-config", str(tmp_path / "globus.yaml"), "--set", "ACCOUNT=science"]
    theirs += ["--set", "OPTIONS=#SBATCH --comment=from-globus", "--set", f"COMMAND=touch {tmp_path}/started"]
    with Federation(tmp_path / "f") as federation:
        for dialect in JOB_VARIABLE:
            options = ["--profile", dialect, *batch, *QUICK] if dialect else [*theirs, *QUICK]
            name = dialect or "globus"
            federation.add_endpoint(name, workers=1, options=options, environment=slurm.environment(dialect))
        sites = {dialect: Site(federation, slurm, dialect or "globus") for dialect in JOB_VARIABLE}
        with ExitStack() as stack:
            executors = {dialect: stack.enter_context(each.executor()) for dialect, each in sites.items()}
            futures = {dialect: each.submit(where, JOB_VARIABLE[dialect]) for dialect, each in executors.items()}
            told = {dialect: future.result(LIMIT_S) for dialect, future in futures.items()}
        for dialect, (node, job_id, own_id) in told.items():
            job = slurm.job(job_id)
            assert own_id.partition(".")[0] == job_id
            assert (job.node_list, job.partition, job.account) == (node, "debug", "science")
            assert job.name.startswith(name_prefix(federation.state(sites[dialect].name).nonce))
            assert "TimeLimit=00:10:00" in slurm.run("scontrol", "show", "job", job_id)
            (block,) = sites[dialect].blocks()
            assert (block.job_id.partition(".")[0], block.state, block.workers) == (job_id, "running", 1)
        assert (tmp_path / "started").exists()
        assert "Comment=from-globus" in slurm.run("scontrol", "show", "job", told[""][1])
        assert len(slurm.live_jobs()) == len(told)
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
