"""References in arguments and results, through the runner's pipes: what a function is given, and what comes back."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

import faas
from endpoints.processes import find_processes
from endpoints.runner import unfinished_output
from endpoints.worker import stop_runners
from faas.objects import ObjectRef
from faas.packing import pack_arguments, pack_value, unpack_value
from faas.references import TaskReference
from tests.services.pythons import other_pythons
from tests.unit.endpoints.chunks import ChunkMaker, failure, value


@pytest.fixture
def chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChunkMaker]:
    nonce = uuid.uuid4().hex
    monkeypatch.setenv("FAAS_NONCE", nonce)
    yield ChunkMaker(tmp_path)
    stop_runners()
    assert find_processes(nonce) == []


@pytest.fixture(params=("with faas", "without faas", "oldest Python"))
def any_chunk(request: pytest.FixtureRequest, chunk: ChunkMaker) -> ChunkMaker:
    """The environments of functions: with and without faas to import, and the oldest Python here, without it too."""
    if request.param == "without faas":
        chunk.interpreter = [sys.executable, "-I", "-S"]
    elif request.param == "oldest Python":
        chunk.interpreter = [str(other_pythons()[0].path)]
    else:
        chunk.variables = {"PYTHONPATH": str(Path(faas.__file__).parents[1])}
    return chunk


class Store:
    """Objects as copies at the site."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.copies: dict[str, str] = {}

    def put(self, data: bytes, content: str = "value", name: str = "object") -> ObjectRef:
        reference = ObjectRef(str(uuid.uuid4()), len(data), hashlib.sha256(data).hexdigest(), content, name)  # type: ignore[arg-type]
        path = self._directory / reference.object_id / name
        path.parent.mkdir()
        path.write_bytes(data)
        self.copies[reference.object_id] = str(path)
        return reference


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def add(chunk: ChunkMaker, store: Store, function: Any, *args: Any, fields: Any = None, **kwargs: Any) -> int:
    """Add a call whose arguments refer to objects."""
    packed = pack_arguments(args, kwargs)
    return chunk.add_packed(function, packed.payload, **{"value_files": store.copies, **(fields or {})})


def source(chunk: ChunkMaker, text: str) -> str:
    return chunk.register_code("f", "st", f"st\nf:{text}".encode())


# What a function is given


def test_an_object_becomes_what_its_parameter_asks_for(any_chunk: ChunkMaker, store: Store) -> None:
    reference = store.put(pack_value({"energy": 8.3}), name="scan.pkl")
    raw = store.put(b"\0\1\2", "bytes", "scan.bin")
    function = source(
        any_chunk,
        "from __future__ import annotations\n"
        "def f(plain, path: Path, itself: ObjectRef, raw: bytes, *rest: Path, named: 'pathlib.Path | None' = None,"
        " **others: faas.ObjectRef):\n"
        "    assert plain == {'energy': 8.3}\n"
        "    assert path.name == 'scan.pkl' and path.read_bytes()[:3] == b'pk\\n'\n"
        "    assert itself.get() == plain and itself.path == path\n"
        "    assert itself.open().read() == itself.read() == path.read_bytes()\n"
        "    assert itself.download('.').read_bytes() == itself.read()\n"
        "    assert raw == b'\\0\\1\\2'\n"
        "    assert [each.name for each in rest] == ['scan.bin', 'scan.pkl']\n"
        "    assert named.read_bytes() == raw\n"
        "    assert others['other'].size_bytes == 3 and others['other'].read() == raw\n"
        "    return itself.object_id, itself.sha256\n",
    )
    add(
        any_chunk,
        store,
        function,
        reference,
        reference,
        reference,
        raw,
        raw,
        reference,
        named=raw,
        other=raw,
    )
    assert value(any_chunk.run().tasks[0]) == (reference.object_id, reference.sha256)


@dataclasses.dataclass
class Scan:
    frames: Any
    title: str


def lengths(paths: list[Path], first: Optional[Path], scans: dict[str, Any]) -> Any:  # noqa: UP045 (as people write it)
    assert first is not None
    return [path.stat().st_size for path in paths], first.name, scans["a"]


def test_annotations_of_a_function_that_goes_by_value_and_references_at_any_depth(
    chunk: ChunkMaker, store: Store
) -> None:
    one, two = store.put(b"1", "bytes", "one.h5"), store.put(b"22", "bytes", "two.h5")
    deep = store.put(pack_value([1, 2, 3]))

    def closure(paths: list[Path], first: Optional[Path], scans: dict[str, Any]) -> Any:  # noqa: UP045
        return lengths(paths, first, scans)

    for function in (lengths, closure):
        add(chunk, store, function, [one, two], first=one, scans={"a": (deep, [deep])})
    results = [value(task) for task in chunk.run().tasks]
    assert results == [([1, 2], "one.h5", ([1, 2, 3], [[1, 2, 3]]))] * 2


