"""Groups against a real service: counted, waited for, iterated, left by Ctrl-C, summed up, shown."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest

from faas.analytics import AttemptRecord, History, TaskRecord
from faas.client import Client
from faas.errors import NotFound, TaskFailed, TaskPending
from faas.groups import Group, summarized
from faas.models import Failure
from tests.unit.faas.played_site import Site

WAIT_S = 60.0


def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def group(client: Client, site: Site) -> Iterator[Group]:
    """Three tasks, of which none has run."""
    batch = client.create_batch()
    function_id = client.register_function(double)
    for number in range(3):
        batch.add(function_id, (number,))
    group = client.group(client.batch_run("played", batch)["task_group_id"])
    yield group
    group.cancel()


def test_its_tasks_are_counted(group: Group, site: Site) -> None:
    assert (group.states, len(group)) == ({"queued": 3}, 3)
    site.run(0)
    assert group.states == {"queued": 2, "succeeded": 1}


def test_waiting_ends_with_the_last_task(group: Group, site: Site) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(group.wait, WAIT_S)
        for number in range(3):
            assert not waiting.done()
            site.run(number)
        assert waiting.result(WAIT_S) == {"succeeded": 3}
    assert group.wait() == {"succeeded": 3}


def test_a_wait_that_ends_too_early_says_how_to_go_on(group: Group) -> None:
    for wait in (lambda: group.wait(0.01), lambda: list(group.results(0.01))):
        with pytest.raises(TaskPending, match="3 tasks of group") as told:
            wait()
        assert f"client.group({group.group_id!r}).wait()" in str(told.value)


def test_results_come_as_tasks_end_each_once(group: Group, site: Site) -> None:
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(lambda: list(group.results(WAIT_S)))
        ids = [site.run(10), site.run(failure=Failure(kind="exception", message="ValueError: no")), site.run(12)]
        ended = reading.result(WAIT_S)
    assert [task.task_id for task in ended] == ids
    assert [task.result() for task in ended if task.succeeded] == [10, 12]
    assert isinstance(ended[1].exception(), TaskFailed)
    with pytest.raises(TaskFailed, match="ValueError: no"):
        ended[1].result()
    assert [task.task_id for task in group] == ids


def test_results_come_in_pages(group: Group, site: Site) -> None:
    for number in range(3):
        site.run(number)
    with mock.patch("faas.groups._PAGE_TASKS", 2):
        assert [task.result() for task in group] == [0, 1, 2]


def test_ctrl_c_leaves_the_tasks_and_says_how_to_come_back(client: Client, group: Group) -> None:
    with (
        mock.patch.object(client.link, "request", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt, match=f"go on without you.*client.group.'{group.group_id}'"),
    ):
        group.wait()
    assert group.states == {"queued": 3}


def test_it_is_cancelled(group: Group) -> None:
    assert len(group.cancel().cancelled) == 3
    assert group.wait(WAIT_S) == {"cancelled": 3}
    assert [task.state for task in group] == ["cancelled"] * 3


def test_its_history_is_summed_up_and_drawn(group: Group, site: Site) -> None:
    for number in range(3):
        site.run(number)
    summary = group.summary()
    assert (summary["tasks"], summary["states"], summary["retries"]) == (3, {"succeeded": 3}, 0)
    assert (summary["functions"], summary["endpoints"]) == ({"double": 3}, {"played": 3})
    assert summary["stages"][0]["run_median_s"] == 0.012
    assert group.timeline().axes[0].get_title() == "Timeline"


def test_a_notebook_shows_it(group: Group, site: Site) -> None:
    site.run(0)
    html = group._repr_html_()
    assert '<progress value="1" max="3"' in html
    assert "<td>queued</td><td>2</td>" in html


def test_an_unknown_group_is_named(client: Client) -> None:
    unknown = client.group("00000000-0000-4000-8000-000000000000")
    for look in (unknown.wait, unknown.summary, lambda: next(iter(unknown))):
        with pytest.raises(NotFound, match="00000000-0000"):
            look()


def test_the_history_of_a_client_has_tasks_and_blocks(client: Client, group: Group, site: Site) -> None:
    from faas.models import Block

    site.run(0)
    site.beat(Block(block_id="b1", state="running", requested_at=1.0, started_at=2.0, ready_at=3.0, workers=2))
    history = client.history()
    of_group = [task for task in history.tasks if task.group_id == group.group_id]
    assert [task.endpoint for task in of_group] == ["played", "", ""]
    assert "played" in {block.endpoint for block in history.blocks}
    assert client.history(task_group_id=group.group_id).tasks == of_group
    [row, *_] = client.history(task_group_id=group.group_id, blocks=False).records()
    assert (row["endpoint"], row["run_s"], row["function"]) == ("played", 0.012, "double")


def test_listings_are_lists_that_notebooks_show(client: Client, group: Group) -> None:
    tasks = client.search_tasks(task_group_id=group.group_id)
    assert isinstance(tasks, list) and len(tasks) == 3
    assert "<td>double</td>" in tasks._repr_html_()  # type: ignore[attr-defined]
    assert "played" in client.get_endpoints()._repr_html_()  # type: ignore[attr-defined]
    assert "double" in client.get_functions()._repr_html_()  # type: ignore[attr-defined]
    task = client.get_task(tasks[0]["task_id"])
    assert "<td>queued</td>" in task._repr_html_()  # type: ignore[attr-defined]
    for value in (tasks[0], task, client.get_functions()):
        assert type(pickle.loads(pickle.dumps(value))) in (dict, list)


def test_a_summary_of_retries_and_rates() -> None:
    tries = (AttemptRecord(1, "a", "failed", 1.0, 1.0, 2.0), AttemptRecord(2, "b", "succeeded", 3.0, 3.0, 5.0, 2.0))
    history = History([TaskRecord("t", "g", "ada", "f", "succeeded", 0.0, 5.0, {}, tries)], [], 9.0)
    told = summarized("g", history)
    assert (told["retries"], told["duration_s"], told["per_s"], told["endpoints"]) == (1, 5.0, 0.2, {"b": 1})
