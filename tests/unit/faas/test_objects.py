"""Objects through a client: put, get, opened, downloaded, resumed, with faults on the way."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from faas.bulk import BulkTransport
from faas.client import Client
from faas.credentials import read_credentials
from faas.errors import ChecksumMismatch, Conflict, FaasError, NotFound
from faas.models import PART_BYTES, CreateObject, ObjectInfo, ObjectPage, Upload
from faas.objects import ObjectRef
from tests.unit.faas.played_site import Faas

LARGE = PART_BYTES + 1_234_567


class Faulty(httpx.BaseTransport):
    """The real way, on which a test does something to answers."""

    def __init__(self) -> None:
        self.under = BulkTransport(None)
        self.requests: list[tuple[str, str]] = []
        self.fault: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.method, request.url.path))
        if (answer := self.fault(request)) is not None:
            return answer
        if request.method == "POST":  # urllib3 streams PUTs alone
            with httpx.Client(trust_env=False) as client:
                return client.post(request.url, content=request.read(), headers=request.headers)
        return self.under.handle_request(request)

    def puts(self) -> int:
        return sum(method == "PUT" for method, _ in self.requests)


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def unlucky(directory: Path, faulty: Faulty) -> Iterator[Client]:
    found = read_credentials(directory / "credentials.json")
    with Client(found.url, found.token, transport=faulty) as client:
        yield client


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "scan12.h5"
    path.write_bytes(os.urandom(1024 * 1024) * (LARGE // (1024 * 1024)) + os.urandom(LARGE % (1024 * 1024)))
    return path


def once(answer: Callable[[], httpx.Response], *, method: str) -> Callable[[httpx.Request], httpx.Response | None]:
    """Give an answer of one's own to the first request to the store by this method."""
    left = [1]

    def fault(request: httpx.Request) -> httpx.Response | None:
        if request.method == method and "/v1/store/" in request.url.path and left:
            left.pop()
            return answer()
        return None

    return fault


@pytest.mark.parametrize("value", [b"", b"raw bytes", bytearray(b"more"), {"a": [1, 2.5]}, "text", None])
def test_what_is_put_is_got(client: Client, value: object) -> None:
    reference = client.put(value)
    assert client.get(reference) == value
    assert client.object(reference.object_id).sha256 == reference.sha256
    with reference.open() as file:
        assert hashlib.sha256(file.read()).hexdigest() == reference.sha256


