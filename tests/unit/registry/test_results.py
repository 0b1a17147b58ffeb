"""Results by cursor: in order, complete, and only to their owner."""

from __future__ import annotations

import pytest

from faas.errors import NotFound
from faas.models import Location
from registry import results, search
from registry.identities import Principal
from tests.unit.registry.federation import Agent, Federation, new_id


def test_results_come_in_the_order_tasks_ended(federation: Federation, ada: Principal, site: Agent) -> None:
    group_id = new_id()
    federation.run(ada, 3, group_id=group_id)
    first, second, third = site.lease()
    site.succeed(third)
    site.fail(first)
    federation.cancel(ada, second.task_id)
    ended = federation.results(ada, group_id)
    assert [(each.task_id, each.state, each.cursor) for each in ended] == [
        (third.task_id, "succeeded", 1),
        (first.task_id, "failed", 2),
        (second.task_id, "cancelled", 3),
    ]
    assert ended[0].location == Location(site.segments[ada.identity_id].object_id, third.key.sequence, 1)
    assert (ended[0].endpoint_id, ended[0].message, ended[1].message) == (site.endpoint_id, "", "ValueError")
    assert ended[2].location is None
    assert federation.read(search.group, ada, group_id).cursor == 3


def test_pages_join_without_gap_or_repeat(federation: Federation, ada: Principal, site: Agent) -> None:
    group_id = new_id()
    task_ids = federation.run(ada, 7, group_id=group_id)
    granted = site.lease()
    site.succeed(*granted[:4])
    site.succeed(*granted[4:])
    seen: list[str] = []
    cursor = 0
    while page := federation.results(ada, group_id, after=cursor, limit=2):
        seen += [each.task_id for each in page]
        cursor = page[-1].cursor
    assert (seen, cursor) == (task_ids, 7)


def test_groups_count_apart(federation: Federation, ada: Principal, site: Agent) -> None:
    groups = [new_id(), new_id()]
    for group_id in groups * 2:
        federation.run(ada, group_id=group_id)
    site.succeed(*site.lease())
    assert federation.changes[-1].groups == set(groups)
    for group_id in groups:
        first, second = (each.cursor for each in federation.results(ada, group_id))
        assert second == first + 1


def test_an_unknown_group_is_empty(federation: Federation, ada: Principal) -> None:
    assert federation.results(ada, new_id()) == []


def test_anothers_group_looks_unknown(federation: Federation, ada: Principal, bob: Principal) -> None:
    group_id = new_id()
    federation.run(ada, group_id=group_id)
    with pytest.raises(NotFound):
        federation.results(bob, group_id)
    with pytest.raises(NotFound):
        federation.read(search.group, bob, group_id)


def test_one_tasks_result(federation: Federation, ada: Principal, bob: Principal, site: Agent) -> None:
    group_id = new_id()
    [task_id] = federation.run(ada, group_id=group_id)
    result, group = federation.read(results.task_result, ada, task_id)
    assert (result.state, result.location, group) == ("queued", None, group_id)
    site.succeed(*site.lease())
    result, _ = federation.read(results.task_result, ada, task_id)
    assert result.state == "succeeded"
    assert result.location is not None
    assert result.endpoint_id == site.endpoint_id
    for principal, unknown in ((bob, task_id), (ada, new_id()), (ada, "nonsense")):
        with pytest.raises(NotFound):
            federation.read(results.task_result, principal, unknown)


def test_parents_are_found_with_their_results(federation: Federation, ada: Principal, site: Agent) -> None:
    parents = federation.run(ada, 2)
    [child, _] = federation.run(ada, 2, after=parents)
    site.succeed(*site.lease())
    sequence = federation.row(child).sequence
    found = federation.read(results.parents_of, [sequence])
    assert set(found) == {sequence}
    assert sorted(each.task_id for each in found[sequence]) == sorted(parents)
    assert {each.location.object_id for each in found[sequence]} == {site.segments[ada.identity_id].object_id}
    assert federation.read(results.parents_of, []) == {}
