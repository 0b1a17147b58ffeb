"""Where a task's time went, stage by stage, and tables of it for each route."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from faas.analytics.records import History, TaskRecord

STAGES = ("wait", "start", "run", "return", "total")
"""The stages, in order; see :func:`stages_of`."""


def stages_of(task: TaskRecord) -> dict[str, float | None]:
    """The seconds of each stage of a task that ended; None for what is not known.

    ========== ================================================================== =========================
    stage      from … to                                                          clocks
    ========== ================================================================== =========================
    ``wait``   submitted … leased by the endpoint where it ended (so what earlier service's
               attempts took is in it)
    ``start``  leased … started in a worker, inputs fetched                       service's, then the site's
    ``run``    in the function                                                    site's, one clock
    ``return`` out of the function … result stored and reported                   site's, then the service's
    ``total``  submitted … ended                                                  service's
    ========== ================================================================== =========================

    The first four add up to ``total``. Where a site's clock is wrong, what ``start`` has too much ``return`` has too
    little; their sum is right.

    Example:
        >>> attempt = AttemptRecord(1, "theta", "succeeded", leased_at=12.0, started_at=13.0, ended_at=20.0, run_s=6.5)
        >>> stages_of(TaskRecord("t", "g", "APS", "xpcs", "succeeded", 10.0, 20.0, {}, (attempt,)))
        {'wait': 2.0, 'start': 1.0, 'run': 6.5, 'return': 0.5, 'total': 10.0}
    """
    found: dict[str, float | None] = dict.fromkeys(STAGES)
    if task.ended_at is None:
        return found
    found["total"] = task.ended_at - task.submitted_at
    if not task.attempts:
        return found
    last = task.attempts[-1]
    found["wait"] = last.leased_at - task.submitted_at
    if last.started_at is None:
        return found
    found["start"] = last.started_at - last.leased_at
    if last.run_s is not None:
        found["run"] = last.run_s
        found["return"] = task.ended_at - last.started_at - last.run_s
    return found


def quantile(values: Sequence[float], fraction: float) -> float:
    """A quantile, interpolated between neighbours as numpy does.

    Example:
        >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5)
        2.5

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("There is no quantile of nothing.")
    ordered = sorted(values)
    place = fraction * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def stage_table(history: History, by: Sequence[str] = ("owner", "endpoint")) -> list[dict[str, Any]]:
    """Latencies stage by stage for each route: by default, for each identity and endpoint.

    Only tasks that succeeded count, as in the tables of the field: a failure is soon over.

    Args:
        history: the tasks.
        by: what makes a route: any of ``owner``, ``endpoint``, ``function``, ``group_id``.

    Returns:
        A row for each route, in order: its names, ``tasks``, and ``<stage>_median_s`` and ``<stage>_p95_s`` for each
        of :data:`STAGES`; None where nothing is known.

    Raises:
        ValueError: there is no such route.

    Example:
        >>> for row in stage_table(client.history()):                                 # doctest: +SKIP
        ...     print(row["owner"], row["endpoint"], row["total_median_s"])
    """
    routes: dict[tuple[str, ...], list[TaskRecord]] = {}
    for name in by:
        if name not in ("owner", "endpoint", "function", "group_id"):
            raise ValueError(f"There is no route by {name!r}. Use owner, endpoint, function or group_id.")
    for task in history.tasks:
        if task.state == "succeeded":
            routes.setdefault(tuple(getattr(task, name) for name in by), []).append(task)
    return [
        {**dict(zip(by, route, strict=True)), "tasks": len(routes[route]), **_latencies(routes[route])}
        for route in sorted(routes)
    ]


def _latencies(tasks: Iterable[TaskRecord]) -> dict[str, float | None]:
    seen: dict[str, list[float]] = {name: [] for name in STAGES}
    for task in tasks:
        for name, seconds in stages_of(task).items():
            if seconds is not None:
                seen[name].append(seconds)
    row: dict[str, float | None] = {}
    for name, values in seen.items():
        row[f"{name}_median_s"] = quantile(values, 0.5) if values else None
        row[f"{name}_p95_s"] = quantile(values, 0.95) if values else None
    return row


def endpoint_table(history: History, since: float | None = None) -> list[dict[str, Any]]:
    """What each endpoint did: tasks, failures, rates, waits, use of its workers.

    Args:
        history: tasks and blocks.
        since: counts what ended from then on, in seconds since the epoch; by default everything.

    Returns:
        A row for each endpoint: ``endpoint``, ``tasks`` (ended there), ``failed`` (of them), ``lost`` (attempts),
        ``per_min``, ``utilization``, ``worker_s``, ``busy_worker_s``, ``blocks``, ``block_wait_median_s`` (from
        request to first worker; only of blocks that got one), and the columns of :func:`stage_table`.
    """
    from faas.analytics.curves import utilization

    begin = history.begin if since is None else since
    end = history.until if since is not None else history.end
    tasks: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for task in history.tasks:
        if task.ended_at is not None and task.ended_at >= begin and task.attempts:
            tasks[task.endpoint] += 1
            failed[task.endpoint] += task.state != "succeeded"
        for attempt in task.attempts:
            lost[attempt.endpoint] += attempt.state == "lost" and (attempt.ended_at or 0.0) >= begin
    ended = [task for task in history.tasks if task.ended_at is not None and task.ended_at >= begin]
    routes = {row["endpoint"]: row for row in stage_table(History(ended, [], history.until), by=("endpoint",))}
    rows = []
    for used in utilization(history, begin, end):
        name = used["endpoint"]
        waits = [
            block.ready_at - block.requested_at
            for block in history.blocks
            if block.endpoint == name and block.ready_at is not None and block.ready_at >= begin
        ]
        stages = {f"{stage}_{which}_s": None for stage in STAGES for which in ("median", "p95")}
        stages |= {key: value for key, value in routes.get(name, {}).items() if key.endswith("_s")}
        rows.append(
            {
                **used,
                "tasks": tasks[name],
                "failed": failed[name],
                "lost": lost[name],
                "per_min": 60 * tasks[name] / (end - begin) if end > begin else None,
                "block_wait_median_s": quantile(waits, 0.5) if waits else None,
                **stages,
            }
        )
    return rows
