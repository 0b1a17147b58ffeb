"""Pilots at a real Slurm: blocks come with work and go without it; whatever ends one, tasks end once and right."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import pairwise
from math import inf
from pathlib import Path

import psutil
import pytest

import faas
from endpoints.block_book import name_prefix
from faas.models import Group
from tests.sites.cluster import Cluster
from tests.sites.configuration import Rules
from tests.sites.node_processes import job_processes
from tests.sites.site import QUICK_BLOCKS, SCHEDULER, site

LIMIT_S = 180
REPLACED_S = 3.0


def where(x: int, seconds: float = 0.0) -> tuple[int, str, str]:
    import os
    import time

    time.sleep(seconds)
    return x, os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"]


def note(x: int, seconds: float, directory: str) -> int:
    """Leaves one file for each time it starts, naming its job."""
    import os
    import pathlib
    import time
    import uuid

    (pathlib.Path(directory) / f"{x}.{os.environ['SLURM_JOB_ID']}.{uuid.uuid4()}").touch()
    time.sleep(seconds)
    return x * x


def stay_once(directory: str) -> str:
    """Goes on for ever at first, and returns at once when it is run again."""
    import pathlib
    import time

    mark = pathlib.Path(directory) / "was here"
    if mark.exists():
        return "again"
    mark.touch()
    time.sleep(3600)
    return "never"


def ended_once(client: faas.Client, group_id: str, tasks: int) -> None:
    group = client.link.request("GET", f"/v1/groups/{group_id}", response=Group)
    assert group.states == {"succeeded": tasks}
    assert group.cursor == tasks


def test_blocks_come_with_work_and_go_without(slurm: Cluster, tmp_path: Path) -> None:
    with site(tmp_path / "f", slurm) as lab:
        assert slurm.live_jobs() == []
        with lab.executor() as executor:
            x, node, job_id = executor.submit(where, 7, 1.0).result(LIMIT_S)
            assert x == 7
            assert slurm.job(job_id).name.startswith(name_prefix(lab.federation.state("lab").nonce))
            assert slurm.job(job_id).node_list == node
            assert len(slurm.jobs()) == 1

            at: dict[int, str] = {}
            while set(at.values()) != set(slurm.nodes):  # how soon blocks come is the scheduler's affair
                assert len(at) < 1000, f"only {set(at.values())} got work"
                futures = [executor.submit(where, len(at) + number, 1.0) for number in range(60)]
                at.update({x: node for x, node, _ in (future.result(LIMIT_S) for future in futures)})
        assert set(at) == set(range(len(at)))
        lab.until(lambda: not slurm.live_jobs(), "an empty queue")
        lab.until(lambda: all(block.state == "ended" for block in lab.blocks()), "the word of it")
        assert all(block.ready_at and block.ended_at and block.job_id for block in lab.blocks())
        spent = lab.told().spent
        assert spent is not None and 0 < spent.total_node_hours < 0.5


def scancel(cluster: Cluster, job_id: str) -> None:
    cluster.run("scancel", job_id)


def crash(cluster: Cluster, job_id: str) -> None:
    cluster.crash_node(cluster.job(job_id).node_list)


def kill_slurmd(cluster: Cluster, job_id: str) -> None:
    node = cluster.job(job_id).node_list
    cluster.kill_slurmd(node)
    cluster.call_down(node)


def preempt(cluster: Cluster, job_id: str) -> None:
    node = cluster.job(job_id).node_list
    cluster.submit("sleep 5", options=["--partition=urgent", f"--nodelist={node}", "--exclusive"])


@pytest.mark.parametrize("end", [scancel, crash, kill_slurmd, preempt])
def test_whatever_ends_a_block_its_tasks_end_once_and_it_is_replaced(
    end: Callable[[Cluster, str], None], slurm: Cluster, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    group_id = str(uuid.uuid4())
    settings = "scheduler: {walltime_s: 600, status_period_s: 1, partition: preempt}\n" + QUICK_BLOCKS
    with site(tmp_path / "f", slurm, settings.replace("max_blocks: 3", "max_blocks: 1")) as lab:
        with lab.executor(group_id) as executor:
            futures = [executor.submit(note, x, 1.0, str(runs)) for x in range(20)]
            futures[1].result(LIMIT_S)
            job_id = next(iter(runs.iterdir())).name.split(".")[1]
            end(slurm, job_id)
            assert [future.result(LIMIT_S) for future in futures] == [x * x for x in range(20)]
        ended_once(lab.client, group_id, 20)
        assert lab.replaced_after_s(job_id) <= REPLACED_S
        # Not even what the scheduler has lost sight of stays behind.
        lab.until(lambda: not any(_is_of(job_id, process) for process in job_processes(slurm.slurm_conf)), "an end")
        jobs = {path.name.split(".")[1] for path in runs.iterdir()}
        assert len(jobs) == 2, "a block of the same name and number is not taken over"


def _is_of(job_id: str, process: psutil.Process) -> bool:
    try:
        return process.environ().get("SLURM_JOB_ID") == job_id
    except psutil.Error:
        return False


def test_a_block_ends_with_its_walltime(slurm: Cluster, tmp_path: Path) -> None:
    """What runs then is lost with it, and runs again in the next, which is asked for at once."""
    group_id = str(uuid.uuid4())
    blocks = "blocks: {max_blocks: 1, max_idletime_s: 5, drain_s: 20}\n"
    with site(tmp_path / "f", slurm, "scheduler: {walltime_s: 60, status_period_s: 1}\n" + blocks) as lab:
        with lab.executor(group_id) as executor:
            assert executor.submit(stay_once, str(tmp_path)).result(LIMIT_S) == "again"
        ended_once(lab.client, group_id, 1)
        first, second = (job for job in slurm.jobs() if job.name.startswith("faas"))
        assert (first.state, first.reason) == ("TIMEOUT", "TimeLimit")
        assert "draining: its walltime is nearly over" in lab.log()
        assert "TIMEOUT (TimeLimit)" in next(b.message for b in lab.blocks() if b.job_id == first.job_id)
        assert second.job_id != first.job_id
        told = {block.job_id: block for block in lab.blocks()}
        assert 0 <= told[second.job_id].requested_at - (told[first.job_id].ended_at or inf) <= REPLACED_S


class Trouble:
    """Something that keeps jobs from starting, until it is mended."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = SCHEDULER
        self.environment: dict[str, str] = {}

    def begin(self, cluster: Cluster) -> None:
        """What has happened at the site, besides what the settings say."""

    def mend(self, cluster: Cluster) -> None:
        raise NotImplementedError


