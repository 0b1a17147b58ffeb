"""Retention: nothing goes that an unfinished task or a kept result needs, and everything else does."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from faas.errors import NotFound
from faas.models import Outcome, Submission
from registry import endpoints, objects, results, retention, schema
from registry.identities import Principal
from registry.leases import Granted
from registry.objects import UNREFERENCED_S
from registry.resolving import CLASS_TOUCHED_S
from tests.unit.registry.federation import Agent, Federation, new_id

KEPT_S = 30 * 24 * 3600.0


def let_go(federation: Federation, limit: int = 3) -> int:
    """One whole pass; returns how many tasks went."""
    before = federation.clock.now - KEPT_S
    walked, expired = retention.Walked(0, over=False), 0
    while not walked.over:
        walked = federation.write(retention.expire_tasks, before, walked.position, limit)
        expired += walked.expired
    federation.write(retention.drop_classes, before, walked.position)
    group_id, over = "", False
    while not over:
        group_id, over = federation.write(retention.drop_groups, before, group_id, limit)
    while federation.write(retention.drop_sessions, before, limit):
        pass
    return expired


def delete_objects(federation: Federation) -> set[str]:
    """One sweep; returns the ids of the objects whose bytes go."""
    doomed = {each.object_id for each in federation.write(retention.doom, 100)}
    federation.write(retention.forget, sorted(doomed))
    return doomed


def test_tasks_go_when_their_time_is_over(federation: Federation, ada: Principal, site: Agent) -> None:
    old = federation.run(ada, 5, tags={"scan": "1"})
    site.succeed(*site.lease())
    federation.clock.advance(KEPT_S)
    [late] = federation.run(ada)
    site.succeed(*site.lease())
    assert let_go(federation) == 0
    federation.clock.advance(1)
    assert let_go(federation) == 5
    for task_id in old:
        with pytest.raises(NotFound):
            federation.read(results.task_result, ada, task_id)
    assert federation.state(late) == "succeeded"
    assert federation.count(schema.attempts) == 1
    assert federation.count(schema.task_tags) == 0


def test_an_unfinished_task_stays(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 2)
    [leased] = site.lease(1)
    federation.clock.advance(10 * KEPT_S)
    assert let_go(federation) == 0
    site.beat([leased])
    site.succeed(leased)
    assert federation.count(schema.tasks) == 2


def test_a_parent_stays_while_a_child_has_not_ended(federation: Federation, ada: Principal, site: Agent) -> None:
    [parent] = federation.run(ada)
    site.succeed(*site.lease())
    [child] = federation.run(ada, after=[parent])
    federation.clock.advance(KEPT_S + 1)
    assert let_go(federation) == 0
    [granted] = site.lease()
    assert list(federation.read(results.parents_of, [granted.key.sequence])) == [granted.key.sequence]
    site.succeed(granted)
    assert let_go(federation) == 1
    assert federation.show(ada, child).dependencies == []


def test_a_task_whose_end_its_site_has_not_heard_of_stays(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    federation.cancel(ada, task_id)
    federation.clock.advance(KEPT_S + 1)
    assert let_go(federation) == 0
    assert site.beat([granted]) == [granted.key]
    site.beat([])
    assert let_go(federation) == 1


def test_a_segment_goes_with_the_last_result_in_it(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 3)
    first, *others = site.lease()
    segment = site.segment(ada.identity_id)
    site.succeed(first)
    site.succeed(first)  # told twice, counted once
    federation.clock.advance(10)
    site.succeed(*others)
    assert _object(federation, segment.object_id).members == 3
    federation.clock.advance(KEPT_S - 5)
    assert let_go(federation) == 1
    assert _object(federation, segment.object_id).members == 2
    federation.clock.advance(UNREFERENCED_S)
    assert delete_objects(federation) == set()
    assert let_go(federation) == 2
    federation.clock.advance(1)
    assert delete_objects(federation) == {segment.object_id}


def test_an_object_stays_some_time_after_its_last_use(federation: Federation, ada: Principal, site: Agent) -> None:
    argument, referred, kept = (_put(federation, ada) for _ in range(3))
    _keep(federation, kept)
    for wanted in ([referred, kept], [referred]):
        _submit(federation, ada, argument=argument, wanted=wanted)
    site.succeed(*site.lease())
    federation.clock.advance(KEPT_S + 1)
    assert delete_objects(federation) == set()
    assert let_go(federation) == 2
    federation.clock.advance(UNREFERENCED_S - 1)
    assert not {argument, referred, kept} & delete_objects(federation)
    again = _submit(federation, ada, wanted=[referred])
    federation.clock.advance(2)
    assert delete_objects(federation) == {argument}
    assert federation.state(again) == "queued"


def test_a_result_holds_what_it_refers_to(federation: Federation, ada: Principal, site: Agent) -> None:
    data = _put(federation, ada)
    first = _submit(federation, ada, wanted=[data])
    [granted] = site.lease()
    federation.clock.advance(10)
    site.report(_naming(site, granted, [data, data]))
    assert federation.row(first).result_objects == [data]
    # a child passes on what its parent's result refers to, and holds it when the parent has gone
    second = _submit(federation, ada, after=[first])
    [granted] = site.lease()
    federation.clock.advance(KEPT_S)
    site.report(_naming(site, granted, [data]))
    federation.clock.advance(10)
    assert let_go(federation) == 1
    federation.clock.advance(UNREFERENCED_S + 1)
    assert delete_objects(federation) == set()
    assert federation.row(second).result_objects == [data]
    federation.clock.advance(KEPT_S)
    assert let_go(federation) == 1
    federation.clock.advance(UNREFERENCED_S + 1)
    assert data in delete_objects(federation)


def test_a_result_names_nothing_that_the_task_was_not_given(
    federation: Federation, ada: Principal, bob: Principal, site: Agent
) -> None:
    given, own, foreign = _put(federation, ada), _put(federation, ada), _put(federation, bob)
    for named in (own, foreign, new_id()):
        task_id = _submit(federation, ada, wanted=[given])
        [granted] = site.lease()
        site.report(_naming(site, granted, [given, named]))
        assert federation.state(task_id) == "failed"
        assert named in federation.show(ada, task_id).message
        assert federation.row(task_id).result_objects is None
    federation.clock.advance(UNREFERENCED_S + 1)
    assert {own, foreign} <= delete_objects(federation)


def test_a_group_that_was_dropped_counts_on(federation: Federation, ada: Principal, site: Agent) -> None:
    group_id = new_id()
    federation.run(ada, 3, group_id=group_id)
    site.succeed(*site.lease())
    seen = federation.results(ada, group_id)[-1].cursor
    federation.clock.advance(KEPT_S + 1)
    let_go(federation)
    assert federation.count(schema.groups) == 0
    federation.run(ada, group_id=group_id)
    site.succeed(*site.lease())
    assert len(federation.results(ada, group_id, after=seen)) == 1


def test_classes_go_when_no_task_uses_them(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, priority=1)
    site.succeed(*site.lease())
    [waiting] = federation.run(ada, priority=2, resources={"gpus": 0.0})
    federation.clock.advance(KEPT_S + 2 * CLASS_TOUCHED_S + 1)
    let_go(federation)
    [left] = federation.rows(sa.select(schema.classes))
    assert left.priority == 2
    site.succeed(*site.lease())
    assert federation.state(waiting) == "succeeded"
    # one that is used again in time stays, whatever became of its tasks
    federation.run(ada, priority=3)
    federation.clock.advance(KEPT_S + CLASS_TOUCHED_S)
    federation.run(ada, priority=3)
    federation.clock.advance(CLASS_TOUCHED_S + 1)
    let_go(federation)
    assert [row.priority for row in federation.rows(sa.select(schema.classes))] == [3]


def test_sessions_long_over_go(federation: Federation, ada: Principal, site: Agent) -> None:
    site.close()
    again = federation.agent(ada)
    federation.clock.advance(KEPT_S + 1)
    let_go(federation)
    [left] = federation.rows(sa.select(schema.sessions))
    assert left.session_id == again.session_id


def test_tasks_for_a_deleted_endpoint_end(federation: Federation, ada: Principal, site: Agent) -> None:
    [pinned] = federation.run(ada, target="site")
    [free] = federation.run(ada)
    site.close()
    assert federation.write(retention.end_stranded, 10) == 0
    federation.write(endpoints.delete, ada, "site")
    assert federation.write(retention.end_stranded, 10) == 1
    assert federation.state(pinned) == "lost"
    assert "'site' it was to run at was deleted" in federation.show(ada, pinned).message
    assert federation.state(free) == "queued"


def test_a_lease_is_repeated_without_what_has_gone(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada)
    site.succeed(*site.lease())
    federation.clock.advance(KEPT_S + 1)
    assert let_go(federation) == 1
    assert site.lease(number=site.number) == []


def test_only_this_registrys_own_keys_are_strays(federation: Federation, ada: Principal) -> None:
    known = federation.write(objects.create, ada.identity_id, "segment")
    stray = known.key.replace(known.object_id, new_id())
    result = f"results/{ada.identity_id}/2025-06-15/{new_id()}.1.{new_id()}"
    foreign = [
        f"segments/{new_id()}/2025-06-15/{new_id()}",
        f"segments/{ada.identity_id}/2025-06-15/deeper/{new_id()}",
        f"segments/{ada.identity_id}/{new_id()}",
        "segments/readme.txt",
        "raw/scan12.h5",
    ]
    keys = [known.key, stray, result, *foreign]
    assert federation.read(retention.unknown_keys, keys, "2025-06-16") == [stray, result]
    assert federation.read(retention.unknown_keys, keys, "2025-06-15") == []
    assert federation.read(retention.unknown_keys, foreign, "2025-06-16") == []


def _object(federation: Federation, object_id: str) -> sa.Row[tuple[object, ...]]:
    [row] = federation.rows(sa.select(schema.objects).where(schema.objects.c.object_id == object_id))
    return row


def _put(federation: Federation, owner: Principal) -> str:
    return federation.write(objects.create, owner.identity_id, "object", size_bytes=100).object_id


def _keep(federation: Federation, object_id: str) -> None:
    with federation.database.engine.begin() as connection:
        here = schema.objects.c.object_id == object_id
        connection.execute(sa.update(schema.objects).where(here).values(kept=True, expires_at=None))


def _submit(
    federation: Federation,
    owner: Principal,
    *,
    argument: str = "",
    wanted: list[str] | None = None,
    after: list[str] | None = None,
) -> str:
    submission = Submission(
        task_id=new_id(),
        function=federation.function(owner),
        argument_object=argument,
        objects=wanted or [],
        dependencies=after or [],
    )
    assert not federation.submit(owner, submission).refused
    return submission.task_id


def _naming(site: Agent, granted: Granted, named: list[str]) -> Outcome:
    outcome = site.success(granted)
    outcome.objects = named
    return outcome
