"""What is reported of an attempt whose worker is gone: all that is still known of it, from files at the site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from endpoints.output_file import Stream, tail
from endpoints.output_tail import TAIL_BYTES
from endpoints.whereabouts import Whereabouts
from faas.models import AttemptKey, Outcome


def lost_outcome(
    attempt: AttemptKey,
    why: str,
    *,
    started_at: float | None,
    where: Whereabouts,
    printed: Callable[[Stream], Path | None],
    environment: str = "",
) -> Outcome:
    """An attempt that is lost with its worker.

    Args:
        attempt: which.
        why: what happened to the worker, as a sentence.
        started_at: seconds since the epoch; None if it is not known to have started.
        where: its worker ran.
        printed: finds the file with what it wrote to a stream.
        environment: the one it ran in, where that is known.
    """
    return Outcome(
        attempt=attempt,
        state="lost",
        message=why,
        started_at=started_at,
        host=where.host,
        worker=where.worker,
        node=where.node,
        job_id=where.job_id,
        block_id=where.block_id,
        environment=environment,
        stdout=tail(printed("out"), TAIL_BYTES),
        stderr=tail(printed("err"), TAIL_BYTES),
    )