class UnknownAccount(Trouble):
    words = ("Invalid account",)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.settings = "scheduler: {account: newcomers, status_period_s: 1}\n"

    def mend(self, cluster: Cluster) -> None:
        cluster.set_rules(Rules(accounts=frozenset({"newcomers"})))


class UnknownPartition(Trouble):
    words = ("invalid partition specified: nowhere",)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.settings = "scheduler: {partition: nowhere, status_period_s: 1}\n"

    def mend(self, cluster: Cluster) -> None:
        nodes = f"Nodes={cluster.nodes[0]}"
        cluster.run("scontrol", "create", "PartitionName=nowhere", nodes, "MaxTime=60", "State=UP")


class ExhaustedQuota(Trouble):
    """All jobs that the site allows are somebody's already, until one of them ends."""

    words = ("Job violates accounting/QOS policy",)

    def begin(self, cluster: Cluster) -> None:
        self._job_id = cluster.submit("sleep 3600")
        cluster.set_rules(Rules(max_jobs=1))

    def mend(self, cluster: Cluster) -> None:
        cluster.run("scancel", self._job_id)


class NoSbatch(Trouble):
    words = ("sbatch: ", "not found")  # between them bash says "command", and dash nothing

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._commands = directory / "commands"
        self._commands.mkdir()
        for folder in ("/usr/bin", "/bin"):
            for program in Path(folder).iterdir():
                link = self._commands / program.name
                if program.name != "sbatch" and not link.exists():
                    link.symlink_to(program)
        self.environment = {"PATH": str(self._commands)}

    def mend(self, cluster: Cluster) -> None:
        (self._commands / "sbatch").symlink_to("/usr/bin/sbatch")


class SpoiltWorkerInit(Trouble):
    words = ("no such module: analysis",)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._module = directory / "analysis"
        line = f"test -e {self._module} || {{ echo no such module: analysis >&2; exit 3; }}"
        self.settings = f"scheduler: {{status_period_s: 1, worker_init: '{line}'}}\n"

    def mend(self, cluster: Cluster) -> None:
        self._module.touch()


