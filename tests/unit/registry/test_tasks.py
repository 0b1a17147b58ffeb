"""Submission: repeats, item by item refusals, groups, tags, and tasks that wait for others."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from faas.errors import Conflict, InvalidRequest
from faas.models import AllowedFunctions, Refusal, RunPolicy, Submission, SubmitResponse
from registry import objects, schema, search, tasks
from registry.identities import Principal
from tests.unit.registry.federation import Agent, Federation, new_id


def _task(function: str = "fit", **fields: Any) -> Submission:
    return Submission(**{"task_id": new_id(), "function": function, **fields})


@pytest.fixture(autouse=True)
def fit(federation: Federation, ada: Principal) -> str:
    """Ada's function, by the name of ``fit``."""
    return federation.function(ada)


def test_a_batch_is_accepted_with_its_names_resolved(federation: Federation, ada: Principal, fit: str) -> None:
    group_id = new_id()
    answer = federation.submit(ada, _task(), _task(fit), group_id=group_id)
    assert answer == SubmitResponse(group_id=group_id, accepted=2, functions={"fit": fit})
    assert federation.read(search.group, ada, group_id).states == {"queued": 2}
    assert federation.changes[-1].work


def test_a_task_keeps_the_function_its_name_stood_for(federation: Federation, ada: Principal, fit: str) -> None:
    [task_id] = federation.run(ada, function="fit")
    federation.clock.advance(1)
    newer = federation.function(ada, "fit", b"st:better")
    assert federation.row(task_id).function_id == fit
    [later] = federation.run(ada, function="fit")
    assert federation.row(later).function_id == newer


# Repeats


def test_the_same_batch_again_changes_nothing(federation: Federation, ada: Principal) -> None:
    first = _task(payload=b"1", tags={"run": "7"})
    batch = [first, _task(dependencies=[first.task_id])]
    answers = [federation.submit(ada, *batch) for _ in range(3)]
    assert [(answer.accepted, answer.refused) for answer in answers] == [(2, [])] * 3
    assert federation.count(schema.tasks) == 2
    assert federation.count(schema.task_tags) == 1
    assert federation.count(schema.dependencies) == 1


def test_a_repeat_is_accepted_after_the_task_has_ended(federation: Federation, ada: Principal, site: Agent) -> None:
    task = _task()
    federation.submit(ada, task)
    site.succeed(*site.lease())
    assert federation.submit(ada, task).accepted == 1
    assert federation.state(task.task_id) == "succeeded"
    assert site.lease() == []


@pytest.mark.parametrize(
    "other",
    [{"payload": b"2"}, {"max_attempts": 2}, {"target": "site"}, {"tags": {"a": "b"}}, {"idempotent": False}],
)
def test_the_same_id_with_other_content_is_refused(
    federation: Federation, ada: Principal, site: Agent, other: dict[str, Any]
) -> None:
    task = _task(payload=b"1")
    federation.submit(ada, task)
    changed = _task(**{"task_id": task.task_id, "payload": b"1", **other})
    answer = federation.submit(ada, _task(), changed, _task())
    assert answer.accepted == 2
    [refusal] = answer.refused
    assert (refusal.index, refusal.status, refusal.field) == (1, 409, "tasks[1].task_id")
    assert refusal.task_id == task.task_id
    assert federation.row(task.task_id).payload == b"1"


def test_another_identitys_task_id_is_refused_without_a_word_of_it(
    federation: Federation, ada: Principal, bob: Principal
) -> None:
    function_id = federation.function(ada, "shared", b"shared", public=True)
    task = _task(function_id)
    federation.submit(ada, task)
    [refusal] = federation.submit(bob, task).refused
    assert refusal.status == 409
    assert federation.row(task.task_id).owner_id == ada.identity_id


def test_an_id_twice_in_one_batch(federation: Federation, ada: Principal) -> None:
    task = _task(payload=b"1")
    answer = federation.submit(ada, task, task, _task(task_id=task.task_id, payload=b"2"))
    assert (answer.accepted, [refusal.index for refusal in answer.refused]) == (2, [2])
    assert federation.count(schema.tasks) == 1


