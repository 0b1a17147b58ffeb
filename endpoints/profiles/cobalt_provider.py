"""Cobalt for Parsl, which speaks it no more: PSI/J submits, and Cobalt itself is asked what became of it.

Imported only where an engine is built, for Parsl takes a second to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psij
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import SingleNodeLauncher
from parsl.providers.cluster_provider import ClusterProvider
from psij.executors.batch.cobalt import CobaltExecutorConfig

from endpoints.profiles.cobalt_options import read_options
from endpoints.profiles.cobalt_queue import CobaltQueue

_RUNNING = ("starting", "running", "exiting", "killing")
# PSI/J's own watch takes a state it does not know for the end of every job, and tells no reason for any.
_NEVER_S = 10 * 365 * 86_400
_SCRIPT = """\
{worker_init}
export JOBNAME="{name}"

{command}
"""


class CobaltProvider(ClusterProvider):
    """Blocks as Cobalt's jobs, with the arguments that Parsl's provider had.

    Args:
        account: whom to charge.
        queue: where to submit.
        scheduler_options: further ``#COBALT --name value`` lines.
        worker_init: shell lines before the workers start.
        nodes_per_block: of each job.
        init_blocks: as Parsl has it; blocks are driven from elsewhere.
        min_blocks: likewise.
        max_blocks: likewise.
        parallelism: likewise.
        walltime: HH:MM:SS.
        launcher: Parsl's.
        cmd_timeout: how long Cobalt's commands may take.
    """

    status_polling_interval = 60

    def __init__(
        self,
        account: str | None = None,
        queue: str | None = None,
        scheduler_options: str = "",
        worker_init: str = "",
        nodes_per_block: int = 1,
        init_blocks: int = 0,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str = "00:10:00",
        launcher: Any = None,
        cmd_timeout: int = 120,
    ) -> None:
        super().__init__(
            "cobalt",
            nodes_per_block,
            init_blocks,
            min_blocks,
            max_blocks,
            parallelism,
            walltime,
            launcher or SingleNodeLauncher(),
            cmd_timeout=cmd_timeout,
        )
        self.account, self.queue, self.worker_init = account, queue, worker_init
        self.options = read_options(scheduler_options)
        self._executor: Any = None

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.cobalt") -> str:
        """Submit a block.

        Raises:
            SubmitException: Cobalt does not take it; PSI/J's, with Cobalt's words.
        """
        folder = Path(self.script_dir)
        launched = self.launcher(command, tasks_per_node, self.nodes_per_block, self.script_dir)
        script = folder / f"{job_name}.sh"
        script.write_text(_SCRIPT.format(worker_init=self.worker_init, name=job_name, command=launched))
        files = {f"job_{name}_path": folder / f"{job_name}.{name}" for name in ("stdout", "stderr")}
        # PSI/J's template for Cobalt forgets a job's own name and duration.
        attributes = {"jobname": job_name, "time": self.walltime, **self.options}
        job = psij.Job(
            psij.JobSpec(
                name=job_name,
                executable="/bin/bash",
                arguments=[str(script)],
                directory=folder,
                stdout_path=files["job_stdout_path"],
                stderr_path=files["job_stderr_path"],
                launcher="single",
                resources=psij.ResourceSpecV1(node_count=self.nodes_per_block, processes_per_node=1),
                attributes=psij.JobAttributes(
                    queue_name=self.queue,
                    account=self.account,
                    custom_attributes={f"cobalt.{name}": value for name, value in attributes.items()},
                ),
            )
        )
        try:
            self._jobs(folder).submit(job)
        except psij.SubmitException as refusal:
            raise OSError(str(refusal)) from None
        job_id = str(job.native_id)
        self.resources[job_id] = {
            "status": JobStatus(JobState.PENDING),
            **{name: str(path) for name, path in files.items()},
        }
        return job_id

    def _jobs(self, folder: Path) -> Any:
        if self._executor is None:
            settings = CobaltExecutorConfig(
                work_directory=folder,
                queue_polling_interval=_NEVER_S,
                initial_queue_polling_delay=_NEVER_S,
                keep_files=True,
            )
            self._executor = psij.JobExecutor.get_instance("cobalt", config=settings)
        return self._executor

    def _status(self) -> None:
        asked = [job_id for job_id, job in self.resources.items() if not job["status"].terminal]
        if not asked:
            return
        told = CobaltQueue(self.cmd_timeout).jobs()
        for job_id in asked:
            self.resources[job_id]["status"] = self._read(job_id, told.get(job_id))

    def _read(self, job_id: str, job: dict[str, str] | None) -> JobStatus:
        files = {
            "stdout_path": self.resources[job_id]["job_stdout_path"],
            "stderr_path": self.resources[job_id]["job_stderr_path"],
        }
        if job is None:
            code = self._exit_code(job_id)
            state = JobState.COMPLETED if code in ("", "0") else JobState.FAILED
            words = f"ended with exit code {code}" if code else "ended"
            return JobStatus(state, words, **files)
        word, place = job.get("state", ""), job.get("location", "")
        state = JobState.RUNNING if word in _RUNNING else JobState.HELD if "hold" in word else JobState.PENDING
        on = f" on {place}" if state is JobState.RUNNING and place not in ("", "None", "N/A") else ""
        return JobStatus(state, word + on, **files)

    def _exit_code(self, job_id: str) -> str:
        """What PSI/J's script wrote at its end; empty if it did not get there."""
        try:
            return Path(self._executor.work_directory, f"{job_id}.ec").read_text().strip()
        except OSError:
            return ""

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """Cancel jobs; what became of each is told by Cobalt, not assumed."""
        CobaltQueue(self.cmd_timeout).cancel(job_ids)
        return [True] * len(job_ids)
