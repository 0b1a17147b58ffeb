"""The clusters do what tests of the product rely on: run, refuse, wait, preempt, crash, and leave nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from tests.services.processes import ServiceFailed, still_running
from tests.sites.cluster import Cluster
from tests.sites.configuration import Hardware, Rules
from tests.sites.node_processes import job_processes, step_daemons

_PRINT_NODE = "echo ran on $SLURMD_NODENAME"
_STAY = "echo ran on $SLURMD_NODENAME; exec sleep 600"


def stays(cluster: Cluster, job_id: str) -> list[str]:
    """How each stay of a job on nodes ended, once there is a record of one."""
    cluster.wait_until(lambda: any(stay.job_id == job_id for stay in cluster.usage()))
    return [stay.state for stay in cluster.usage() if stay.job_id == job_id]


def test_a_job_runs_on_the_node_it_names(slurm: Cluster) -> None:
    job_id = slurm.submit(_PRINT_NODE, options=["--nodelist=slurm2", "--job-name=a name|of mine", "--account=science"])
    job = slurm.wait_for(job_id, "COMPLETED")
    assert slurm.output(job_id) == "ran on slurm2\n"
    assert (job.name, job.node_list, job.account, job.partition) == ("a name|of mine", "slurm2", "science", "debug")


def test_three_sites_know_nothing_of_each_other(three_sites: Mapping[str, Cluster]) -> None:
    assert list(three_sites) == ["theta", "summit", "cori"]
    jobs = {name: site.submit(f"{_PRINT_NODE}; echo at $SLURM_CLUSTER_NAME") for name, site in three_sites.items()}
    for name, site in three_sites.items():
        site.wait_for(jobs[name], "COMPLETED")
        assert len(site.jobs()) == 1
        assert f"ran on {name}" in site.output(jobs[name])
        assert f"at {name}\n" in site.output(jobs[name])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--account=nobody", "Invalid account"),
        ("--partition=nowhere", "invalid partition specified: nowhere"),
        ("--time=10:00:00", "Requested time limit is invalid"),
        ("--nodes=9", "More processors requested than permitted"),
    ],
)
def test_the_scheduler_refuses(slurm: Cluster, option: str, words: str) -> None:
    with pytest.raises(ServiceFailed, match=words):
        slurm.submit("true", options=[option])
    assert not slurm.live_jobs()


def test_a_quota_is_of_queued_and_running_jobs(slurm: Cluster) -> None:
    slurm.set_rules(Rules(max_jobs=1))
    first = slurm.submit(_STAY)
    with pytest.raises(ServiceFailed, match="job submit limit"):
        slurm.submit("true")
    slurm.run("scancel", first)
    slurm.wait_until(lambda: not slurm.live_jobs())
    assert slurm.wait_for(slurm.submit("true"), "COMPLETED")
    # One that is not to run again counts no more when its node is lost.
    script = slurm.folder / "once"
    script.write_text("#!/bin/sh\n#SBATCH --no-requeue\nexec sleep 600\n")
    last = slurm.run("sbatch", "--parsable", "-o", "/dev/null", script).strip()
    slurm.call_down(slurm.wait_for(last, "RUNNING").node_list)
    assert stays(slurm, last) == ["NODE_FAIL"]
    assert slurm.wait_for(slurm.submit("true"), "COMPLETED")


def test_jobs_wait_in_a_closed_queue(slurm: Cluster) -> None:
    with slurm.queue_closed():
        job_id = slurm.submit("true")
        slurm.wait_until(lambda: slurm.job(job_id).reason == "PartitionDown")
    slurm.wait_for(job_id, "COMPLETED")


def test_jobs_wait_as_the_rules_say(slurm: Cluster) -> None:
    slurm.set_rules(Rules(queue_wait_s=3600))
    job_id = slurm.submit("true")
    slurm.wait_until(lambda: slurm.job(job_id).reason == "BeginTime")


def test_an_urgent_job_preempts_one_which_runs_again_as_the_same(slurm: Cluster) -> None:
    lesser = slurm.submit(_STAY, options=["--partition=preempt", "--nodelist=slurm1", "--exclusive"])
    slurm.wait_until(lambda: "ran on slurm1" in slurm.output(lesser))
    urgent = slurm.submit("sleep 0.1", options=["--partition=urgent", "--nodelist=slurm1", "--exclusive"])
    slurm.wait_for(urgent, "COMPLETED")
    assert slurm.job(lesser).restarts == 1
    slurm.wait_until(lambda: slurm.output(lesser).count("ran on slurm1") == 2)
    assert stays(slurm, lesser) == ["PREEMPTED"]


def test_usage_is_the_time_on_nodes_not_in_the_queue(slurm: Cluster) -> None:
    with slurm.queue_closed():
        never_ran = slurm.submit("true")
        slurm.run("scancel", never_ran)
        slurm.wait_for(never_ran, "CANCELLED")
    job_id = slurm.submit("sleep 2", options=["--nodes=2", "--job-name=costs"])
    slurm.wait_for(job_id, "COMPLETED")
    assert stays(slurm, job_id) == ["COMPLETED"]
    by_job = {stay.job_id: stay for stay in slurm.usage()}
    assert by_job[never_ran].node_seconds == 0
    assert (by_job[job_id].name, by_job[job_id].nodes, by_job[job_id].state) == ("costs", 2, "COMPLETED")
    assert by_job[job_id].node_seconds >= 2 * 2


def test_a_crashed_node_is_noticed_and_its_job_runs_elsewhere_as_the_same(slurm: Cluster) -> None:
    job_id = slurm.submit(_STAY)
    crashed = slurm.wait_for(job_id, "RUNNING").node_list
    slurm.wait_until(lambda: crashed in slurm.output(job_id))
    slurm.crash_node(crashed)
    assert not job_processes(slurm.slurm_conf, crashed)
    assert not step_daemons(slurm.slurm_conf, crashed)
    slurm.wait_until(lambda: slurm.job(job_id).restarts == 1)
    assert slurm.wait_for(job_id, "RUNNING").node_list != crashed
    assert stays(slurm, job_id) == ["NODE_FAIL"]
    slurm.run("scancel", job_id)
    slurm.start_node(crashed)
    slurm.wait_until_idle()


def test_a_job_outlives_its_slurmd(slurm: Cluster) -> None:
    job_id = slurm.submit(_STAY)
    node = slurm.wait_for(job_id, "RUNNING").node_list
    slurm.wait_until(lambda: node in slurm.output(job_id))
    slurm.kill_slurmd(node)
    assert job_processes(slurm.slurm_conf, node)
    assert step_daemons(slurm.slurm_conf, node)


def test_gpus_are_given_out_as_far_as_there_are_any(three_sites: Mapping[str, Cluster]) -> None:
    summit = three_sites["summit"]
    job_id = summit.submit("echo $CUDA_VISIBLE_DEVICES", options=["--gpus-per-node=2"])
    summit.wait_for(job_id, "COMPLETED")
    assert summit.output(job_id) == "0,1\n"
    with pytest.raises(ServiceFailed, match="Requested node configuration is not available"):
        summit.submit("true", options=["--gpus-per-node=3"])


def test_a_job_that_takes_more_memory_than_it_asked_for_is_killed() -> None:
    hog = f"exec {sys.executable} -c 'import signal; taken = bytes(10**6) * 300; signal.pause()'"
    with Cluster("hungry", nodes=1, hardware=Hardware(memory_enforced=True)) as cluster:
        job_id = cluster.submit(hog, options=["--mem=100"])
        cluster.wait_for(job_id, "FAILED")
        assert "Exceeded job memory limit" in cluster.output(job_id)


def test_stopping_leaves_nothing() -> None:
    with Cluster("short", nodes=1) as cluster:
        # One process leaves its session and its parents, as daemons do.
        job_id = cluster.submit("setsid -f sleep 600; exec sleep 600")
        cluster.wait_for(job_id, "RUNNING")
        cluster.wait_until(lambda: len(job_processes(cluster.slurm_conf)) >= 2)
        processes = [*job_processes(cluster.slurm_conf), *step_daemons(cluster.slurm_conf)]
        folder = cluster.folder
    assert len(processes) >= 3
    assert still_running(processes, timeout_s=0.0) == []
    assert not folder.exists()
