"""What analysis starts from: tasks with their attempts, and blocks, as the service tells them.

**Clocks.** ``submitted_at``, ``leased_at`` and every ``ended_at`` are by the service's clock, so what lies between them
is exact. ``started_at`` is by the site's clock: a site that is a second ahead moves a second from one side of it to
the other. ``run_s`` is measured at the site and needs no clock. A task's ``ended_at`` is when its result was stored
*and* the report of it was committed: from then on any client can have it. When a client fetched it is not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from faas.models import BlockHistory, TaskHistory


class AttemptRecord(msgspec.Struct, frozen=True, gc=False):
    """One try of a task at one endpoint. Times are in seconds since the epoch, UTC."""

    number: int
    endpoint: str
    state: str
    leased_at: float
    started_at: float | None = None
    ended_at: float | None = None
    run_s: float | None = None
    block_id: str | None = None

    def busy(self, until: float) -> tuple[float, float] | None:
        """From when to when it kept a worker busy, as far as ``until``; None if it did not start."""
        if self.started_at is None:
            return None
        if self.run_s is not None:
            end = self.started_at + self.run_s  # the report came later
        else:
            end = until if self.ended_at is None else self.ended_at
        end = min(end, until)
        return (self.started_at, end) if end > self.started_at else None


class TaskRecord(msgspec.Struct, frozen=True):
    """One task. Times are in seconds since the epoch, UTC."""

    task_id: str
    group_id: str
    owner: str
    function: str
    state: str
    submitted_at: float
    ended_at: float | None = None
    tags: dict[str, str] = {}
    attempts: tuple[AttemptRecord, ...] = ()

    @property
    def endpoint(self) -> str:
        """Where it was tried last; empty if nowhere."""
        return self.attempts[-1].endpoint if self.attempts else ""

    def waits(self, until: float) -> Iterator[tuple[float, float]]:
        """The spans in which no endpoint had it in hand: at first, and between one attempt and the next."""
        begin: float | None = self.submitted_at
        for attempt in self.attempts:
            if begin is not None and attempt.leased_at > begin:
                yield begin, attempt.leased_at
            begin = attempt.ended_at
        end = until if self.ended_at is None else self.ended_at
        if begin is not None and end > begin:
            yield begin, end

    def as_dict(self) -> dict[str, Any]:
        """One flat row, with the times and state of the last attempt, and the stages in seconds.

        See :func:`faas.analytics.stages_of` for what the stages are.
        """
        from faas.analytics.stages import stages_of

        last = self.attempts[-1] if self.attempts else None
        return {
            "task_id": self.task_id,
            "group_id": self.group_id,
            "owner": self.owner,
            "function": self.function,
            "endpoint": self.endpoint,
            "state": self.state,
            "attempts": len(self.attempts),
            "submitted_at": self.submitted_at,
            "leased_at": last.leased_at if last else None,
            "started_at": last.started_at if last else None,
            "ended_at": self.ended_at,
            "run_s": last.run_s if last else None,
            "block_id": last.block_id if last else None,
            "tags": dict(self.tags),
            **{f"{name}_stage_s": seconds for name, seconds in stages_of(self).items()},
        }


class BlockRecord(msgspec.Struct, frozen=True, gc=False):
    """One run of a batch allocation. Times are in seconds since the epoch, UTC, told by the site."""

    endpoint: str
    block_id: str
    run: int
    state: str
    nodes: int
    workers: int
    requested_at: float
    started_at: float | None = None
    ready_at: float | None = None
    ended_at: float | None = None

    def serving(self, until: float) -> tuple[float, float] | None:
        """From when to when it had workers, as far as ``until``; None if it had none."""
        if self.ready_at is None:
            return None
        end = until if self.ended_at is None else min(self.ended_at, until)
        return (self.ready_at, end) if end > self.ready_at else None


@dataclass(frozen=True)
class History:
    """Tasks and blocks up to some moment.

    Args:
        tasks: in the order of submission.
        blocks: in any order.
        until: the service's time when they were read, seconds since the epoch; what has not ended goes on beyond it.

    Example:
        >>> history = client.history(since=timedelta(hours=1))                    # doctest: +SKIP
        >>> pandas.DataFrame(history.records())                     # doctest: +SKIP
        >>> faas.analytics.stage_table(history)                     # doctest: +SKIP
    """

    tasks: list[TaskRecord] = field(default_factory=list)
    blocks: list[BlockRecord] = field(default_factory=list)
    until: float = 0.0

    def __repr__(self) -> str:
        return f"<History of {len(self.tasks)} tasks and {len(self.blocks)} blocks>"

    @property
    def begin(self) -> float:
        """When the first task was submitted; ``until`` if there is none."""
        return min((task.submitted_at for task in self.tasks), default=self.until)

    @property
    def end(self) -> float:
        """When the last task ended; ``until`` if some have not, or there are none."""
        ends = [task.ended_at for task in self.tasks]
        return max((end for end in ends if end is not None), default=self.until) if None not in ends else self.until

    @property
    def endpoints(self) -> list[str]:
        """The endpoints that tried tasks, by name."""
        return sorted({attempt.endpoint for task in self.tasks for attempt in task.attempts})

    def records(self) -> list[dict[str, Any]]:
        """The tasks as flat rows, for pandas or a CSV file; see :meth:`TaskRecord.as_dict`."""
        return [task.as_dict() for task in self.tasks]

    def block_records(self) -> list[dict[str, Any]]:
        """The blocks as flat rows."""
        return [msgspec.structs.asdict(block) for block in self.blocks]

    @classmethod
    def of_pages(cls, tasks: Iterable[TaskHistory], blocks: Iterable[BlockHistory] = ()) -> History:
        """Put the service's pages together."""
        found: list[TaskRecord] = []
        runs: list[BlockRecord] = []
        until = 0.0
        for page in tasks:
            until = max(until, page.now)
            found += _tasks(page)
        for told in blocks:
            until = max(until, told.now)
            runs += _blocks(told)
        return cls(found, runs, until)


def _tasks(page: TaskHistory) -> Iterator[TaskRecord]:
    tried: list[list[AttemptRecord]] = [[] for _ in page.tasks.task_id]
    a = page.attempts
    for task, number, endpoint_id, *rest in zip(
        a.task,
        a.number,
        a.endpoint_id,
        a.state,
        a.leased_at,
        a.started_at,
        a.ended_at,
        a.run_s,
        a.block_id,
        strict=True,
    ):
        tried[task].append(AttemptRecord(number, page.endpoints.get(endpoint_id, endpoint_id), *rest))
    t = page.tasks
    for index, attempts in enumerate(tried):
        yield TaskRecord(
            t.task_id[index],
            t.group_id[index],
            page.identities.get(t.owner_id[index], t.owner_id[index]),
            page.functions.get(t.function_id[index], t.function_id[index]),
            t.state[index],
            t.submitted_at[index],
            t.ended_at[index],
            t.tags[index] or {},
            tuple(attempts),
        )


def _blocks(page: BlockHistory) -> Iterator[BlockRecord]:
    b = page.blocks
    for endpoint_id, *rest in zip(
        b.endpoint_id,
        b.block_id,
        b.run,
        b.state,
        b.nodes,
        b.workers,
        b.requested_at,
        b.started_at,
        b.ready_at,
        b.ended_at,
        strict=True,
    ):
        yield BlockRecord(page.endpoints.get(endpoint_id, endpoint_id), *rest)
