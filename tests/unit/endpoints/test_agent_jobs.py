"""Batch jobs of agents: named on disk first, found by their mark, cancelled with those they submit meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints import profiles
from endpoints.agent_jobs import AgentJobs, job_prefix, jobs_on_file
from endpoints.allocation import AgentJob
from endpoints.configuration import Configuration
from endpoints.job_queue import QueuedJob
from endpoints.places import Places
from endpoints.profiles import Profile

LONGEST_NAME = 15


class Queue:
    """A queue in which a job that is cancelled submits another one first, once."""

    def __init__(self, jobs: dict[str, str], successor: str = "") -> None:
        self.jobs = jobs
        self.successor = successor

    def find(self, prefix: str) -> list[QueuedJob]:
        return [QueuedJob(job_id, name) for job_id, name in self.jobs.items() if name.startswith(prefix)]

    def cancel(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            del self.jobs[job_id]
        if self.successor:
            self.jobs["99"], self.successor = self.successor, ""


def configuration_with(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    profiles.find_profile("local")
    made = Profile("queued", lambda *_: None, lambda _: queue)
    monkeypatch.setitem(profiles.PROFILES, "queued", made)
    return Configuration.parse("name: lab\nprofile: queued\n", "config.yaml")


def jobs_in(directory: Path) -> AgentJobs:
    places = Places(directory / "endpoints" / "lab")
    places.prepare()
    return AgentJobs(places, "an endpoint")


def test_names_are_on_disk_and_number_on(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    first = jobs.new()
    assert [job.name for job in jobs.known()] == [first.name]
    second = jobs.new()
    assert [first.name, second.name] == [f"{jobs.prefix}1", f"{jobs.prefix}2"]
    jobs.forget(first.name)
    assert jobs.new().name == f"{jobs.prefix}3"


def test_names_start_again_before_they_are_too_long(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    last = jobs.new()
    last.name = f"{jobs.prefix}999"
    jobs.save(last)
    last.submitted_at += 1
    jobs.save(last)
    again = jobs.new()
    assert again.name == f"{jobs.prefix}1"


@given(st.text())
def test_marks_leave_room_for_a_number(endpoint_id: str) -> None:
    assert len(job_prefix(endpoint_id) + "999") <= LONGEST_NAME


def test_a_job_tells_that_it_is_there(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    job = jobs.new()
    assert not jobs.has_arrived(job.name)
    jobs.arrive(job.name)
    assert jobs.has_arrived(job.name)
    jobs.forget(job.name)
    assert not jobs.has_arrived(job.name)


def test_cancelling_finds_the_job_that_was_submitted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_in(tmp_path)
    job = jobs.new()
    queue = Queue({"1": job.name, "2": "somebody else's"}, successor=f"{jobs.prefix}2")
    gone = jobs.cancel(configuration_with(queue, monkeypatch))
    assert {each.job_id for each in gone} == {"1", "99"}
    assert queue.jobs == {"2": "somebody else's"}
    assert jobs_on_file(Places(tmp_path / "endpoints" / "lab")) == []


def test_a_submission_that_failed_but_got_through_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_in(tmp_path)
    job = jobs.new()
    queue = Queue({"1": job.name, "2": f"{job.name}0"})
    jobs.withdraw(job.name, configuration_with(queue, monkeypatch))
    assert queue.jobs == {"2": f"{job.name}0"}
    assert jobs.known() == []


@given(
    st.builds(
        AgentJob,
        walltime_s=st.integers(60, 30 * 86_400),
        renew_s=st.floats(1, 30 * 86_400),
        finish_s=st.floats(10, 86_400),
    )
)
def test_the_next_job_is_submitted_before_this_one_stops(job: AgentJob) -> None:
    assert 0 < job.stops_at_s < job.walltime_s
    assert job.walltime_s / 4 <= job.renews_at_s < job.walltime_s
