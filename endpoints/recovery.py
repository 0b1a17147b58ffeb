"""What an agent that died left behind: processes, batch jobs, and attempts of which only their journals tell."""

from __future__ import annotations

import functools
import logging
import shutil
import time
from pathlib import Path

from endpoints.block_book import BlockEnds, name_prefix, read_blocks
from endpoints.configuration import Configuration
from endpoints.job_queue import cancel_all
from endpoints.journal import read_journal
from endpoints.lost_work import lost_outcome
from endpoints.output_file import find_unnamed
from endpoints.outputs import clear_outputs
from endpoints.places import Places
from endpoints.processes import stop_processes
from endpoints.profiles import find_profile
from endpoints.session import SessionState
from endpoints.spool import Batch, Spool

logger = logging.getLogger(__name__)

_JOBS_GONE_S = 30.0


def stop_leftovers(state: SessionState) -> None:
    """End every process of an earlier agent on this host; call when that agent itself is gone."""
    if state.on_this_host and (stopped := stop_processes(state.nonce)):
        logger.info("stopped %d process(es) left by the agent that ran as pid %d", stopped, state.pid)


def cancel_leftover_jobs(state: SessionState, places: Places, configuration: Configuration) -> int:
    """Cancel every batch job of an earlier agent of this endpoint, from whichever host it ran.

    Nothing is taken over: what its workers had started is lost with the agent that could tell of it.

    Returns:
        How many jobs there were.

    Raises:
        QueueUnavailable: the scheduler does not say; its jobs end by themselves when their pilots find no agent.
    """
    if state.profile not in ("", configuration.profile):
        configuration = configuration.model_copy(update={"profile": state.profile})
    queue = find_profile(configuration.profile).queue(configuration)
    jobs = cancel_all(queue, name_prefix(state.nonce), _JOBS_GONE_S)
    if jobs:
        logger.info("cancelled %d batch job(s) left by the agent that ran on %s", len(jobs), state.host)
    left = [block for block in read_blocks(places.blocks) if block.block_id.startswith(name_prefix(state.nonce))]
    for block in left:
        block.state, block.ended_at, block.message = "ended", time.time(), "its agent was gone"
    BlockEnds(places.block_ends).add(left)
    places.blocks.unlink(missing_ok=True)
    return len(jobs)


def spool_lost(places: Places, spool: Spool) -> int:
    """Turn journals without a report into outcomes: what had started is lost with its worker.

    What had not started needs no outcome: closing the old session returns it.

    Returns:
        How many attempts were lost.
    """
    known = spool.attempts()
    batch = Batch(owner_id="")
    journals = sorted((places.run / "journal").iterdir())
    for journal in journals:
        entries = read_journal(journal)
        for attempt, at in entries.started.items():
            if attempt not in known:
                batch.add(
                    lost_outcome(
                        attempt,
                        "The endpoint's agent was killed while the task ran, and its worker with it.",
                        started_at=at,
                        where=entries.worker,
                        printed=functools.partial(find_unnamed, places.output, attempt),
                    )
                )
    if batch.outcomes:
        spool.save(batch)
        logger.warning("%d task(s) were running when the last agent was killed; reported lost", len(batch.outcomes))
    for journal in journals:
        journal.unlink(missing_ok=True)
    return len(batch.outcomes)


def clear_run_directory(places: Places, spool: Spool) -> None:
    """Remove what no live attempt needs, unfinished output files among it; results that wait in the spool stay."""
    clear_outputs(places.run / "outputs")
    batches = (spool.load(path) for path in spool.paths())
    needed = {Path(file).name for batch in batches if batch is not None for file in batch.files if file}
    for result in (places.run / "results").iterdir():
        if result.name not in needed:
            result.unlink(missing_ok=True)
    for part in ("values", "recalled", "journal"):
        shutil.rmtree(places.run / part, ignore_errors=True)
        (places.run / part).mkdir(exist_ok=True)