@pytest.mark.parametrize("trouble", [UnknownAccount, UnknownPartition, ExhaustedQuota, NoSbatch, SpoiltWorkerInit])
def test_what_the_scheduler_says_is_told_and_work_goes_on_once_it_is_mended(
    trouble: type[Trouble], slurm: Cluster, tmp_path: Path
) -> None:
    some = trouble(tmp_path)
    some.begin(slurm)
    with site(tmp_path / "f", slurm, some.settings + QUICK_BLOCKS, some.environment) as lab:
        with lab.executor() as executor:
            future = executor.submit(where, 1)
            lab.until(lambda: all(word in lab.told().problem for word in some.words), "the scheduler's word")  # type: ignore[attr-defined]
            lab.until(lambda: lab.told().standing == "broken", "its standing")
            lab.until(lambda: sum(block.state == "failed" for block in lab.blocks()) >= 3, "three failed blocks")
            told = lab.federation.faas("endpoint", "status", "lab", environment=slurm.environment())
            assert all(word in " ".join(told.split()) for word in some.words), told  # type: ignore[attr-defined]
            asked = sorted(block.requested_at for block in lab.blocks())
            # A second after the first and more after others; not one after the other as fast as the scheduler says no.
            assert all(later - earlier >= 1.0 for earlier, later in pairwise(asked))
            some.mend(slurm)
            assert future.result(LIMIT_S)[0] == 1
        lab.until(lambda: not lab.told().problem, "an end of the problem")


@pytest.mark.parametrize("then", ["start", "stop"])
def test_jobs_of_a_killed_agent_are_cancelled_not_taken_over(then: str, slurm: Cluster, tmp_path: Path) -> None:
    with site(tmp_path / "f", slurm) as lab, lab.executor() as executor:
        future = executor.submit(stay_once, str(tmp_path))
        lab.until((tmp_path / "was here").exists)
        (job,) = slurm.live_jobs()
        # Pilots that find no agent end within seconds; these do not get to.
        for process in job_processes(slurm.slurm_conf):
            process.suspend()
        lab.federation.kill_agent("lab")
        assert slurm.job(job.job_id).state == "RUNNING"
        if then == "stop":
            told = lab.federation.faas("endpoint", "stop", "lab", environment=slurm.environment())
            assert "1 batch job(s) cancelled" in told
            assert slurm.left_jobs() == []
        lab.federation.start_endpoint("lab")
        assert slurm.job(job.job_id).state != "RUNNING"
        assert future.result(LIMIT_S) == "again"


def test_a_budget_stops_blocks_and_says_so(slurm: Cluster, tmp_path: Path) -> None:
    blocks = "blocks: {max_blocks: 3, max_idletime_s: 3, horizon_s: 1, max_node_hours: {per_day: 0.4}}\n"
    with site(tmp_path / "f", slurm, SCHEDULER + blocks) as lab, lab.executor() as executor:
        executor.submit(where, 0, 1.0).result(LIMIT_S)
        answers = [future.result(LIMIT_S) for future in [executor.submit(where, x, 1.0) for x in range(20)]]
        assert len(answers) == 20
        # Two reservations of ten minutes fit into 0.4 node-hours, a third does not.
        assert len({job_id for _, _, job_id in answers}) <= 2
        assert "max_node_hours per_day is 0.4" in lab.log()


def test_a_block_may_have_several_nodes(slurm: Cluster, tmp_path: Path) -> None:
    # Idle for as long as the second node's workers may need to register.
    settings = "scheduler: {walltime_s: 600, nodes_per_block: 2}\nblocks: {max_blocks: 1, max_idletime_s: 120}\n"
    with site(tmp_path / "f", slurm, settings) as lab, lab.executor() as executor:
        executor.submit(where, 0, 1.0).result(LIMIT_S)
        lab.until(lambda: any(block.workers == 4 for block in lab.blocks()), "four workers")
        answers = [future.result(LIMIT_S) for future in [executor.submit(where, x, 1.0) for x in range(12)]]
        assert len({node for _, node, _ in answers}) == 2
        assert len({job_id for _, _, job_id in answers}) == 1


def test_shapes_have_blocks_of_their_own(slurm: Cluster, tmp_path: Path) -> None:
    shapes = "shapes: {small: {cores: 1, workers: 2}, big: {cores: 2, memory_gb: 2, workers: 1}}\n"
    with site(tmp_path / "f", slurm, SCHEDULER + QUICK_BLOCKS + shapes) as lab:
        with lab.executor() as executor:
            assert executor.submit(where, 1).result(LIMIT_S)[0] == 1
            assert {block.shape for block in lab.blocks()} == {"small"}
        assert set(lab.told().shapes) == {"small", "big"}
