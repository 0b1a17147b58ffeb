"""Jobs as the scheduler tells of them: the queue it shows, and its record of those that ended."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

_COLUMNS = {
    "JobID": 24,
    "State": 24,
    "Partition": 40,
    "NumNodes": 12,
    "RestartCnt": 12,
    "NodeList": 200,
    "Reason": 120,
    "Account": 60,
    "Name": 400,
}
QUEUE_FORMAT = ",".join(f"{name}:{width}" for name, width in _COLUMNS.items())
"""What to give ``squeue --Format``."""


@dataclass(frozen=True)
class Job:
    """One job in the scheduler's queue, or lately ended.

    Args:
        job_id: the scheduler's id.
        name: as submitted.
        state: PENDING, RUNNING, COMPLETED, CANCELLED, …
        partition: where it was submitted to.
        account: whom it is charged to.
        nodes: how many it asked for.
        node_list: those it runs on, in Slurm's notation.
        restarts: how often the scheduler has put it back into the queue.
        reason: why it waits, or how it ended.
    """

    job_id: str
    name: str
    state: str
    partition: str
    account: str
    nodes: int
    node_list: str
    restarts: int
    reason: str


@dataclass(frozen=True)
class Usage:
    """One stay of one job on its nodes, from the record the scheduler writes when it leaves them.

    Args:
        job_id: the scheduler's id; a job that was put back into the queue has several stays.
        name: as submitted.
        state: how it ended.
        nodes: how many it had.
        elapsed_s: from start to end, in whole seconds as the scheduler records them.
    """

    job_id: str
    name: str
    state: str
    nodes: int
    elapsed_s: float

    @property
    def node_seconds(self) -> float:
        """What the stay cost."""
        return self.nodes * self.elapsed_s


def parse_queue(text: str) -> list[Job]:
    """Read what ``squeue --Format`` printed in the format above."""
    jobs = []
    for line in text.splitlines():
        row, start = {}, 0
        for name, width in _COLUMNS.items():
            row[name] = line[start : start + width].strip().replace("(null)", "")
            start += width
        jobs.append(
            Job(
                job_id=row["JobID"],
                name=row["Name"],
                state=row["State"],
                partition=row["Partition"],
                account=row["Account"],
                nodes=int(row["NumNodes"]),
                node_list=row["NodeList"],
                restarts=int(row["RestartCnt"]),
                reason=row["Reason"],
            )
        )
    return jobs


def parse_record(text: str) -> list[Usage]:
    """Read the job completion record (``JobCompType=jobcomp/filetxt``); jobs that never started cost nothing."""
    record = []
    for line in text.splitlines():
        row = dict(word.partition("=")[::2] for word in line.split())
        try:
            start, end = (datetime.datetime.fromisoformat(row[name]) for name in ("StartTime", "EndTime"))
        except ValueError:  # "Unknown": it never started
            continue
        record.append(
            Usage(
                job_id=row["JobId"],
                name=row["Name"],
                state=row["JobState"],
                nodes=int(row["NodeCnt"]),
                elapsed_s=max(0.0, (end - start).total_seconds()),
            )
        )
    return record