def peak(scan: Scan) -> Any:
    return scan.title, max(scan.frames)


def test_a_reference_in_a_dataclass_of_the_clients(chunk: ChunkMaker, store: Store) -> None:
    chunk.variables = {"PYTHONPATH": str(Path(__file__).parents[3])}
    add(chunk, store, peak, Scan(store.put(pack_value([3, 9, 4])), "x"))
    assert value(chunk.run().tasks[0]) == ("x", 9)


def test_a_class_of_faas_in_annotations_needs_no_faas_at_the_site(chunk: ChunkMaker, store: Store) -> None:
    offset = 1
    namespace: dict[str, Any] = {"faas": faas, "offset": offset}
    exec(  # without late annotations
        "def make():\n"
        "    extra = offset\n"
        "    def f(itself: faas.ObjectRef, path: faas.File) -> faas.ObjectRef:\n"
        "        return itself.size_bytes + extra, path.name\n"
        "    return f\n",
        namespace,
    )
    reference = store.put(b"123", "bytes")
    chunk.interpreter = [sys.executable, "-I", "-S"]
    add(
        chunk,
        store,
        namespace["make"](),
        reference,
        faas.File("als-raw:/a/b.h5"),
        fields={"value_files": {**store.copies, "als-raw:/a/b.h5": "/somewhere/b.h5"}},
    )
    assert value(chunk.run().tasks[0]) == (4, "b.h5")


def test_files_become_paths_with_and_without_annotations(any_chunk: ChunkMaker, store: Store) -> None:
    function = source(any_chunk, "def f(one, two):\n    return [str(each) for each in [*one, two]]\n")
    names = {"als-raw:/scan12.h5": "/global/cfs/als/scan12.h5", "s3://raw/scan13.h5": "/cache/scan13.h5"}
    add(
        any_chunk,
        store,
        function,
        [faas.File("als-raw:/scan12.h5")],
        two=faas.S3("s3://raw/scan13.h5"),
        fields={"value_files": names},
    )
    assert value(any_chunk.run().tasks[0]) == list(names.values())


def test_a_parents_result_may_hold_objects(any_chunk: ChunkMaker, store: Store) -> None:
    reference = store.put(pack_value("spectrum"))
    parent = str(uuid.uuid4())
    fields = {"values": {parent: pack_value([reference])}}
    for annotation in ("", ": list[ObjectRef]", ": 'list[Path]'"):
        text = f"from __future__ import annotations\ndef f(found{annotation}):\n    return type(found[0]).__name__\n"
        add(any_chunk, store, source(any_chunk, text), TaskReference(parent), fields=fields)
    assert [value(task) for task in any_chunk.run().tasks] == ["str", "ObjectRef", "PosixPath"]


def test_what_did_not_come_is_named(chunk: ChunkMaker) -> None:
    def f(each: Any) -> Any:
        return each

    for argument in (ObjectRef("an-object", 3), faas.File("raw:/x"), faas.OutputFile("raw:/y"), TaskReference("t")):
        chunk.add_packed(f, pack_arguments((argument,), {}).payload)
    messages = [failure(task).message for task in chunk.run().tasks]
    assert "object an-object, whose value did not come" in messages[0]
    assert "the file raw:/x, which did not come" in messages[1]
    assert "raw:/y" in messages[2]
    assert "task t, whose value did not come" in messages[3]


# What comes back


def test_references_in_a_result_are_references_again_and_listed(any_chunk: ChunkMaker, store: Store) -> None:
    one, two = store.put(b"1", "bytes", "one.h5"), store.put(pack_value(2))
    function = source(
        any_chunk,
        "from __future__ import annotations\n"
        "import sys\n"
        "def f(one: ObjectRef, two: ObjectRef):\n"
        "    import copy\n"
        "    assert copy.deepcopy([one]) == [one]\n"
        "    class Here:\n"
        "        pass\n"
        "    return {'pair': [one, two, one], 'made': Here}\n",
    )
    plain = source(
        any_chunk, "from __future__ import annotations\ndef f(one: ObjectRef, two: ObjectRef):\n    return (two, one)\n"
    )
    if any_chunk.interpreter:
        function = plain  # dill is not at hand without site-packages, and byte code is for one version of Python
    add(any_chunk, store, plain, one, two)
    add(any_chunk, store, function, one, two)
    any_chunk.add_source("def f():\n    import sys\n    return [name for name in sys.modules if name == 'faas']\n")
    any_chunk.add_source("def f():\n    return 1\n")
    first, second, modules, last = any_chunk.run().tasks
    assert value(first) == (two, one)
    assert value(first)[1].reference() == one.reference()
    assert first.objects == (two.object_id, one.object_id)
    back = value(second)
    assert (back["pair"] if isinstance(back, dict) else [*reversed(back), one]) == [one, two, one]
    assert set(second.objects) == {one.object_id, two.object_id}
    assert value(modules) == ([] if any_chunk.interpreter else ["faas"])
    assert last.objects == ()


