"""Where tasks may run by what they need: at submission, at a lease, and as shown."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from faas.models import (
    AllowedFunctions,
    Heartbeat,
    Pool,
    Refusal,
    RegisterFunction,
    RunPolicy,
    Shape,
    Submission,
)
from registry import endpoints, functions, leases, schema, sessions
from registry.endpoints import Site
from registry.identities import Principal
from registry.leases import QueuedClass, Share
from tests.unit.registry.federation import Agent, Federation, new_id

SHAPES = {"small": Shape(cores=1, memory_gb=2), "big": Shape(cores=4, gpus=1, memory_gb=16)}


@pytest.fixture
def shaped(federation: Federation, ada: Principal) -> Agent:
    """An endpoint with two shapes and two environments."""
    return federation.agent(ada, "theta", shapes=SHAPES, environments=["default", "xpcs"])


def _refusal(federation: Federation, owner: Principal, *, function: str = "", **fields: Any) -> Refusal:
    name = function or federation.function(owner)
    answer = federation.submit(owner, Submission(task_id=new_id(), function=name, **fields))
    assert not answer.accepted
    [refusal] = answer.refused
    return refusal


# Leases


def test_a_task_gets_the_smallest_worker_that_has_what_it_needs(
    federation: Federation, ada: Principal, shaped: Agent
) -> None:
    [plain] = federation.run(ada)
    [wide] = federation.run(ada, resources={"cores": 2})
    [special] = federation.run(ada, resources={"memory_gb": 1}, environment="xpcs")
    places = {each.task_id: (each.shape, each.environment) for each in shaped.lease()}
    assert places == {plain: ("small", "default"), wide: ("big", "default"), special: ("small", "xpcs")}


def test_an_endpoint_gets_only_what_it_can_run(
    federation: Federation, ada: Principal, site: Agent, shaped: Agent
) -> None:
    [gpu] = federation.run(ada, resources={"gpus": 1})
    [xpcs] = federation.run(ada, environment="xpcs")
    [plain] = federation.run(ada, environment="default")
    assert [each.task_id for each in site.lease()] == [plain]
    assert {each.task_id for each in shaped.lease()} == {gpu, xpcs}


def test_a_repeated_lease_names_the_same_workers(federation: Federation, ada: Principal, shaped: Agent) -> None:
    federation.run(ada, 2)
    federation.run(ada, resources={"gpus": 1}, environment="xpcs")
    first = shaped.lease()
    assert shaped.lease(number=shaped.number) == first
    assert sorted((each.shape, each.environment) for each in first) == [
        ("big", "xpcs"),
        ("small", "default"),
        ("small", "default"),
    ]


def test_a_new_session_may_have_other_workers(federation: Federation, ada: Principal, shaped: Agent) -> None:
    federation.run(ada, resources={"gpus": 1})
    smaller = federation.agent(ada, "theta", shapes={"small": SHAPES["small"]}, takeover=True)
    assert smaller.lease() == []
    larger = federation.agent(ada, "theta", shapes={"all": Shape(gpus=8)}, takeover=True)
    assert [each.shape for each in larger.lease()] == ["all"]


def test_there_is_work_only_where_it_is_wanted(federation: Federation, ada: Principal, shaped: Agent) -> None:
    federation.run(ada, resources={"gpus": 1})
    seen: list[str] = []

    def has_work(shape: str) -> bool:
        def wanted(here: Site, waiting: list[QueuedClass]) -> bool:
            seen.extend(candidate.shape for candidate in waiting)
            return any(candidate.shape == shape for candidate in waiting)

        return federation.read(leases.has_work, shaped.endpoint_id, shaped.session_id, 1, wanted)

    assert has_work("big")
    assert not has_work("small")
    assert seen == ["big", "big"]


def test_needs_make_a_class_of_their_own_however_they_are_put(
    federation: Federation, ada: Principal, shaped: Agent
) -> None:
    plain = federation.function(ada, "plain", b"1")
    default = federation.function(ada, "default", b"2", resources={"cores": 2, "gpus": 1}, environment="xpcs")
    federation.run(ada, function=plain)
    federation.run(ada, function=plain, resources={"cores": 0}, environment="default")
    federation.run(ada, function=plain, resources={"cores": 2})
    federation.run(ada, function=default)
    federation.run(ada, function=default, resources={"gpus": 1})
    federation.run(ada, function=default, resources={"gpus": 0.0}, environment="default")
    counts: list[tuple[int, str, str]] = []

    def look(_: endpoints.Site, waiting: list[QueuedClass]) -> list[Share]:
        counts.extend((each.queued, each.shape, each.environment) for each in waiting)
        return []

    shaped.lease(choose=look)
    assert sorted(counts) == [(1, "big", "default"), (1, "big", "default"), (2, "big", "xpcs"), (2, "small", "default")]


def test_a_shown_task_has_what_it_needs(federation: Federation, ada: Principal, shaped: Agent) -> None:
    function_id = federation.function(ada, resources={"cores": 2, "memory_gb": 8}, environment="xpcs")
    [by_function] = federation.run(ada, function=function_id)
    [by_call] = federation.run(ada, function=function_id, resources={"cores": 1}, environment="default")
    shown = [federation.show(ada, task_id) for task_id in (by_function, by_call)]
    assert [(task.resources, task.environment) for task in shown] == [
        ({"cores": 2, "memory_gb": 8}, "xpcs"),
        ({"cores": 1, "memory_gb": 8}, ""),
    ]


def test_a_repeat_is_no_conflict_when_the_function_changed(
    federation: Federation, ada: Principal, shaped: Agent
) -> None:
    task = Submission(task_id=new_id(), function=federation.function(ada, resources={"gpus": 1}))
    assert federation.submit(ada, task).accepted == 1
    federation.function(ada, resources={})
    assert federation.submit(ada, task).accepted == 1
    assert federation.show(ada, task.task_id).resources == {"gpus": 1}
    other = Submission(task_id=task.task_id, function=task.function, resources={"gpus": 1})
    [refusal] = federation.submit(ada, other).refused
    assert refusal.status == 409


# Functions


def test_what_a_function_needs_may_be_changed_and_left_alone(federation: Federation, ada: Principal) -> None:
    def register(**needed: Any) -> tuple[dict[str, float], str]:
        request = RegisterFunction(name="fit", serializer="st", code=b"st:fit", **needed)
        shown = federation.write(functions.register, ada, request)
        assert federation.read(functions.show, ada, "fit") == shown
        return shown.resources, shown.environment

    assert register() == ({}, "")
    assert register(resources={"cores": 4.0}, environment="xpcs") == ({"cores": 4}, "xpcs")
    assert register() == ({"cores": 4}, "xpcs")
    assert register(resources={"gpus": 1.0}) == ({"gpus": 1}, "xpcs")
    assert register(environment="ml") == ({"gpus": 1}, "ml")
    assert register(resources={}, environment="") == ({}, "")
    assert federation.count(schema.functions) == 1


# Refusals


def test_a_pinned_task_that_the_endpoint_cannot_run_is_refused(
    federation: Federation, ada: Principal, shaped: Agent
) -> None:
    too_large = _refusal(federation, ada, target="theta", resources={"cores": 8})
    assert (too_large.status, too_large.field) == (400, "tasks[0].resources")
    assert "At theta, no worker has 8 cores" in too_large.detail
    assert "small (1 core, 2 GB of memory); big (4 cores, 1 GPU, 16 GB of memory)" in too_large.detail
    elsewhere = _refusal(federation, ada, target=shaped.endpoint_id, environment="ml")
    assert elsewhere.field == "tasks[0].environment"
    assert "At theta, there is no environment 'ml', only default, xpcs" in elsewhere.detail


def test_any_is_refused_with_every_endpoints_reason(
    federation: Federation, ada: Principal, site: Agent, shaped: Agent
) -> None:
    refusal = _refusal(federation, ada, resources={"gpus": 1}, environment="ml")
    assert refusal.field == "tasks[0].environment"
    assert "At site, there is no environment 'ml', only default." in refusal.detail
    assert "At theta, there is no environment 'ml', only default, xpcs." in refusal.detail
    refusal = _refusal(federation, ada, resources={"gpus": 2}, environment="xpcs")
    assert refusal.field == "tasks[0].resources"
    assert "At theta, no worker has 2 GPUs" in refusal.detail


def test_many_endpoints_reasons_are_cut_short(federation: Federation, ada: Principal) -> None:
    for number in range(13):
        federation.agent(ada, f"site{number:02}", shapes={"own": Shape(cores=number + 1)})
    refusal = _refusal(federation, ada, resources={"gpus": 2})
    assert refusal.detail.count("no worker has 2 GPUs") == 10
    assert "and 3 more are no better" in refusal.detail


def test_a_reason_is_told_once_for_all_endpoints_it_holds_for(federation: Federation, ada: Principal) -> None:
    for number in range(13):
        federation.agent(ada, f"site{number:02}")
    refusal = _refusal(federation, ada, resources={"gpus": 2})
    assert refusal.detail.count("no worker has 2 GPUs") == 1
    assert "At site00, site01, site02 and 10 more, no worker" in refusal.detail


def test_what_a_function_needs_counts_too(federation: Federation, ada: Principal, shaped: Agent) -> None:
    function_id = federation.function(ada, resources={"gpus": 2})
    assert _refusal(federation, ada, function=function_id).field == "tasks[0].resources"
    assert federation.run(ada, function=function_id, resources={"gpus": 1})


def test_only_the_impossible_item_is_refused(federation: Federation, ada: Principal, shaped: Agent) -> None:
    name = federation.function(ada)
    needs: list[dict[str, float]] = [{}, {"cores": 99}, {"cores": 4}, {"cores": 99}, {"cpus": 1}]
    answer = federation.submit(ada, *(Submission(task_id=new_id(), function=name, resources=each) for each in needs))
    assert answer.accepted == 2
    assert [refusal.index for refusal in answer.refused] == [1, 3, 4]
    assert "there is no 'cpus'" in answer.refused[-1].detail


def test_an_endpoint_that_is_offline_counts_with_what_it_had(
    federation: Federation, ada: Principal, shaped: Agent
) -> None:
    shaped.close()
    assert federation.run(ada, target="theta", resources={"gpus": 1})
    assert federation.run(ada, resources={"gpus": 1})
    assert "At theta" in _refusal(federation, ada, resources={"gpus": 2}).detail


def test_an_endpoint_that_never_ran_may_have_everything(federation: Federation, ada: Principal, site: Agent) -> None:
    assert _refusal(federation, ada, resources={"gpus": 8}, environment="ml")
    federation.endpoint(ada, "new")
    [pinned] = federation.run(ada, target="new", resources={"gpus": 8}, environment="ml")
    [anywhere] = federation.run(ada, resources={"gpus": 8}, environment="ml")
    assert site.lease() == []
    agent = federation.agent(ada, "new", shapes={"huge": Shape(gpus=8)}, environments=["ml"])
    assert {each.task_id for each in agent.lease()} == {pinned, anywhere}


def test_a_session_from_before_shapes_goes_on_as_one_core(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.write(lambda transaction: transaction.execute(sa.update(schema.endpoints).values(offering=None)))
    federation.run(ada, target="site", resources={"gpus": 1})
    [task_id] = federation.run(ada, resources={"cores": 1})
    assert [(each.task_id, each.shape, each.environment) for each in site.lease()] == [(task_id, "default", "default")]


def test_without_endpoints_nothing_is_refused(federation: Federation, ada: Principal) -> None:
    assert federation.run(ada, resources={"gpus": 8}, environment="ml")


def test_a_pool_is_refused_by_its_own_members(
    federation: Federation, ada: Principal, site: Agent, shaped: Agent
) -> None:
    federation.write(endpoints.save_pool, ada, Pool(name="slow", endpoints=["site"]))
    federation.write(endpoints.save_pool, ada, Pool(name="all", endpoints=["site", "theta"]))
    refusal = _refusal(federation, ada, target="slow", resources={"gpus": 1})
    assert "of the pool 'slow'" in refusal.detail
    assert "theta" not in refusal.detail
    assert federation.run(ada, target="all", resources={"gpus": 1})


def test_an_endpoint_the_caller_may_not_use_neither_helps_nor_is_named(
    federation: Federation, ada: Principal, bob: Principal, shaped: Agent
) -> None:
    function_id = federation.function(bob)
    policy = RunPolicy(identities={"bob": AllowedFunctions(functions=[function_id])})
    federation.agent(ada, "open", policy=policy)
    refusal = _refusal(federation, bob, function=function_id, resources={"gpus": 1})
    assert "At open" in refusal.detail
    assert "theta" not in refusal.detail


def test_a_first_task_is_refused_where_no_endpoint_has_the_default_environment(
    federation: Federation, ada: Principal
) -> None:
    agent = federation.agent(ada, environments=["xpcs"])
    assert "no environment 'default', only xpcs" in _refusal(federation, ada).detail
    [task_id] = federation.run(ada, environment="xpcs")
    assert [(each.task_id, each.environment) for each in agent.lease()] == [(task_id, "xpcs")]


# Endpoints


def test_an_endpoint_shows_its_workers_and_environments(
    federation: Federation, ada: Principal, site: Agent, shaped: Agent
) -> None:
    federation.endpoint(ada, "new")
    facts = {"python": "3.12.1"}
    beat = Heartbeat(lease_number=0, held=[], environments={"xpcs": facts, "gone": facts})
    federation.write(sessions.heartbeat, shaped.endpoint_id, shaped.session_id, beat)
    shown = {each.name: each for each in federation.read(endpoints.shown, ada)}
    assert shown["theta"].shapes == SHAPES
    assert shown["theta"].environments == {"default": {}, "xpcs": facts}
    assert shown["site"].shapes == {"default": Shape()}
    assert shown["site"].environments == {"default": {}}
    assert (shown["new"].shapes, shown["new"].environments) == ({}, {})
