"""The rules of attempts, for every task, attempt and outcome there can be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from faas.models import TERMINAL_STATES
from registry.outcomes import MAX_HANDOUTS, AttemptFacts, Decision, TaskFacts, decide

OUTCOMES = ["started", "succeeded", "failed", "released", "lost", "cancelled"]


def _tasks(states: list[str]) -> st.SearchStrategy[TaskFacts]:
    return st.builds(
        TaskFacts,
        state=st.sampled_from(states),
        attempts=st.integers(1, MAX_HANDOUTS + 2),
        charged=st.integers(0, 5),
        losses=st.integers(0, 5),
        max_attempts=st.integers(1, 5),
        max_losses=st.integers(0, 5),
        idempotent=st.booleans(),
    )


open_tasks = _tasks(["queued", "leased", "running"])
ended_tasks = _tasks(sorted(TERMINAL_STATES))
tasks = st.one_of(open_tasks, ended_tasks)
attempts = st.builds(
    AttemptFacts,
    number=st.integers(1, 5),
    live=st.booleans(),
    started=st.booleans(),
    recalled=st.booleans(),
)
outcomes = st.sampled_from(OUTCOMES)
kinds = st.sampled_from([None, "exception", "timeout", "crash", "refused"])


@given(ended_tasks, attempts, outcomes, kinds)
def test_a_task_that_ended_never_changes(
    task: TaskFacts, attempt: AttemptFacts, outcome: str, kind: str | None
) -> None:
    assert decide(task, attempt, outcome, kind=kind).task is None


@given(open_tasks, attempts)
def test_success_of_any_attempt_ends_an_unfinished_task(task: TaskFacts, attempt: AttemptFacts) -> None:
    decision = decide(task, attempt, "succeeded")
    assert (decision.attempt, decision.task) == ("succeeded", "succeeded")


@given(tasks, attempts, outcomes, kinds)
def test_an_attempt_that_is_over_changes_only_by_success(
    task: TaskFacts, attempt: AttemptFacts, outcome: str, kind: str | None
) -> None:
    assume(outcome != "succeeded")
    over = msgspec.structs.replace(attempt, live=False)
    assert decide(task, over, outcome, kind=kind) == Decision(None, None)


@given(open_tasks, attempts, st.sampled_from(["failed", "released", "lost", "cancelled"]), kinds)
def test_only_failures_charge_and_only_losses_count_as_such(
    task: TaskFacts, attempt: AttemptFacts, outcome: str, kind: str | None
) -> None:
    attempt = msgspec.structs.replace(attempt, live=True, recalled=False)
    decision = decide(task, attempt, outcome, kind=kind)
    charged, lost = decision.charged - task.charged, decision.losses - task.losses
    assert charged == (outcome == "failed" and kind != "refused")
    counts = outcome == "lost" or (attempt.started and not task.idempotent and outcome != "failed")
    assert lost == counts


@given(tasks, attempts, outcomes, kinds)
def test_a_started_task_that_must_not_run_twice_is_never_queued_again(
    task: TaskFacts, attempt: AttemptFacts, outcome: str, kind: str | None
) -> None:
    once = msgspec.structs.replace(task, idempotent=False)
    started = msgspec.structs.replace(attempt, started=True)
    assert decide(once, started, outcome, kind=kind).task != "queued"


@given(tasks, attempts, outcomes, kinds)
def test_a_task_is_queued_again_only_within_its_bounds(
    task: TaskFacts, attempt: AttemptFacts, outcome: str, kind: str | None
) -> None:
    decision = decide(task, attempt, outcome, kind=kind)
    if decision.task == "queued":
        assert task.attempts < MAX_HANDOUTS
        assert outcome != "failed" or decision.charged < task.max_attempts
        assert decision.losses == task.losses or decision.losses <= task.max_losses
        assert kind != "refused" or outcome != "failed"
        assert decision.attempt in ("failed", "lost", "released")


@given(tasks, attempts, outcomes, kinds)
def test_a_live_attempt_always_comes_to_an_end(
    task: TaskFacts, attempt: AttemptFacts, outcome: str, kind: str | None
) -> None:
    assume(attempt.live and outcome != "started")
    assert decide(task, attempt, outcome, kind=kind).attempt is not None


@given(tasks, attempts, outcomes)
def test_a_recalled_attempt_touches_no_task(task: TaskFacts, attempt: AttemptFacts, outcome: str) -> None:
    recalled = msgspec.structs.replace(attempt, recalled=True)
    assume(outcome != "succeeded")
    assert decide(task, recalled, outcome).task is None


@pytest.mark.parametrize(
    ("outcome", "fields", "state"),
    [
        ("started", {}, "running"),
        ("failed", {"max_attempts": 1}, "failed"),
        ("failed", {"max_attempts": 2}, "queued"),
        ("failed", {"max_attempts": 2, "charged": 1}, "failed"),
        ("failed", {"max_attempts": 9, "idempotent": False}, "failed"),
        ("lost", {"max_losses": 0}, "lost"),
        ("lost", {"max_losses": 1}, "queued"),
        ("lost", {"max_losses": 1, "losses": 1}, "lost"),
        ("lost", {"max_losses": 9, "idempotent": False}, "lost"),
        ("released", {"max_losses": 0}, "queued"),
        ("cancelled", {"max_losses": 0}, "queued"),
        ("released", {"attempts": MAX_HANDOUTS}, "lost"),
    ],
)
def test_what_an_outcome_makes_of_a_leased_task(outcome: str, fields: dict[str, Any], state: str) -> None:
    task = TaskFacts("leased", 1, 0, 0, max_attempts=1, max_losses=3, idempotent=True)
    decision = decide(msgspec.structs.replace(task, **fields), AttemptFacts(1, live=True, started=False), outcome)
    assert decision.task == state
    assert bool(decision.message) == (state == "lost")


def test_a_recalled_attempt_given_back_was_cancelled() -> None:
    task = TaskFacts("cancelled", 1, 0, 0, max_attempts=1, max_losses=3, idempotent=True)
    recalled = AttemptFacts(1, live=True, started=False, recalled=True)
    assert decide(task, recalled, "released").attempt == "cancelled"
    assert decide(task, recalled, "failed").attempt == "failed"
