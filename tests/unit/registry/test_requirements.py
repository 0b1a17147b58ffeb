"""What tasks need and what endpoints offer: the rules of fitting, for any shapes and any needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faas.errors import InvalidRequest
from faas.models import OpenSession, Shape
from registry.requirements import (
    NO_REQUIREMENTS,
    Offering,
    Requirements,
    effective,
    fits,
    offered,
    offering_of,
    requirements_of,
    smallest,
    stated,
)

SMALL, BIG = Shape(cores=1, memory_gb=2), Shape(cores=4, gpus=1, memory_gb=16)

amounts = st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 16.0])
environments = st.sampled_from(["", "default", "xpcs", "ml"])
needs = st.builds(
    Requirements,
    cores=amounts,
    gpus=amounts,
    memory_gb=amounts,
    environment=environments.filter(lambda name: name != "default"),
)
a_shape = st.builds(Shape, cores=amounts, gpus=amounts, memory_gb=st.none() | amounts)
shapes = st.dictionaries(st.sampled_from("abcdef"), a_shape, min_size=1)
resources = st.dictionaries(st.sampled_from(["cores", "gpus", "memory_gb"]), amounts)


@pytest.mark.parametrize(
    ("needed", "shape"),
    [
        ({}, "small"),
        ({"cores": 1, "memory_gb": 2}, "small"),
        ({"cores": 1.5}, "big"),
        ({"memory_gb": 3}, "big"),
        ({"gpus": 0.5}, "big"),
        ({"gpus": 2}, None),
        ({"cores": 5}, None),
    ],
)
def test_the_smallest_that_fits(needed: dict[str, float], shape: str | None) -> None:
    assert smallest({"big": BIG, "small": SMALL}, effective(NO_REQUIREMENTS, needed, "")) == shape


def test_gpus_are_spared_before_cores_and_cores_before_memory() -> None:
    offer = {"gpu": Shape(cores=1, gpus=1), "wide": Shape(cores=8), "fat": Shape(cores=2, memory_gb=64)}
    assert smallest(offer, Requirements()) == "fat"
    assert smallest({name: offer[name] for name in ("gpu", "wide")}, Requirements()) == "wide"
    assert smallest({"a": Shape(memory_gb=8), "b": Shape(memory_gb=4), "c": Shape()}, Requirements()) == "b"


def test_memory_that_is_not_stated_is_not_promised() -> None:
    assert not fits(Shape(cores=64), Requirements(memory_gb=0.1))
    assert Offering({"default": Shape()}, ["default"]).lacks(Requirements(memory_gb=4)) == (
        "resources",
        "no worker has 4 GB of memory, only: default (1 core, memory not stated)",
    )


def test_what_is_lacking_is_told_with_what_there_is() -> None:
    offering = Offering({"small": SMALL, "big": BIG}, ["default", "xpcs"])
    assert offering.lacks(Requirements(cores=8, gpus=2)) == (
        "resources",
        "no worker has 8 cores, 2 GPUs, only: small (1 core, 2 GB of memory); big (4 cores, 1 GPU, 16 GB of memory)",
    )
    assert offering.lacks(Requirements(environment="ml")) == (
        "environment",
        "there is no environment 'ml', only default, xpcs",
    )
    assert offering.lacks(Requirements(gpus=1, environment="xpcs")) == ("", "")


@given(shapes, needs)
def test_no_smaller_one_would_do(offer: dict[str, Shape], needed: Requirements) -> None:
    chosen = smallest(offer, needed)
    fitting = {name: shape for name, shape in offer.items() if fits(shape, needed)}
    assert (chosen is None) == (not fitting)
    if chosen is not None:
        assert chosen in fitting
        mine = offer[chosen]
        for other in fitting.values():
            assert (other.gpus, other.cores) >= (mine.gpus, mine.cores)
            if (other.gpus, other.cores) == (mine.gpus, mine.cores) and other.memory_gb is not None:
                assert mine.memory_gb is not None
                assert mine.memory_gb <= other.memory_gb


@given(a_shape, needs, needs)
def test_who_needs_more_fits_in_fewer(shape: Shape, one: Requirements, other: Requirements) -> None:
    both = Requirements(
        cores=max(one.cores, other.cores),
        gpus=max(one.gpus, other.gpus),
        memory_gb=max(one.memory_gb, other.memory_gb),
    )
    assert fits(shape, both) == (fits(shape, one) and fits(shape, other))


@given(shapes, st.lists(environments.filter(bool), unique=True, min_size=1), needs)
def test_a_reason_is_given_exactly_where_it_cannot_run(
    offer: dict[str, Shape], names: list[str], needed: Requirements
) -> None:
    offering = Offering(offer, names)
    field, reason = offering.lacks(needed)
    assert bool(reason) == (offering.shape_for(needed) is None)
    assert field in ("resources", "environment") if reason else field == ""
    assert offering_of(offering.text) == offering


@given(needs, resources, environments)
def test_the_call_wins_amount_by_amount(default: Requirements, called: dict[str, float], environment: str) -> None:
    found = effective(default, called, environment)
    for name in ("cores", "gpus", "memory_gb"):
        assert getattr(found, name) == called.get(name, getattr(default, name))
    assert found.environment == (environment or default.environment).replace("default", "")
    assert effective(found, found.resources, found.environment) == found


@given(needs)
def test_needs_survive_the_database(needed: Requirements) -> None:
    assert requirements_of(needed.text) == needed
    assert (needed.text is None) == (needed == NO_REQUIREMENTS)


@given(resources)
def test_naming_nothing_is_not_naming_it(called: dict[str, float]) -> None:
    explicit = {"cores": 0.0, "gpus": 0.0, "memory_gb": 0.0, **called}
    assert effective(NO_REQUIREMENTS, explicit, "default").text == effective(NO_REQUIREMENTS, called, "").text


@pytest.mark.parametrize(
    ("resources", "environment", "words"),
    [
        ({"gpu": 1}, "", "there is no 'gpu'; give cores, gpus or memory_gb"),
        ({"cores": -1}, "", "cores is -1; give a number within 0 and 1,000,000"),
        ({"cores": float("nan")}, "", "cores is nan"),
        ({"cores": float("inf")}, "", "cores is inf"),
        ({"memory_gb": 1e30}, "", "memory_gb is 1e\\+30"),
        ({"cores": True}, "", "cores is True"),
        ({"cores": "4"}, "", "cores is 4"),
        ({}, "a b", "'a b' is no name for an environment"),
        ({}, "../up", "is no name for an environment"),
        ({}, "x" * 65, "is no name for an environment"),
        ({}, "x\x00", "is no name for an environment"),
        ({}, "x\n", "is no name for an environment"),
    ],
)
def test_impossible_needs_are_refused(resources: Any, environment: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refusal:
        stated(resources, environment)
    assert refusal.value.field == ("resources" if resources else "environment")


def _session(**fields: Any) -> OpenSession:
    return OpenSession(nonce="n", host="h", pid=1, version="0", **fields)


def test_an_agent_that_names_nothing_has_one_core_and_the_default_environment() -> None:
    assert offered(_session()) == Offering({"default": Shape(cores=1)}, ["default"])
    assert offered(_session(shapes={"big": BIG})) == Offering({"big": BIG}, ["default"])
    assert offered(_session(environments=["xpcs", "xpcs"])).environments == ["xpcs"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"shapes": {"": SMALL}}, "shapes"),
        ({"shapes": {"a b": SMALL}}, "shapes"),
        ({"shapes": {f"s{number}": SMALL for number in range(101)}}, "shapes"),
        ({"environments": ["default", "\x00"]}, "environments"),
        ({"environments": [f"e{number}" for number in range(101)]}, "environments"),
    ],
)
def test_impossible_offerings_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        offered(_session(**fields))
    assert refusal.value.field == field
