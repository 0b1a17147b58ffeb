"""Three real Slurm clusters in one federation: one function, registered once, runs at all of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import faas
from endpoints.block_book import name_prefix
from tests.sites.cluster import Cluster
from tests.sites.site import Site, sites

LIMIT_S = 180
IDLE_S = 3.0
GIVEN_BACK_S = 10.0
AT_ONCE = 40


def where(x: int, seconds: float = 0.0) -> tuple[int, str, str]:
    import os
    import time

    time.sleep(seconds)
    return x, os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"]


def test_one_function_runs_at_three_sites(three_sites: Mapping[str, Cluster], tmp_path: Path) -> None:
    group_id = str(uuid.uuid4())
    with sites(tmp_path / "f", three_sites) as labs:
        client = labs["theta"].client
        assert all(cluster.jobs() == [] for cluster in three_sites.values()), "nothing is asked for ahead of work"
        assert all(lab.blocks() == [] for lab in labs.values())

        function_id = client.register_function(where)
        answers = _run_until_all_have_worked(client, function_id, group_id, labs)
        group = client.get_group(group_id)
        assert group.states == {"succeeded": len(answers)}
        assert group.cursor == len(answers)
        tasks = client.search_tasks(task_group_id=group_id, limit=len(answers))
        assert {task["function_id"] for task in tasks} == {function_id}

        for name, lab in labs.items():
            here = {(node, job_id) for _, node, job_id in answers if node in lab.cluster.nodes}
            assert here, f"nothing ran at {name}"
            for node, job_id in here:
                job = lab.cluster.job(job_id)
                assert job.node_list == node
                assert job.name.startswith(name_prefix(lab.federation.state(name).nonce))
            lab.until(lambda lab=lab: not lab.cluster.live_jobs(), "an empty queue")  # type: ignore[misc]
            lab.until(lambda lab=lab: all(each.ended_at for each in lab.blocks()), "the word of it")  # type: ignore[misc]
            last = max(task["times"]["ended_at"] for task in tasks if task["endpoint"] == name)
            # From its own records: given back when its idle time was over, or within 10 s of it. A block may have
            # come up when all was done.
            for block in lab.blocks():
                assert (block.ended_at or 0.0) <= max(last, block.ready_at or 0.0) + IDLE_S + GIVEN_BACK_S


def _run_until_all_have_worked(
    client: faas.Client, function_id: str, group_id: str, labs: Mapping[str, Site]
) -> list[tuple[int, str, str]]:
    """Calls of the function at any site, until each has run some: when a queue lets a job start is its own affair."""
    answers: list[tuple[int, str, str]] = []
    with faas.Executor(client=client, endpoint_id="any", task_group_id=group_id) as executor:
        for number in range(LIMIT_S):
            if number and all(any(node in lab.cluster.nodes for _, node, _ in answers) for lab in labs.values()):
                break
            calls = range(number * AT_ONCE, (number + 1) * AT_ONCE)
            futures = [executor.submit_to_registered_function(function_id, (x, 1.0)) for x in calls]
            answers += [future.result(LIMIT_S) for future in futures]
    assert [x for x, _, _ in answers] == list(range(len(answers)))
    return answers
