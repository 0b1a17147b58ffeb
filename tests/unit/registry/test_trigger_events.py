"""The ledger of triggers: one task for each version of an object, within the caps, on either database."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from faas.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from faas.models import CreateTrigger, Mount, Submission, Taken, Trigger, TriggerSettings, UploadEvent
from registry import schema, trigger_events, triggers
from registry.identities import Principal
from registry.trigger_events import Arrival
from registry.triggers import Known
from tests.unit.registry.federation import Agent, Federation


class Plain:
    """Tasks that take a key, datasets of two files, and files named after their keys."""

    def submission(self, trigger: Known, task_id: str, uploads: Sequence[UploadEvent], dataset: str) -> Submission:
        if uploads[0].key.startswith("bad"):
            raise ValueError("no task can refer to it")
        payload = " ".join(each.key for each in uploads).encode()
        outputs = [f"out:/{uploads[0].key}"] if uploads[0].key.startswith("chain") else []
        return Submission(
            task_id=task_id, function=trigger.function, payload=payload, outputs=outputs, target=trigger.target
        )

    def missing(self, trigger: Known, keys: Sequence[str], manifest: str | None) -> str:
        return "" if len(keys) >= 2 else "the other file"

    def names(self, trigger: Known, upload: UploadEvent) -> list[str]:
        return [f"out:/{upload.key}"]


PLAIN = Plain()


def arrival(key: str, version: str = "1", dataset: str = "") -> Arrival:
    upload = UploadEvent(bucket="raw", key=key, etag=version)
    return Arrival(f"{key}#{version}", upload, dataset)


def create(federation: Federation, owner: Principal, name: str = "fits", **settings: object) -> Trigger:
    function_id = federation.function(owner)
    wanted = CreateTrigger(name=name, source="push", function=function_id, settings=TriggerSettings(**settings))  # type: ignore[arg-type]
    return federation.write(triggers.create, owner, "push", wanted)


def take(federation: Federation, trigger: Trigger, *arrivals: Arrival) -> Taken:
    return federation.write(trigger_events.take, trigger.trigger_id, arrivals, PLAIN)


def proceed(federation: Federation, trigger: Trigger) -> int:
    return federation.write(trigger_events.proceed, trigger.trigger_id, PLAIN)


def counts(federation: Federation, trigger: Trigger, owner: Principal) -> dict[str, int]:
    return federation.read(triggers.show, owner, trigger.trigger_id).counts


def payloads(federation: Federation) -> list[str]:
    query = sa.select(schema.tasks.c.payload).order_by(schema.tasks.c.sequence)
    return [bytes(row.payload).decode() for row in federation.rows(query)]


def test_each_version_is_one_task_however_often_and_in_whatever_order_it_is_told_of(
    federation: Federation, ada: Principal
) -> None:
    trigger = create(federation, ada, hourly_cap=1000, concurrency_cap=1000)
    told = [arrival(f"{number}.h5", version) for number in range(60) for version in ("1", "2")]
    told += random.Random(1).sample(told, 40)
    random.Random(2).shuffle(told)
    # Several deliveries at once: on PostgreSQL they are several transactions at a time.
    waiting = [
        federation.database.write_soon(trigger_events.take, trigger.trigger_id, told[start : start + 8], PLAIN)
        for start in range(0, len(told), 8)
    ]
    taken = [each.result(60) for each in waiting]
    assert sum(each.new for each in taken) == 120
    assert sorted(payloads(federation)) == sorted(f"{number}.h5" for number in range(60) for _ in range(2))
    assert take(federation, trigger, *told) == Taken(new=0, repeats=120)
    assert counts(federation, trigger, ada) == {"task": 120}


def test_what_comes_beyond_a_cap_waits_and_goes_in_later(federation: Federation, ada: Principal, site: Agent) -> None:
    trigger = create(federation, ada, concurrency_cap=2, hourly_cap=3)
    take(federation, trigger, *(arrival(f"{number}") for number in range(5)))
    assert payloads(federation) == ["0", "1"]
    assert proceed(federation, trigger) == 0
    site.succeed(*site.lease())
    assert proceed(federation, trigger) == 1  # the third in this hour
    site.succeed(*site.lease())
    assert proceed(federation, trigger) == 0
    federation.clock.advance(3601)
    assert proceed(federation, trigger) == 2
    assert payloads(federation) == ["0", "1", "2", "3", "4"]
    assert counts(federation, trigger, ada) == {"ended": 3, "task": 2}


def test_a_dataset_is_one_task_and_lists_what_it_lacks(federation: Federation, ada: Principal) -> None:
    trigger = create(federation, ada)
    take(federation, trigger, arrival("s1/b", dataset="s1"), arrival("s2/a", dataset="s2"))
    known = federation.read(triggers.find, ada, "fits")
    [first, second] = federation.read(trigger_events.incomplete, known, PLAIN)
    assert (first.name, first.files, first.missing) == ("s1", 1, "the other file")
    assert second.name == "s2"
    take(federation, trigger, arrival("s1/a", dataset="s1"))
    assert payloads(federation) == ["s1/a s1/b"]
    take(federation, trigger, arrival("s1/late", dataset="s1"), arrival("s1/a", dataset="s1"))
    assert payloads(federation) == ["s1/a s1/b"]
    [late] = federation.read(trigger_events.listed, trigger.trigger_id, "passed_over")
    assert late.key == "s1/late" and "complete before" in late.reason


def test_what_cannot_become_a_task_is_a_dead_letter_and_can_be_replayed(federation: Federation, ada: Principal) -> None:
    trigger = create(federation, ada)
    take(federation, trigger, arrival("bad.h5"), arrival("good.h5"))
    federation.write(trigger_events.bury, trigger.trigger_id, b"nonsense", "it is no event message")
    federation.write(trigger_events.bury, trigger.trigger_id, b"nonsense", "it is no event message")
    dead = federation.read(trigger_events.listed, trigger.trigger_id, "dead")
    assert sorted(each.reason for each in dead) == ["it is no event message", "no task can refer to it"]
    assert payloads(federation) == ["good.h5"]

    class Mended(Plain):
        def submission(self, trigger: Known, task_id: str, uploads: Sequence[UploadEvent], dataset: str) -> Submission:
            return Submission(task_id=task_id, function=trigger.function, payload=uploads[0].key.encode())

    assert federation.write(trigger_events.replay, trigger.trigger_id, Mended()) == [b"nonsense"]
    assert payloads(federation) == ["good.h5", "bad.h5"]
    assert counts(federation, trigger, ada) == {"task": 2}


def test_a_submission_that_the_registry_refuses_is_a_dead_letter(federation: Federation, ada: Principal) -> None:
    trigger = create(federation, ada)
    take(federation, trigger, arrival("chain.h5"))  # it writes to a location that nobody has
    [dead] = federation.read(trigger_events.listed, trigger.trigger_id, "dead")
    assert "out" in dead.reason
    assert payloads(federation) == []


def test_a_function_that_keeps_failing_pauses_its_trigger(federation: Federation, ada: Principal, site: Agent) -> None:
    trigger = create(federation, ada)
    take(federation, trigger, *(arrival(f"{number}") for number in range(4)))
    site.fail(*site.lease())
    assert proceed(federation, trigger) == 0
    assert federation.read(triggers.show, ada, "fits").state == "active"
    take(federation, trigger, arrival("4"))
    site.fail(*site.lease())
    proceed(federation, trigger)
    shown = federation.read(triggers.show, ada, "fits")
    assert shown.state == "paused" and "5 tasks in a row have failed" in shown.reason and "ValueError" in shown.reason
    take(federation, trigger, arrival("5"))
    assert counts(federation, trigger, ada) == {"ended": 5, "waiting": 1}
    federation.write(triggers.resume, trigger.trigger_id)
    assert proceed(federation, trigger) == 1


def test_a_success_in_between_lets_it_go_on(federation: Federation, ada: Principal, site: Agent) -> None:
    trigger = create(federation, ada)
    for number in range(9):
        take(federation, trigger, arrival(f"{number}"))
        leased = site.lease()
        if number == 4:
            site.succeed(*leased)
        else:
            site.fail(*leased)
        proceed(federation, trigger)
    assert federation.read(triggers.show, ada, "fits").failures == 4
    assert federation.read(triggers.show, ada, "fits").state == "active"


def test_triggers_that_feed_each_other_stop_by_themselves(federation: Federation, ada: Principal) -> None:
    federation.agent(ada, "lab", locations={"out": Mount()})
    trigger = create(federation, ada, max_depth=3)
    for version in range(6):  # each task writes the file that the next event tells of
        take(federation, trigger, arrival("chain.h5", str(version)))
    assert len(payloads(federation)) == 3
    [*dead] = federation.read(trigger_events.listed, trigger.trigger_id, "dead")
    assert len(dead) == 3 and all(each.reason.startswith("ancestry: 3 triggers") for each in dead)


def test_the_ledger_outlives_its_tasks(federation: Federation, ada: Principal, site: Agent) -> None:
    trigger = create(federation, ada)
    take(federation, trigger, arrival("a"))
    site.succeed(*site.lease())
    with federation.database.engine.begin() as connection:  # as retention does
        connection.execute(sa.delete(schema.tasks))
    assert proceed(federation, trigger) == 0
    assert take(federation, trigger, arrival("a")) == Taken(new=0, repeats=1)
    assert payloads(federation) == []


def test_triggers_are_their_owners(federation: Federation, ada: Principal, bob: Principal) -> None:
    trigger = create(federation, ada)
    with pytest.raises(NotFound):
        federation.read(triggers.find, bob, trigger.trigger_id)
    with pytest.raises(Conflict):
        create(federation, ada)
    with pytest.raises(InvalidRequest):
        create(federation, ada, "a/b")
    assert [each.name for each in federation.read(triggers.shown, ada)] == ["fits"]
    assert federation.read(triggers.shown, bob) == []
    secret = trigger.secret.rpartition("/")[2]
    assert federation.read(triggers.by_secret, trigger.trigger_id, secret).name == "fits"
    with pytest.raises(NotAuthenticated):
        federation.read(triggers.by_secret, trigger.trigger_id, "guessed")
    federation.write(triggers.delete, trigger.trigger_id)
    assert take(federation, trigger, arrival("a")) == Taken()
    assert federation.read(triggers.shown, ada) == []


def test_the_same_upload_for_two_triggers_is_two_tasks(federation: Federation, ada: Principal) -> None:
    first, second = create(federation, ada), create(federation, ada, "others")
    take(federation, first, arrival("a"))
    take(federation, second, arrival("a"))
    assert payloads(federation) == ["a", "a"]