# Refusals


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("task_id", "no-uuid", 400),
        ("task_id", "6F9619FF-8B86-D011-B42D-00CF4FC964FF", 400),
        ("task_id", "", 400),
        ("task_id", "6f9619ff-8b86-d011-b42d-00cf4fc964f\x00", 400),
        ("function", "unknown", 404),
        ("function", "", 404),
        ("function", "f\x00", 400),
        ("target", "nowhere", 404),
        ("target", "s\x00", 400),
        ("dependencies", ["6f9619ff-8b86-d011-b42d-00cf4fc964ff"], 404),
        ("dependencies", ["x\x00"], 400),
        ("retry_of", "once", 400),
        ("max_attempts", 0, 400),
        ("max_attempts", 2**40, 400),
        ("max_losses", -1, 400),
        ("max_losses", 2**40, 400),
        ("timeout_s", 0, 400),
        ("timeout_s", -1.5, 400),
        ("timeout_s", float("nan"), 400),
        ("timeout_s", float("inf"), 400),
        ("priority", 2**40, 400),
        ("priority", -(2**40), 400),
        ("tags", {"k": "v" * 501}, 400),
        ("tags", {str(n): "v" for n in range(33)}, 400),
        ("tags", {"k\x00": "v"}, 400),
        ("argument_object", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", 404),
        ("argument_object", "o\x00", 400),
        ("objects", ["6f9619ff-8b86-d011-b42d-00cf4fc964ff"], 404),
        ("objects", ["o\x00"], 400),
    ],
)
def test_a_bad_item_is_refused_alone_and_its_field_named(
    federation: Federation, ada: Principal, field: str, value: Any, status: int
) -> None:
    before, after = _task(), _task()
    bad = _task(**{field: value})
    answer = federation.submit(ada, before, bad, after)
    assert answer.accepted == 2
    [refusal] = answer.refused
    assert (refusal.index, refusal.status, refusal.task_id) == (1, status, bad.task_id)
    named = {"argument_object": "object_id", "objects": "object_id"}.get(field, field) if status == 404 else field
    assert refusal.field == f"tasks[1].{named}"
    assert refusal.detail
    assert federation.states([before.task_id, after.task_id]) == ["queued", "queued"]
    assert federation.count(schema.tasks) == 2


def test_arguments_come_one_way_only(federation: Federation, ada: Principal) -> None:
    stored = federation.write(objects.create, ada.identity_id, "argument")
    [refusal] = federation.submit(ada, _task(payload=b"1", argument_object=stored.object_id)).refused
    assert refusal.field == "tasks[0].argument_object"


def test_items_refused_earlier_are_listed_in_order(federation: Federation, ada: Principal) -> None:
    earlier = Refusal(index=1, status=400, detail="not a task")
    items = [tasks.Item(0, _task()), tasks.Item(2, _task("unknown")), tasks.Item(3, _task())]
    answer = federation.write(tasks.submit, ada, new_id(), items, [earlier])
    assert answer.accepted == 2
    assert [refusal.index for refusal in answer.refused] == [1, 2]


def test_an_empty_batch_makes_its_group(federation: Federation, ada: Principal) -> None:
    group_id = new_id()
    assert federation.submit(ada, group_id=group_id).accepted == 0
    assert federation.read(search.group, ada, group_id).states == {}


def test_another_identitys_group_is_refused(federation: Federation, ada: Principal, bob: Principal) -> None:
    group_id = new_id()
    federation.submit(ada, _task(), group_id=group_id)
    federation.function(bob)
    with pytest.raises(Conflict) as refusal:
        federation.submit(bob, _task(), group_id=group_id)
    assert refusal.value.field == "group_id"
    assert federation.count(schema.tasks) == 1


