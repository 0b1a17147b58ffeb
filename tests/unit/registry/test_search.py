"""Searching: every filter alone and together, pages, and only the caller's tasks."""

from __future__ import annotations

from typing import Any

import pytest

from faas.errors import InvalidRequest, NotFound
from faas.models import TaskQuery
from registry import search
from registry.identities import Principal
from tests.unit.registry.federation import Agent, Federation, new_id


def _found(federation: Federation, principal: Principal, **filters: Any) -> list[str]:
    page = federation.read(search.search, principal, TaskQuery(**filters))
    return [task.task_id for task in page.tasks]


def test_everything_newest_first_and_only_the_callers(federation: Federation, ada: Principal, bob: Principal) -> None:
    task_ids = federation.run(ada, 3)
    federation.run(bob)
    assert _found(federation, ada) == task_ids[::-1]


def test_by_state(federation: Federation, ada: Principal, site: Agent) -> None:
    good, bad, queued = federation.run(ada, 3)
    first, second = site.lease(2)
    site.succeed(first)
    site.fail(second)
    assert _found(federation, ada, state=["succeeded"]) == [good]
    assert _found(federation, ada, state=["failed", "queued"]) == [queued, bad]
    assert _found(federation, ada, state=["lost"]) == []
    with pytest.raises(InvalidRequest) as refusal:
        _found(federation, ada, state=["done"])
    assert refusal.value.field == "state"


def test_by_tags(federation: Federation, ada: Principal) -> None:
    [both] = federation.run(ada, tags={"run": "7", "sample": "steel"})
    [one] = federation.run(ada, tags={"run": "7"})
    [other] = federation.run(ada, tags={"run": "8", "x": "7"})
    assert _found(federation, ada, tags={"run": "7"}) == [one, both]
    assert _found(federation, ada, tags={"run": "7", "sample": "steel"}) == [both]
    assert _found(federation, ada, tags={"x": "7"}) == [other]
    assert _found(federation, ada, tags={"run": "9"}) == []
    assert federation.show(ada, both).tags == {"run": "7", "sample": "steel"}


def test_by_function(federation: Federation, ada: Principal) -> None:
    first = federation.function(ada, "fit", b"1")
    federation.clock.advance(1)
    second = federation.function(ada, "fit", b"2")
    other = federation.function(ada, "sort", b"3")
    old, new, sort = (federation.run(ada, function=each)[0] for each in (first, second, other))
    assert _found(federation, ada, function=first) == [old]
    assert _found(federation, ada, function="fit") == [new, old]
    assert _found(federation, ada, function="sort") == [sort]
    assert _found(federation, ada, function="nothing") == []


def test_by_endpoint(federation: Federation, ada: Principal, site: Agent) -> None:
    other = federation.agent(ada, "other")
    here, there, nowhere = federation.run(ada, 3)
    site.start(*site.lease(1))
    other.succeed(*other.lease(1))
    assert _found(federation, ada, endpoint="site") == [here]
    assert _found(federation, ada, endpoint=other.endpoint_id) == [there]
    assert nowhere not in _found(federation, ada, endpoint="other")


def test_by_group_and_time(federation: Federation, ada: Principal) -> None:
    group_id = new_id()
    start = federation.clock.now
    task_ids = []
    for _ in range(3):
        task_ids += federation.run(ada, group_id=group_id)
        federation.clock.advance(10)
    federation.run(ada)
    assert _found(federation, ada, group_id=group_id) == task_ids[::-1]
    assert _found(federation, ada, since=start + 10, until=start + 30) == task_ids[:0:-1]
    assert _found(federation, ada, until=start + 10) == task_ids[:1]
    assert _found(federation, ada, since=start + 31) == []


def test_filters_work_together(federation: Federation, ada: Principal, site: Agent) -> None:
    wanted, same_tag = federation.run(ada, 2, tags={"run": "7"})
    site.succeed(*site.lease(1))
    assert same_tag not in _found(federation, ada, tags={"run": "7"}, state=["succeeded"], endpoint="site")
    assert _found(federation, ada, tags={"run": "7"}, state=["succeeded"], endpoint="site") == [wanted]


def test_pages_follow_one_another(federation: Federation, ada: Principal) -> None:
    task_ids = federation.run(ada, 7)
    seen: list[str] = []
    before, pages = None, 0
    while True:
        page = federation.read(search.search, ada, TaskQuery(limit=3, before=before))
        seen += [task.task_id for task in page.tasks]
        pages += 1
        federation.run(ada)  # newer ones do not shift the pages
        if page.next_before is None:
            break
        before = page.next_before
    assert (seen, pages) == (task_ids[::-1], 3)


def test_a_last_page_that_is_just_full_says_so(federation: Federation, ada: Principal) -> None:
    federation.run(ada, 3)
    assert federation.read(search.search, ada, TaskQuery(limit=3)).next_before is None


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_size(federation: Federation, ada: Principal, limit: int) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _found(federation, ada, limit=limit)
    assert refusal.value.field == "limit"


def test_one_task_is_shown_whole(federation: Federation, ada: Principal, bob: Principal, site: Agent) -> None:
    function_id = federation.function(ada)
    [parent] = federation.run(ada)
    site.succeed(*site.lease())
    [task_id] = federation.run(ada, after=[parent], max_attempts=2, target="site", priority=3)
    site.fail(*site.lease())
    site.succeed(*site.lease())
    task = federation.show(ada, task_id)
    assert (task.function_id, task.function, task.owner, task.target) == (function_id, "fit", "ada", "site")
    assert (task.endpoint, task.priority, task.max_attempts, task.dependencies) == ("site", 3, 2, [parent])
    assert [(each.number, each.state, each.endpoint) for each in task.attempts] == [
        (1, "failed", "site"),
        (2, "succeeded", "site"),
    ]
    assert task.location_key == site.segments[ada.identity_id].key
    for principal, unknown in ((bob, task_id), (ada, new_id())):
        with pytest.raises(NotFound):
            federation.show(principal, unknown)


def test_a_group_is_counted_by_state(federation: Federation, ada: Principal, site: Agent) -> None:
    group_id = new_id()
    federation.run(ada, 4, group_id=group_id)
    first, second, _ = site.lease(3)
    site.succeed(first)
    site.start(second)
    group = federation.read(search.group, ada, group_id)
    assert group.states == {"succeeded": 1, "running": 1, "leased": 1, "queued": 1}
    assert (group.cursor, group.created_at) == (1, federation.clock.now)
    with pytest.raises(NotFound):
        federation.read(search.group, ada, new_id())
