"""`faas serve` as a process: what it accepted survives kill -9, it stops when told to, and starts or says why not."""

from __future__ import annotations

import os
import queue
import signal
import socket
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from faas.errors import ServiceUnavailable
from faas.models import CreateObject, Group, GroupResults, SubmitRequest, TaskPage, TaskQuery, Upload, WhoAmI
from tests.integration.served import Served, batch, fail_to_serve, register, submit
from tests.services.moto_server import MotoServer
from tests.services.processes import free_port

# Accepted is durable


@pytest.fixture(params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Served:
    """A service on either database, not started."""
    if request.param == "sqlite":
        return Served(tmp_path / "data")
    return Served(tmp_path / "data", variables={"FAAS_DATABASE_URL": request.getfixturevalue("postgres_url")})


def test_what_was_accepted_survives_kill_9(served: Served) -> None:
    with served, served.link() as link:
        request = batch(register(link), 500)
        assert submit(link, request) == 500
        credentials = (served.directory / "credentials.json").read_bytes()
        served.process.kill()
        with served.link(attempts=1) as once, pytest.raises(ServiceUnavailable):
            once.request("GET", "/v1/whoami", response=WhoAmI)
        served.start()
        assert (served.directory / "credentials.json").read_bytes() == credentials
        group = link.request("GET", f"/v1/groups/{request.group_id}", response=Group)
        assert group.states == {"queued": 500}
        assert submit(link, request) == 500  # the same again is a repeat
        assert link.request("GET", f"/v1/groups/{request.group_id}", response=Group).states == {"queued": 500}


def test_what_was_accepted_survives_kill_9_amid_many_submissions(served: Served) -> None:
    with served, served.link() as link:
        function_id = register(link)
        waiting: queue.SimpleQueue[SubmitRequest] = queue.SimpleQueue()
        accepted: queue.SimpleQueue[SubmitRequest | None] = queue.SimpleQueue()
        for _ in range(400):
            waiting.put(batch(function_id, 5))

        def submit_all() -> None:
            with served.link(attempts=1) as own:
                while True:
                    try:
                        request = waiting.get_nowait()
                        assert submit(own, request) == 5
                    except (queue.Empty, ServiceUnavailable):
                        return accepted.put(None)
                    accepted.put(request)

        people = [threading.Thread(target=submit_all) for _ in range(4)]
        for person in people:
            person.start()
        known = [accepted.get() for _ in range(20)]
        served.process.kill()
        for person in people:
            person.join()
        while not accepted.empty():
            known.append(accepted.get())
        durable = [request for request in known if request is not None]
        assert len(durable) >= 16  # of the 20, some may be people who had done all
        served.start()
        for request in durable:
            group = link.request("GET", f"/v1/groups/{request.group_id}", response=Group)
            assert group.states == {"queued": 5}
            assert submit(link, request) == 5


# Stopping


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_to_while_polls_are_open(tmp_path: Path, how: signal.Signals) -> None:
    with Served(tmp_path / "data") as served, served.link() as link:
        link.request("GET", "/v1/whoami", response=WhoAmI)
        answers: list[GroupResults] = []

        def poll() -> None:
            params = {"wait_s": 25}
            path = "/v1/groups/00000000-0000-4000-8000-000000000000/results"
            with served.link(attempts=1) as own:
                answers.append(own.request("GET", path, response=GroupResults, params=params, wait_s=25))

        with socket.create_connection(("127.0.0.1", served.port)) as other:
            person = threading.Thread(target=poll)
            person.start()
            # Sent after the poll on a connection opened before: when this is answered, the poll is being served.
            _wait_for_connections(served, 2)
            other.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in other.recv(1000)
            os.kill(served.process.pid, how)
            assert served.process.wait() == 0
        person.join()
        # Answered, and not cut off.
        assert answers == [GroupResults(results=[], cursor=0)]
    assert "Traceback" not in served.log.read_text()
    assert "ERROR" not in served.log.read_text()


def _wait_for_connections(served: Served, count: int) -> None:
    """Wait until the service has accepted so many connections besides the fixture's own."""
    service = psutil.Process(served.process.pid)
    served.process.wait_until(
        lambda: sum(c.status == psutil.CONN_ESTABLISHED for c in service.net_connections("tcp")) >= count
    )


# Files and log


def test_its_files_are_for_its_own_account(noisy: Served) -> None:
    with noisy.link() as link:
        submit(link, batch(register(link), 1))
    for path in [noisy.directory, *noisy.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_its_log_holds_no_secrets(tmp_path: Path) -> None:
    with Served(tmp_path / "data", "--log-level", "debug") as served, served.link() as link:
        token = served.credentials.token
        submit(link, batch(register(link), 1))
        link.request("POST", "/v1/tasks/search", TaskQuery(function="hunter2\x00"), response=TaskPage)
        [grant] = link.request("POST", "/v1/objects", CreateObject(size_bytes=7), response=Upload).grants
        link.put_object(grant, b"hunter2")
        httpx.put(served.url + grant.url[:-1], content=b"hunter2", trust_env=False)
        httpx.get(f"{served.url}/v1/whoami?token={token}", headers={"Authorization": "Bearer faas_hunter2"})
        httpx.get(f"{served.url}/v1/nowhere/{token}", trust_env=False)
        signature = httpx.URL(grant.url).params["signature"]
    log = served.log.read_text()
    assert log  # there is one
    for secret in (token, signature, "hunter2"):
        assert secret not in log


# On a real connection


def test_oversized_bodies_over_the_network(tmp_path: Path) -> None:
    with Served(tmp_path / "data") as served, served.link() as link:
        headers = {"Authorization": f"Bearer {served.credentials.token}"}
        large = b" " * (32 * 1024 * 1024 + 1)
        for content in (large, iter([large[: len(large) // 2], large[len(large) // 2 :], b"more"])):
            answer = httpx.post(
                f"{served.url}/v1/functions", content=content, headers=headers, timeout=60, trust_env=False
            )
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"
        assert link.request("GET", "/v1/whoami", response=WhoAmI).scope == "client"


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody speaks TLS
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /\xff\xfe%zz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_noise_on_the_line(noisy: Served, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", noisy.port), timeout=30) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65_536):
                answer += piece
        except ConnectionResetError:
            pass
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    with noisy.link() as link:
        assert link.request("GET", "/v1/whoami", response=WhoAmI).scope == "client"
    assert "Traceback" not in noisy.log.read_text()


def test_an_upload_broken_off_is_no_error(noisy: Served) -> None:
    with noisy.link() as link:
        head = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + noisy.credentials.token.encode()
        with socket.create_connection(("127.0.0.1", noisy.port)) as connection:
            connection.sendall(head + b"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        assert link.request("GET", "/v1/whoami", response=WhoAmI).scope == "client"
    assert "Traceback" not in noisy.log.read_text()


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all the noise."""
    with Served(tmp_path_factory.mktemp("noisy") / "data") as served:
        yield served


# It starts, or says why not


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = fail_to_serve("--data-dir", str(tmp_path), "--port", str(port))
    assert str(port) in line
    assert "--port" in line


def test_a_host_that_is_not_here(tmp_path: Path) -> None:
    line = fail_to_serve("--data-dir", str(tmp_path), "--host", "192.0.2.1", "--insecure", "--port", str(free_port()))
    assert "192.0.2.1" in line


def test_other_machines_without_tls(tmp_path: Path) -> None:
    line = fail_to_serve("--data-dir", str(tmp_path), "--host", "0.0.0.0", "--port", str(free_port()))
    assert "--tls-cert" in line
    assert "--insecure" in line


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://faas:hunter2@127.0.0.1:{free_port()}/faas"
    line = fail_to_serve("--data-dir", str(tmp_path), "--port", str(free_port()), FAAS_DATABASE_URL=url)
    assert "FAAS_DATABASE_URL" in line
    assert "hunter2" not in line


def test_a_wrong_password(tmp_path: Path, postgres_url: str) -> None:
    user, _, rest = postgres_url.rpartition("@")
    url = f"{user.rpartition(':')[0]}:hunter2@{rest}"
    line = fail_to_serve("--data-dir", str(tmp_path), "--port", str(free_port()), FAAS_DATABASE_URL=url)
    assert "password" in line
    assert "hunter2" not in line


def test_a_database_of_another_name(tmp_path: Path, postgres_url: str) -> None:
    url = postgres_url + "_which_is_not_there"
    line = fail_to_serve("--data-dir", str(tmp_path), "--port", str(free_port()), FAAS_DATABASE_URL=url)
    assert "does not exist" in line


def test_a_database_url_that_is_none(tmp_path: Path) -> None:
    line = fail_to_serve("--data-dir", str(tmp_path), "--port", str(free_port()), FAAS_DATABASE_URL="nonsense")
    assert "postgresql+psycopg://" in line


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    with Served(tmp_path / "data"):
        pass
    with sqlite3.connect(tmp_path / "data" / "registry.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    line = fail_to_serve("--data-dir", str(tmp_path / "data"), "--port", str(free_port()))
    assert "9999" in line
    assert "Upgrade" in line


def test_a_database_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"not a database at all " * 100)
    line = fail_to_serve("--data-dir", str(tmp_path), "--port", str(free_port()))
    assert "registry.sqlite" in line


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    line = fail_to_serve("--data-dir", str(tmp_path / "data"), "--port", str(free_port()))
    assert str(tmp_path / "data") in line


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    line = fail_to_serve("--data-dir", "/proc/faas", "--port", str(free_port()))
    assert "/proc/faas" in line


def test_a_store_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    line = fail_to_serve(
        "--data-dir", str(tmp_path / "data"), "--port", str(free_port()), FAAS_STORE=f"file://{tmp_path}/store"
    )
    assert f"{tmp_path}/store" in line


def test_a_bucket_that_is_not_there(tmp_path: Path, moto_server: MotoServer) -> None:
    store = moto_server.account.store_url("no-such-bucket")
    line = fail_to_serve(
        *("--data-dir", str(tmp_path), "--port", str(free_port()), "--store", store), **moto_server.account.environment
    )
    assert "no-such-bucket" in line
    assert "Create it" in line


def test_a_store_that_does_not_answer(tmp_path: Path, moto_server: MotoServer) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    line = fail_to_serve(
        *("--data-dir", str(tmp_path), "--port", str(free_port())),
        *("--store", f"s3://bucket?endpoint_url={nowhere}"),
        **moto_server.account.environment,
    )
    assert nowhere in line


def test_credentials_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").mkdir()
    line = fail_to_serve("--data-dir", str(tmp_path), "--port", str(free_port()))
    assert "--data-dir" in line
