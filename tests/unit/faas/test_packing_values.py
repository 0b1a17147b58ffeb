"""Values packed and unpacked: whatever goes in comes out, and what cannot is named."""

from __future__ import annotations

import base64
import pickle
import threading
from collections import Counter, namedtuple
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Any

import dill
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faas.errors import SerializationFailed
from faas.files import S3, File, OutputFile
from faas.objects import ObjectRef
from faas.packing import pack_arguments, pack_value, unpack_value
from faas.references import TaskReference, collecting, resolve
from tests.unit.faas.at_a_site import run_at_a_site

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@dataclass(frozen=True)
class Peak:
    energy: float
    counts: int = 0


class Color(Enum):
    """Has members, an alias and a method."""

    RED = 1
    SCARLET = 1
    BLUE = 2

    def other(self) -> Color:
        return Color.BLUE if self is Color.RED else Color.RED


class Bits(IntFlag):
    LOW = 1
    HIGH = 2


Pair = namedtuple("Pair", "a b")


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plain)
def test_round_trip(value: Any) -> None:
    packed = pack_value(value)
    assert packed.startswith(b"pk\n")
    assert unpack_value(packed) == value
    assert unpack_value(memoryview(packed)) == value


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(plain, max_size=3), st.dictionaries(st.text(), plain, max_size=3))
def test_arguments_round_trip(args: list[Any], kwargs: dict[str, Any]) -> None:
    packed = pack_arguments(tuple(args), kwargs)
    assert not (packed.dependencies or packed.objects or packed.files or packed.outputs)
    assert (unpack_value(packed.payload) if packed.payload else ((), {})) == (tuple(args), kwargs)


@pytest.mark.parametrize(
    "value",
    [
        Peak(6.4, 3),
        Color.RED,
        Bits.LOW | Bits.HIGH,
        Pair(1, 2),
        Counter("abca"),
        Peak,
        [Peak(1.0), Peak],
        ValueError("x"),
        range(3),
    ],
)
def test_objects_round_trip_as_their_own_class(value: Any) -> None:
    back = unpack_value(pack_value(value))
    assert type(back) is type(value)
    if not isinstance(value, Exception):
        assert back == value


def test_functions_are_values_too() -> None:
    offset = 5
    assert unpack_value(pack_value(lambda number: number + offset))(1) == 6


def other(color: Color) -> str:
    return f"{color.other().name} {color.SCARLET.name}"


def echo(value: Any) -> Any:
    return value


@pytest.mark.parametrize("value", [Peak(6.4, 3), {"peaks": [Peak(1.0)]}, Pair(1, 2)])
def test_classes_of_this_module_reach_a_site_and_come_back(value: Any) -> None:
    back = run_at_a_site(echo, value)
    assert back == value
    assert type(back) is type(value)


def test_enumerations_of_this_module_reach_a_site() -> None:
    assert run_at_a_site(other, Color.RED) == "BLUE RED"
    assert run_at_a_site(int, Bits.LOW | Bits.HIGH) == 3


def test_what_cannot_be_packed_is_named() -> None:
    with pytest.raises(SerializationFailed, match=r"Argument 1 .*generator"):
        pack_arguments((1, (letter for letter in "ab")), {})
    with pytest.raises(SerializationFailed, match=r"Argument broken= .*Unpicklable.*RuntimeError: no"):
        pack_arguments((), {"broken": Unpicklable()})


def test_json_and_globus_compute_data_are_understood() -> None:
    assert unpack_value(b'11\n{"a": [1, null]}') == {"a": [1, None]}
    assert unpack_value(b"00\n" + base64.encodebytes(dill.dumps({"a": 1}))) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no packed value"),
        (b"xx\nabc", "no packed value"),
        (b"pk\nabc", "does not unpack"),
        (b"11\n{", "does not unpack"),
        (b"pk\ncno_such_module\nThing\n.", "no_such_module"),
    ],
)
def test_what_cannot_be_unpacked_says_why(data: bytes, words: str) -> None:
    with pytest.raises(SerializationFailed, match=words):
        unpack_value(data)


def test_references_are_collected_once_each() -> None:
    first, second = TaskReference("a"), TaskReference("b")
    packed = pack_arguments(([first, {"deep": second}], first), {"again": TaskReference("a")})
    assert packed.dependencies == ["a", "b"]
    assert b"faas.references" in packed.payload
    args, kwargs = unpack_value(packed.payload)
    assert [(marker.parameter, value) for marker, value in args] == [(0, [first, {"deep": second}]), (1, first)]
    assert [(name, marker.parameter, value) for name, (marker, value) in kwargs.items()] == [("again", "again", first)]


def test_references_are_collected_with_objects_that_go_by_value() -> None:
    assert pack_arguments((lambda: 1, TaskReference("a")), {}).dependencies == ["a"]


def test_what_arguments_refer_to_is_listed_by_kind_and_marked() -> None:
    one, scan = ObjectRef("object-1", 3), File("raw:/scan.h5")
    packed = pack_arguments(([one, S3("s3://raw/x")], one, one), {"scan": scan, "out": OutputFile("proc:/y")})
    assert (packed.objects, packed.files) == (["object-1"], ["s3://raw/x", "raw:/scan.h5"])
    assert (packed.outputs, packed.dependencies) == (["proc:/y"], [])
    args, kwargs = unpack_value(packed.payload)
    assert [value for _, value in args] == [[one, S3("s3://raw/x")], one, one]
    assert args[1][1] is not args[2][1]  # each is resolved as its own parameter asks
    assert {name: value for name, (_, value) in kwargs.items()} == {"scan": scan, "out": OutputFile("proc:/y")}


def test_arguments_without_references_are_not_marked() -> None:
    shared = [1, 2]
    (one, other), kwargs = unpack_value(pack_arguments((shared, shared), {"a": 1}).payload)
    assert one is other
    assert kwargs == {"a": 1}


def test_collecting_is_of_this_thread_alone() -> None:
    with collecting() as found:
        other = threading.Thread(target=lambda: pickle.dumps(TaskReference("other")))
        other.start()
        other.join()
        pickle.dumps(TaskReference("mine"))
    pickle.dumps(TaskReference("later"))
    assert found == [("task", "mine")]


def test_a_reference_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="hologram"):
        resolve("hologram", "x")