def test_a_large_file_goes_in_parts_and_comes_back(client: Client, large: Path, tmp_path: Path) -> None:
    sent: list[int] = []
    reference = client.put(large, progress=sent.append)
    assert sum(sent) == LARGE
    assert (reference.size_bytes, reference.name, reference.content) == (LARGE, "scan12.h5", "bytes")
    assert reference.sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    came: list[int] = []
    assert reference.download(tmp_path / "copy.h5", came.append).read_bytes() == large.read_bytes()
    assert sum(came) == LARGE
    with reference.open() as file:
        file.seek(-100, os.SEEK_END)
        assert file.read() == large.read_bytes()[-100:]
        file.seek(PART_BYTES - 5)
        assert file.read(10) == large.read_bytes()[PART_BYTES - 5 : PART_BYTES + 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.h5", "scan12.h5"]


def test_a_reference_survives_pickling_and_reads_through_the_client_that_unpickled_it(client: Client) -> None:
    reference = client.put([1, 2, 3])
    again = pickle.loads(pickle.dumps({"deep": [reference]}))["deep"][0]
    assert again == reference and isinstance(again, ObjectRef)
    assert client.get(again) == [1, 2, 3]


def test_an_upload_that_broke_off_is_gone_on_with(client: Client, large: Path, unlucky: Client, faulty: Faulty) -> None:
    begun = client.link.request(
        "POST", "/v1/objects", CreateObject(size_bytes=LARGE, content="bytes", kind="object"), response=Upload
    )
    first = large.read_bytes()[: begun.part_bytes]
    client.link.send_object(begun.grants[0], lambda: [first], len(first))
    listed = client.link.request("GET", "/v1/objects", response=ObjectPage).objects
    assert [each.unfinished for each in listed if each.object_id == begun.object_id] == [True]
    for use in (lambda: client.get(client.object(begun.object_id)), lambda: client.keep(begun.object_id)):
        with pytest.raises(Conflict, match="not complete"):
            use()
    reference = unlucky.put(large, resume=begun.object_id)
    assert reference.object_id == begun.object_id
    assert faulty.puts() == 1
    assert client.get(reference) == large.read_bytes()


def test_an_expired_grant_is_renewed_in_mid_upload(unlucky: Client, faulty: Faulty, large: Path) -> None:
    faulty.fault = once(lambda: httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>"), method="PUT")
    reference = unlucky.put(large)
    assert faulty.puts() == 3
    faulty.fault = once(lambda: httpx.Response(403, text="expired"), method="GET")
    assert unlucky.get(reference) == large.read_bytes()


def test_a_busy_store_is_asked_again(unlucky: Client, faulty: Faulty) -> None:
    faulty.fault = once(
        lambda: httpx.Response(503, text="<Code>SlowDown</Code>", headers={"Retry-After": "0"}), method="PUT"
    )
    assert unlucky.get(unlucky.put(b"data")) == b"data"


def test_a_download_that_breaks_off_goes_on_where_it_did(unlucky: Client, faulty: Faulty) -> None:
    data = os.urandom(3_000_000)
    reference = unlucky.put(data)
    asked: list[str] = []

    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield data[:1_000_000]
            raise httpx.ReadError("connection reset")

    def fault(request: httpx.Request) -> httpx.Response | None:
        if "/v1/store/" not in request.url.path:
            return None
        asked.append(request.headers["Range"])
        return httpx.Response(206, stream=Broken()) if len(asked) == 1 else None

    faulty.fault = fault
    assert unlucky.get(reference) == data
    assert asked == ["bytes=0-2999999", "bytes=1000000-2999999"]


def test_changed_bytes_are_fetched_once_more(unlucky: Client, faulty: Faulty, tmp_path: Path) -> None:
    reference = unlucky.put(b"the data")
    faulty.fault = once(lambda: httpx.Response(206, content=b"the dat!"), method="GET")
    assert unlucky.get(reference) == b"the data"
    faulty.fault = lambda request: httpx.Response(206, content=b"the dat!") if "/store/" in request.url.path else None
    with pytest.raises(ChecksumMismatch, match=reference.object_id):
        reference.download(tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_written_to_meanwhile_is_refused(unlucky: Client, faulty: Faulty, tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"some")

    def fault(request: httpx.Request) -> None:
        if request.method == "PUT":
            with path.open("ab") as file:
                file.write(b"more")

    faulty.fault = fault
    with pytest.raises(FaasError, match="growing was written to"):
        unlucky.put(path)


def test_what_is_kept_stays_and_what_is_deleted_is_gone(client: Client) -> None:
    reference = client.put(b"mine", keep=True)
    info = client.link.request("GET", f"/v1/objects/{reference.object_id}/info", response=ObjectInfo)
    assert info.kept and info.expires_at is None
    other = client.put(b"other")
    client.keep(other)
    for each in (reference, other):
        client.delete(each)
        with pytest.raises(NotFound):
            client.get(each)


def test_the_command(credentials: None, faas: Faas, client: Client, tmp_path: Path) -> None:
    source = tmp_path / "mask.npy"
    source.write_bytes(b"0123")
    object_id = faas("object", "put", str(source)).strip()
    assert object_id in faas("object", "list")
    shown = faas("object", "show", object_id)
    assert "mask.npy" in shown and hashlib.sha256(b"0123").hexdigest() in shown
    faas("object", "keep", object_id)
    assert "until deleted" in faas("object", "show", object_id)
    faas("object", "get", object_id, "--output", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"0123"
    faas("object", "delete", object_id)
    assert object_id not in faas("object", "list")


def test_it_is_public() -> None:
    import faas

    assert faas.ObjectRef is ObjectRef
