"""``@faas.function``: here as before, at a site by name; maps that hold no more than they were told to."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Iterator

import pytest

import faas
from faas.packing import pack_function, pack_value, unpack_value
from tests.unit.faas.fake_service import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def client(service: FakeService) -> faas.Client:
    return faas.Client("http://service.test", "good", transport=service.transport)


@faas.function
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


@faas.function(timeout_s=5, retries=2, idempotent=True, name="half")
def halve(number: int) -> float:
    return number / 2


@faas.function
def total(numbers: list[int]) -> int:
    return sum(numbers)


@faas.function
def countdown(number: int) -> int:
    return 0 if number == 0 else countdown(number - 1)


def test_it_is_called_here_as_before() -> None:
    assert double(3) == 6
    assert (vars(double)["__name__"], double.__doc__) == ("double", "Twice as much.")


def test_it_runs_at_a_site(client: faas.Client) -> None:
    there = double.using(client=client)
    assert there.remote(4) == 8
    assert there.submit(5).result(30) == 10
    assert faas.gather(there.submit(1), [there.submit(2), there.submit(3)]) == [2, 4, 6]
    assert {future.result() for future in faas.as_completed([there.submit(1), there.submit(2)])} == {2, 4}
    assert total.using(client=client).remote([there.submit(1), 5]) == 7


def test_it_can_be_awaited(client: faas.Client) -> None:
    there = double.using(client=client)

    async def both() -> tuple[int, list[int]]:
        return await there.aremote(2), [value async for value in there.amap(range(5))]

    assert asyncio.run(both()) == (4, [0, 2, 4, 6, 8])


def test_its_options_are_those_of_its_tasks(service: FakeService, client: faas.Client) -> None:
    there = halve.using(client=client, resources={"cores": 2})
    assert there.remote(3) == 1.5
    (submission,) = service.tasks.values()
    assert (submission.timeout_s, submission.max_attempts, submission.resources) == (5, 3, {"cores": 2.0})
    assert service.functions[there.function_id].name == "half"


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="retries is -1"):
        faas.function(retries=-1)
    with pytest.raises(ValueError, match="timeout_s"):
        faas.function(timeout_s=0)
    with pytest.raises(ValueError, match="at_once is 0"):
        double.map([1], at_once=0)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_holds_no_more_inputs_than_told(client: faas.Client, ordered: bool) -> None:
    taken = 0

    def inputs() -> Iterator[int]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield number

    results = double.using(client=client).map(inputs(), ordered=ordered, at_once=10)
    found = []
    for seen, value in enumerate(itertools.islice(results, 50), start=1):
        found.append(value)
        assert taken <= seen + 10
    results.close()  # type: ignore[attr-defined]
    if ordered:
        assert found == [2 * number for number in range(50)]
    else:
        assert len(set(found)) == 50


def test_a_failure_is_told_where_its_result_is_asked_for(client: faas.Client) -> None:
    results = halve.using(client=client).map([2, "x"])
    assert next(results) == 1.0
    with pytest.raises(faas.TaskFailed):
        next(results)
    assert len(faas.gather(halve.using(client=client).submit("x"), return_exceptions=True)) == 1


def test_what_travels_is_the_plain_function() -> None:
    packed = pack_function(double.__wrapped__)
    assert packed.serializer == "st"
    assert b"faas" not in packed.code and b"@" not in packed.code
    assert unpack_value(pack_value(double))(3) == 6
    by_others = pack_function(lambda number: double(number) + 1)
    assert by_others.serializer == "01" and b"faas.functions" not in base64.b64decode(by_others.code[3:])


def test_one_that_calls_itself_still_travels(client: faas.Client) -> None:
    assert countdown.using(client=client).remote(3) == 0
