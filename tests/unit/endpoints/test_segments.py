"""Segments: many results in one object of one owner, each found again by its range; and grants in stock."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from endpoints.segments import GrantStock, uploads
from faas.models import AttemptKey, Grant, Outcome


def outcome(sequence: int) -> Outcome:
    return Outcome(attempt=AttemptKey(sequence, 1), state="succeeded")


def grant(name: str, lifetime_s: float = 600) -> Grant:
    return Grant(object_id=name, verb="PUT", url=f"/{name}", expires_at=time.time() + lifetime_s)


@given(st.lists(st.binary(max_size=100), max_size=40), st.integers(1, 300))
def test_every_result_is_where_its_location_says(results: list[bytes], segment_bytes: int) -> None:
    outcomes = [outcome(index) for index in range(len(results))]
    rows = [(each, data, "") for each, data in zip(outcomes, results, strict=True)]
    stored: dict[str, bytes] = {}
    for number, upload in enumerate(uploads("owner", rows, segment_bytes)):
        content = upload.content()
        assert isinstance(content, bytes)
        stored[str(number)] = content
        upload.locate(str(number))
    for each, data in zip(outcomes, results, strict=True):
        if not data:
            assert each.location is None
            continue
        assert each.location is not None
        place = each.location
        assert stored[place.object_id][place.offset : place.offset + place.length_bytes] == data


def test_a_segment_that_is_full_is_followed_by_another() -> None:
    rows = [(outcome(index), b"x" * 60, "") for index in range(4)]
    assert [len(upload.outcomes) for upload in uploads("owner", rows, 100)] == [2, 2]


def test_a_result_in_a_file_is_an_object_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"large")
    rows = [(outcome(1), b"small", ""), (outcome(2), b"", str(file)), (outcome(3), b"small", "")]
    planned = uploads("owner", rows, 1000)
    assert [upload.content() for upload in planned] == [b"smallsmall", file]
    planned[1].locate("own")
    assert rows[1][0].location is not None
    assert (rows[1][0].location.offset, rows[1][0].location.length_bytes) == (0, 5)


def test_grants_are_given_out_once_and_to_their_owner_only() -> None:
    stock = GrantStock()
    stock.add({"ada": [grant("a1"), grant("a2")], "grace": [grant("g1")]})
    assert stock.counts() == {"ada": 2, "grace": 1}
    taken = [stock.take("ada") for _ in range(3)]
    assert [each and each.object_id for each in taken] == ["a1", "a2", None]
    assert stock.short_of(["ada", "grace", "edsger"]) == ["ada", "grace", "edsger"]
    assert stock.take("edsger") is None


def test_a_clock_that_goes_wrong_does_not_void_new_grants() -> None:
    stock = GrantStock()
    stock.add({"ada": [grant("a1", lifetime_s=-3600)]})
    taken = stock.take("ada")
    assert taken is not None
    assert taken.object_id == "a1"