def test_what_a_function_pickles_itself_is_not_in_its_result(any_chunk: ChunkMaker, store: Store) -> None:
    text = (
        "from __future__ import annotations\n"
        "def f(one: ObjectRef):\n"
        "    import pickle\n"
        "    back = pickle.loads(pickle.dumps({'a': one}))['a']\n"
        "    return back.object_id == one.object_id\n"
    )
    add(any_chunk, store, source(any_chunk, text), store.put(b"1", "bytes"))
    report = any_chunk.run().tasks[0]
    assert (value(report), report.objects) == (True, ())


def test_an_exception_that_holds_a_reference_leaves_nothing_behind(any_chunk: ChunkMaker, store: Store) -> None:
    text = "from __future__ import annotations\ndef f(one: ObjectRef):\n    raise ValueError(one)\n"
    add(any_chunk, store, source(any_chunk, text), store.put(b"1", "bytes"))
    any_chunk.add_source("def f():\n    return 1\n")
    raised, after = any_chunk.run().tasks
    assert failure(raised).message.startswith("ValueError: ObjectRef(")
    assert (value(after), after.objects) == (1, ())


# Output files


def test_output_files_are_renamed_when_the_function_has_returned(any_chunk: ChunkMaker, tmp_path: Path) -> None:
    function = source(
        any_chunk,
        "def f(out, fails):\n"
        "    import os\n"
        "    assert out.suffix == '.npy'\n"
        "    out.write_bytes(b'half')\n"
        "    if fails == 'raise':\n"
        "        raise RuntimeError('no')\n"
        "    if fails == 'die':\n"
        "        os._exit(3)\n"
        "    if fails == 'unpackable':\n"
        "        return (each for each in 'ab')\n"
        "    if fails == 'unwritten':\n"
        "        out.unlink()\n"
        "    return sorted(os.listdir(out.parent))\n",
    )
    directory = tmp_path.resolve() / "als" / "deep"
    for fails in ("", "raise", "die", "unpackable", "unwritten"):
        payload = pack_arguments((faas.OutputFile(f"als:/deep/{fails}.npy"), fails), {}).payload
        any_chunk.add_packed(
            function, payload, outputs={f"als:/deep/{fails}.npy": str(directory / f"{fails or 'good'}.npy")}
        )
    good, raised, died, unpackable, unwritten = any_chunk.run().tasks
    assert value(good) == [".partial-1.1-good.npy"]
    assert (failure(raised).kind, failure(died).kind) == ("exception", "crash")
    assert failure(unpackable).kind == "serialization"
    assert "without having written als:/deep/unwritten.npy" in failure(unwritten).message
    assert [path.name for path in directory.iterdir()] == ["good.npy"]
    assert (directory / "good.npy").read_bytes() == b"half"


def test_an_output_of_a_task_killed_at_its_time_is_removed(chunk: ChunkMaker, tmp_path: Path) -> None:
    function = source(chunk, "def f(out):\n    out.write_bytes(b'half')\n    while True:\n        pass\n")
    place = tmp_path.resolve() / "x.h5"
    payload = pack_arguments((faas.OutputFile("als:/x.h5"),), {}).payload
    chunk.add_packed(function, payload, outputs={"als:/x.h5": str(place)}, timeout_s=0.5)
    assert failure(chunk.run().tasks[0]).kind == "timeout"
    assert not Path(unfinished_output(str(place), "1.1")).exists()
    assert not place.exists()


def test_a_directory_that_has_become_a_link_is_refused(chunk: ChunkMaker, tmp_path: Path) -> None:
    elsewhere = tmp_path.resolve() / "elsewhere"
    elsewhere.mkdir()
    (tmp_path.resolve() / "als").symlink_to(elsewhere)
    payload = pack_arguments((faas.OutputFile("als:/x.h5"),), {}).payload
    chunk.add_packed(
        source(chunk, "def f(out):\n    out.write_text('x')\n"),
        payload,
        outputs={"als:/x.h5": str(tmp_path.resolve() / "als" / "x.h5")},
    )
    assert "leads elsewhere by a symbolic link" in failure(chunk.run().tasks[0]).message
    assert list(elsewhere.iterdir()) == []


def test_a_pickled_reference_is_a_reference_here() -> None:
    for reference in (ObjectRef("a", 3, "00", "bytes", "x"), faas.File("a:/b"), faas.S3("s3://bucket/c")):
        back = unpack_value(pack_value(reference))
        assert back == reference
        assert type(back) is type(reference)