@pytest.mark.parametrize("group_id", ["mine", "6F9619FF-8B86-D011-B42D-00CF4FC964FF", "\x00"])
def test_a_group_id_is_a_uuid(federation: Federation, ada: Principal, group_id: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        federation.submit(ada, _task(), group_id=group_id)
    assert refusal.value.field == "group_id"


def test_another_owners_private_function_looks_unknown(federation: Federation, ada: Principal, bob: Principal) -> None:
    private = federation.function(bob, "secret", b"secret")
    public = federation.function(bob, "open", b"open", public=True)
    answer = federation.submit(ada, _task(private), _task("secret"), _task(new_id()), _task(public), _task("open"))
    assert answer.accepted == 1
    assert [(refusal.index, refusal.status) for refusal in answer.refused] == [(0, 404), (1, 404), (2, 404), (4, 404)]


def test_a_pinned_endpoint_must_allow_the_function(federation: Federation, ada: Principal, bob: Principal) -> None:
    function_id = federation.function(bob, "fit", b"1")
    policy = RunPolicy(identities={"bob": AllowedFunctions(functions=[function_id])})
    site = federation.agent(ada, policy=policy)
    federation.function(bob, "sort", b"2")
    answer = federation.submit(bob, _task("fit", target=site.endpoint_id), _task("sort", target=site.endpoint_id))
    [refusal] = answer.refused
    assert (answer.accepted, refusal.index, refusal.status, refusal.field) == (1, 1, 403, "tasks[1].target")
    assert "ada" in refusal.fix


def test_objects_of_others_cannot_be_named(federation: Federation, ada: Principal, bob: Principal) -> None:
    theirs = federation.write(objects.create, bob.identity_id, "argument")
    answer = federation.submit(ada, _task(argument_object=theirs.object_id), _task(objects=[theirs.object_id]))
    assert [refusal.status for refusal in answer.refused] == [404, 404]


def test_named_objects_no_longer_expire(federation: Federation, ada: Principal) -> None:
    argument, large, unused = (federation.write(objects.create, ada.identity_id, "argument") for _ in range(3))
    federation.submit(ada, _task(argument_object=large.object_id, objects=[argument.object_id]))
    query = sa.select(schema.objects.c.object_id).where(schema.objects.c.expires_at.is_not(None))
    assert [row.object_id for row in federation.rows(query)] == [unused.object_id]


# Dependencies


def test_a_child_runs_only_after_its_parents(federation: Federation, ada: Principal, site: Agent) -> None:
    left, right = federation.run(ada, 2)
    [child] = federation.run(ada, after=[left, right])
    assert federation.state(child) == "waiting"
    first, second = site.lease()
    assert site.lease() == []
    site.succeed(first)
    assert (federation.state(child), site.lease()) == ("waiting", [])
    site.succeed(second)
    assert federation.state(child) == "queued"
    assert federation.changes[-1].work
    [granted] = site.lease()
    assert granted.task_id == child
    assert granted.depends
    assert federation.show(ada, child).dependencies == [left, right]


def test_both_parents_may_end_in_one_report(federation: Federation, ada: Principal, site: Agent) -> None:
    parents = federation.run(ada, 5)
    [child] = federation.run(ada, after=parents)
    site.succeed(*site.lease())
    assert federation.state(child) == "queued"


def test_a_parent_named_twice_counts_once(federation: Federation, ada: Principal, site: Agent) -> None:
    [parent] = federation.run(ada)
    [child] = federation.run(ada, after=[parent, parent])
    site.succeed(*site.lease())
    assert federation.state(child) == "queued"


def test_a_child_of_ended_parents_is_queued_at_once(federation: Federation, ada: Principal, site: Agent) -> None:
    [parent] = federation.run(ada)
    site.succeed(*site.lease())
    assert federation.states(federation.run(ada, 2, after=[parent])) == ["queued", "queued"]


def test_one_of_two_parents_has_ended_already(federation: Federation, ada: Principal, site: Agent) -> None:
    [done] = federation.run(ada)
    site.succeed(*site.lease())
    [open_] = federation.run(ada)
    [child] = federation.run(ada, after=[done, open_])
    assert federation.state(child) == "waiting"
    site.succeed(*site.lease())
    assert federation.state(child) == "queued"


def test_a_parent_may_stand_in_front_in_the_batch_not_behind(federation: Federation, ada: Principal) -> None:
    first = _task()
    second = _task(dependencies=[first.task_id])
    assert federation.submit(ada, first, second).accepted == 2
    early = _task()
    late = _task(dependencies=[early.task_id])
    answer = federation.submit(ada, late, early)
    [refusal] = answer.refused
    assert (refusal.index, refusal.status, refusal.field) == (0, 404, "tasks[0].dependencies")


def test_a_task_cannot_wait_for_itself(federation: Federation, ada: Principal) -> None:
    task_id = new_id()
    [refusal] = federation.submit(ada, _task(task_id=task_id, dependencies=[task_id])).refused
    assert refusal.field == "tasks[0].dependencies"


def test_the_children_of_a_refused_parent_are_refused(federation: Federation, ada: Principal) -> None:
    bad = _task("unknown")
    child = _task(dependencies=[bad.task_id])
    grandchild = _task(dependencies=[child.task_id])
    answer = federation.submit(ada, bad, child, grandchild, _task())
    assert (answer.accepted, [refusal.index for refusal in answer.refused]) == (1, [0, 1, 2])


def test_another_identitys_task_is_no_parent(federation: Federation, ada: Principal, bob: Principal) -> None:
    [parent] = federation.run(bob)
    [refusal] = federation.submit(ada, _task(dependencies=[parent])).refused
    assert (refusal.status, refusal.field) == (404, "tasks[0].dependencies")


@pytest.mark.parametrize("end", ["failed", "cancelled", "lost"])
def test_a_chain_ends_with_the_parent_it_needs(federation: Federation, ada: Principal, site: Agent, end: str) -> None:
    group_id = new_id()
    [parent] = federation.run(ada, max_losses=0, group_id=group_id)
    [child] = federation.run(ada, after=[parent], group_id=group_id)
    [grandchild] = federation.run(ada, after=[child, parent], group_id=group_id)
    [sibling] = federation.run(ada, after=[], group_id=group_id)
    if end == "cancelled":
        federation.cancel(ada, parent)
    else:
        [granted] = site.lease(1)
        site.fail(granted) if end == "failed" else site.lose(granted)
    assert federation.state(parent) == end
    assert federation.states([child, grandchild, sibling]) == ["dependency_failed", "dependency_failed", "queued"]
    assert parent in federation.row(child).message
    ended = federation.results(ada, group_id)
    cursors = [each.cursor for each in ended]
    assert cursors == list(range(cursors[0], cursors[0] + 3))
    assert ended[0].task_id == parent


def test_a_child_of_a_parent_that_failed_before_ends_at_once(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    [parent] = federation.run(ada)
    site.fail(*site.lease())
    first = _task(dependencies=[parent])
    second = _task(dependencies=[first.task_id])
    third = _task(dependencies=[second.task_id, parent])
    group_id = new_id()
    assert federation.submit(ada, first, second, third, group_id=group_id).accepted == 3
    ids = [task.task_id for task in (first, second, third)]
    assert federation.states(ids) == ["dependency_failed"] * 3
    cursors = sorted(each.cursor for each in federation.results(ada, group_id))
    assert cursors == list(range(cursors[0], cursors[0] + 3))
    assert group_id in federation.changes[-1].groups


def test_the_end_of_a_parent_wakes_the_childs_own_group(federation: Federation, ada: Principal, site: Agent) -> None:
    one, other = new_id(), new_id()
    [parent] = federation.run(ada, group_id=one)
    [child] = federation.run(ada, after=[parent], group_id=other)
    site.fail(*site.lease())
    assert federation.changes[-1].groups == {one, other}
    assert [each.task_id for each in federation.results(ada, other)] == [child]


def test_a_child_stays_ended_when_its_other_parent_succeeds(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    parents = federation.run(ada, 2)
    [child] = federation.run(ada, after=parents)
    good, bad = site.lease()
    site.fail(bad)
    before = federation.row(child)
    site.succeed(good)
    assert before.state == "dependency_failed"
    assert federation.row(child) == before


def test_a_retried_parent_keeps_its_children_waiting(federation: Federation, ada: Principal, site: Agent) -> None:
    [parent] = federation.run(ada, max_attempts=2)
    [child] = federation.run(ada, after=[parent])
    site.fail(*site.lease())
    assert federation.state(child) == "waiting"
    site.succeed(*site.lease())
    assert federation.state(child) == "queued"


def test_a_wide_fan_in(federation: Federation, ada: Principal, site: Agent) -> None:
    parents = federation.run(ada, 200)
    [child] = federation.run(ada, after=parents)
    granted = site.lease()
    site.succeed(*granted[:150])
    assert federation.row(child).waiting_for == 50
    site.succeed(*granted[150:])
    assert federation.state(child) == "queued"
