"""The sub-commands against a real service, whose only endpoint is played by the test."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from faas.client import Client
from faas.link import Link
from faas.models import EndpointCreated, Failure, OpenSession, RegisterEndpoint, SessionOpened, Shape
from tests.unit.faas.played_site import Faas, Site

pytestmark = pytest.mark.usefixtures("credentials")

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


def test_status_shows_service_identity_and_endpoints(faas: Faas, site: Site, client: Client) -> None:
    output = faas("status")
    assert client.url in output
    assert "token of scope client" in output
    assert "played" in output
    shown = faas.json("status")
    assert shown["health"]["status"] == "ok"
    assert shown["endpoints"][0]["endpoint_id"] == site.endpoint_id


def test_functions_are_found_by_name_id_and_beginning(faas: Faas, client: Client) -> None:
    function_id = client.register_function(double)
    assert function_id[:8] in faas("function", "list")
    assert [one["function_id"] for one in faas.json("function", "list", "--name", "double")] == [function_id]
    for text in ("double", function_id, function_id[:8]):
        assert function_id in faas("function", "show", text)
    assert faas.json("function", "show", "double")["description"] == "Twice as much."


def test_a_run_gives_its_result(faas: Faas, site: Site, client: Client) -> None:
    client.register_function(double)
    faas("run", "double", "21", "--timeout", "1s", code=1)
    assert "has not ended after 1 s and goes on" in faas.err
    task_id = site.run(42, stdout="working\n", stderr="careful\n")
    assert task_id in faas.err

    assert faas("task", "result", task_id) == "42\n"
    assert faas("task", "result", task_id[:12], "--wait", "5") == "42\n"
    assert faas.json("task", "result", task_id) == {"task_id": task_id, "result": 42}
    assert faas("task", "logs", task_id) == "working\ncareful\n"
    assert "--- attempt 1 at played, stderr" in faas.err

    shown = faas("task", "show", task_id)
    assert "succeeded" in shown
    assert "theta3, job 4711, block ab12-3" in shown
    assert "environment xpcs, Python 3.12.1" in shown
    assert "3.2 GB at most" in shown
    assert "12.0 ms" in shown
    (attempt,) = faas.json("task", "show", task_id)["attempts"]
    assert attempt["endpoint"] == "played"


def test_what_tasks_need_is_shown_and_asked_for(faas: Faas, site: Site, client: Client) -> None:
    created = client.link.request("POST", "/v1/endpoints", RegisterEndpoint(name="shaped"), response=EndpointCreated)
    opening = OpenSession(
        nonce=str(uuid4()),
        host="here",
        pid=os.getpid(),
        version="0",
        shapes={"big": Shape(cores=4, gpus=1, memory_gb=16)},
        environments=["default", "xpcs"],
    )
    with Link(client.url, created.token) as link:
        link.request("POST", "/v1/sessions", opening, response=SessionOpened)
    status = faas("endpoint", "status", "shaped")
    assert "shape big            cores=4,gpus=1,memory_gb=16\n" in status
    assert "environment xpcs     nothing reported yet\n" in status
    (listed,) = (each["service"] for each in faas.json("endpoint", "list") if each["name"] == "shaped")
    assert listed["shapes"] == {"big": {"cores": 4, "gpus": 1, "memory_gb": 16}}
    client.register_function(double, name="shaped", resources={"cores": 2}, environment="xpcs")
    shown = faas("function", "show", "shaped")
    assert "resources    cores=2\n" in shown
    assert "environment  xpcs\n" in shown
    run = ("run", "shaped", "1", "--endpoint", "shaped")
    assert "has not ended" in faas.fails(*run, "--resources", "gpus=1", "--timeout", "0.01s")
    shown = faas("task", "show", client.search_tasks(limit=1)[0]["task_id"])
    assert "resources    cores=2,gpus=1\n" in shown
    assert "environment  xpcs\n" in shown
    refusal = faas.fails(*run, "--resources", "gpus=2")
    assert "At shaped, no worker has 2 cores, 2 GPUs, only: big (4 cores, 1 GPU" in refusal
    assert "environment 'ml'" in faas.fails(*run, "--environment", "ml")
    faas(*run, "--resources", "cpus=1", code=2)
    assert "there is no 'cpus'" in faas.err


def test_logs_come_whole_from_the_site_where_the_record_holds_only_their_end(
    faas: Faas, site: Site, client: Client, tmp_path: Path
) -> None:
    task_id = client.run(1, function_id=client.register_function(double))
    whole = "".join(f"line {number} \N{GREEK SMALL LETTER MU}\n" for number in range(1000))
    end = whole.encode()[-4096:].decode(errors="ignore")
    assert site.run(2, stdout=end, stderr="short") == task_id
    with ThreadPoolExecutor() as pool:
        handing = pool.submit(site.hand_over, whole.encode())
        assert faas("task", "logs", task_id) == whole + "short\n"
        assert handing.result().stream == "stdout"
        handing = pool.submit(site.hand_over, whole.encode())
        faas("task", "logs", task_id, "--output", str(tmp_path / "log"), "--attempt", "1")
        assert (tmp_path / "log").read_text() == whole
        assert f"Wrote {len(whole.encode())} bytes" in faas.err
        handing.result()
        handing = pool.submit(site.hand_over, None)
        (log,) = faas.json("task", "logs", task_id)
        assert (log["stdout"], log["stderr"]) == (end, "short")
        assert "played has no file of it" in log["notes"][0]
        handing.result()
    assert faas("task", "logs", task_id, "--stderr") == "short\n"
    assert "has no attempt 2" in faas.fails("task", "logs", task_id, "--attempt", "2")
    assert "Cannot write" in faas.fails("task", "logs", task_id, "--stderr", "--output", str(tmp_path / "no" / "log"))


def test_a_run_waits_and_prints(faas: Faas, site: Site, client: Client, directory: Path) -> None:
    client.register_function(double)
    command = [sys.executable, "-m", "faas.commands.app", "run", "double", "-k", "x=[1, 2]", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        task_id = site.run([1, 2, 1, 2])
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert json.loads(output) == {"task_id": task_id, "result": [1, 2, 1, 2]}


def test_results_go_to_files(faas: Faas, site: Site, client: Client, tmp_path: Path) -> None:
    client.run(1, function_id=client.register_function(double))
    task_id = site.run(b"\0\1")
    assert faas("task", "result", task_id, "--output", str(tmp_path / "raw")) == ""
    assert (tmp_path / "raw").read_bytes() == b"\0\1"


def test_a_failed_task_exits_1_with_the_remote_traceback(faas: Faas, site: Site, client: Client) -> None:
    client.run(1, function_id=client.register_function(double))
    failure = Failure(
        kind="exception", message="ValueError: no such peak", exception_type="ValueError", traceback="line 3, there"
    )
    task_id = site.run(failure=failure)
    assert faas("task", "result", task_id, code=1) == ""
    errors = faas.err
    assert errors == f"line 3, there\nfaas: ValueError: no such peak (task {task_id})\n"


def test_tasks_are_listed_by_what_they_are(faas: Faas, site: Site, client: Client) -> None:
    function_id = client.register_function(double)
    ids = [client.run(number, function_id=function_id, endpoint_id="played") for number in range(3)]
    listed = faas.json("task", "list", "--function", "double", "--state", "queued", "--since", "1h")
    assert {task["task_id"] for task in listed} >= set(ids)
    assert len(faas.json("task", "list", "--limit", "2")) == 2
    assert faas.json("task", "list", "--tag", "no=such") == []
    assert faas.json("task", "list", "--until", "2001-01-01") == []
    assert "queued" in faas("task", "list", "--limit", "3")
    assert f"Cancelled {ids[0]}." in faas("task", "cancel", *ids)


def test_cancelling_says_what_could_not_be(faas: Faas, site: Site, client: Client) -> None:
    client.run(1, function_id=client.register_function(double))
    task_id = site.run(2)
    assert f"Not cancelled: {task_id} (succeeded)" in faas.fails("task", "cancel", task_id)
    assert "unknown" in faas.fails("task", "cancel", UNKNOWN)
    assert "too short" in faas.fails("task", "cancel", "")


def test_a_task_for_an_endpoint_that_is_off_says_why_it_waits(faas: Faas, client: Client) -> None:
    client.link.request("POST", "/v1/endpoints", RegisterEndpoint(name="asleep"), response=EndpointCreated)
    function_id = client.register_function(double)
    task_id = client.run(1, function_id=function_id, endpoint_id="asleep")
    why = "endpoint asleep was never online. Start it at its site: faas endpoint start asleep"
    assert f"queued: {why}" in faas("task", "show", task_id)
    faas("run", "double", "1", "--endpoint", "asleep", "--timeout", "3s", code=1)
    assert why in faas.err
    for task in faas.json("task", "list", "--state", "queued"):
        faas("task", "cancel", task["task_id"])


def test_a_list_without_tasks_says_where_names_are(faas: Faas) -> None:
    faas("task", "list", "--function", "nosuch")
    assert "`faas function list`" in faas.err


def test_what_an_administrator_does_says_how_to_become_one(faas: Faas) -> None:
    assert "admin-credentials.json" in faas.fails("location", "add", "somewhere")


def test_a_location_that_is_no_bucket_is_named(faas: Faas, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAAS_CREDENTIALS", str(directory / "admin-credentials.json"))
    assert "'somewhere' names no bucket" in faas.fails("location", "add", "als", "somewhere")


def test_a_pending_result_says_how_to_wait(faas: Faas, client: Client) -> None:
    task_id = client.run(1, function_id=client.register_function(double))
    assert "it is queued. Wait for it with --wait SECONDS" in faas.fails("task", "result", task_id)
    faas("task", "cancel", task_id)


def test_a_token_is_shown_once_works_and_can_be_revoked(
    faas: Faas, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = faas("token", "create", "--label", "mine", "--expires", "30d").strip()
    assert f"export FAAS_URL={client.url}" in faas.err
    (token,) = [one for one in faas.json("token", "list") if one["label"] == "mine"]
    assert token["secret"] == ""
    assert "mine" in faas("token", "list")
    monkeypatch.setenv("FAAS_URL", client.url)
    monkeypatch.setenv("FAAS_TOKEN", secret)
    faas("status")
    faas("token", "revoke", token["token_id"][:8])
    assert "revoked" in faas.fails("status")


def test_an_administrator_makes_identities(faas: Faas, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "admin" in faas.fails("token", "create", "--identity", "grace")
    monkeypatch.setenv("FAAS_CREDENTIALS", str(directory / "admin-credentials.json"))
    assert "--create-identity" in faas.fails("token", "create", "--identity", "grace")
    token = faas.json("token", "create", "--identity", "grace", "--create-identity", "--scope", "submit")
    assert token["identity"] == "grace"
    assert token["scope"] == "submit"


def test_pools_come_and_go(faas: Faas, site: Site) -> None:
    assert "Created pool both: played; all with gpu=yes" in faas(
        "pool", "create", "both", "--endpoint", "played", "--label", "gpu=yes"
    )
    assert "played" in faas("pool", "list")
    assert "played" in faas("pool", "show", "both")
    assert faas.json("pool", "show", "both")["labels"] == {"gpu": "yes"}
    faas("pool", "delete", "both")
    assert "both" not in faas("pool", "list")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nosuch"], "There is no function 'nosuch'"),
        (["run", UNKNOWN], "There is no function"),
        (["function", "show", "nosuch"], "There is no function 'nosuch'"),
        (["function", "show", "deadbeef"], "No function has an id that starts with 'deadbeef'"),
        (["function", "show", "a/../b"], "There is no"),
        (["task", "show", UNKNOWN], "There is no task"),
        (["task", "show", "deadbeef"], "No task has an id that starts with 'deadbeef'"),
        (["task", "result", UNKNOWN], "There is no task"),
        (["task", "logs", UNKNOWN], "There is no task"),
        (["pool", "show", "nosuch"], "There is no pool 'nosuch'"),
        (["pool", "delete", "nosuch"], "There is no pool 'nosuch'"),
        (["pool", "create", "p", "--endpoint", "nosuch"], "There is no endpoint or pool 'nosuch'"),
        (["token", "revoke", "deadbeef"], "No token has an id that starts with 'deadbeef'"),
        (["token", "create", "--scope", "endpoint", "--endpoint", "nosuch"], "There is no endpoint 'nosuch'"),
    ],
)
def test_what_is_unknown_is_named(arguments: list[str], message: str, faas: Faas) -> None:
    assert message in faas.fails(*arguments)


def test_an_unknown_endpoint_is_named(faas: Faas, client: Client) -> None:
    client.register_function(double)
    assert "'nowhere'" in faas.fails("run", "double", "1", "--endpoint", "nowhere")


@pytest.mark.parametrize("command", [["status"], ["run", "double"], ["task", "list"], ["task", "result", UNKNOWN]])
class TestCredentials:
    def test_none(self, command: list[str], faas: Faas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FAAS_CREDENTIALS")
        monkeypatch.setenv("FAAS_HOME", str(tmp_path))
        assert "FAAS_URL and FAAS_TOKEN not set" in faas.fails(*command)

    def test_malformed(self, command: list[str], faas: Faas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "credentials.json"
        path.touch(mode=0o600)
        path.write_bytes(b"\xff{")
        monkeypatch.setenv("FAAS_CREDENTIALS", str(path))
        assert str(path) in faas.fails(*command)

    def test_unreadable(self, command: list[str], faas: Faas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAAS_CREDENTIALS", str(tmp_path))  # a directory: not even root can read it as a file
        assert "cannot be read" in faas.fails(*command)

    def test_wrong_token(self, command: list[str], faas: Faas, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAAS_URL", client.url)
        monkeypatch.setenv("FAAS_TOKEN", "faas_wrong")
        assert "token" in faas.fails(*command)


def test_a_token_of_another_scope_says_so(faas: Faas, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = faas("token", "create", "--scope", "submit").strip()
    monkeypatch.setenv("FAAS_URL", client.url)
    monkeypatch.setenv("FAAS_TOKEN", secret)
    assert "submit" in faas.fails("task", "list")


def test_a_service_that_is_not_running(faas: Faas, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:  # bound and not listening: the port stays refused
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FAAS_URL", f"http://127.0.0.1:{bound.getsockname()[1]}")
        monkeypatch.setenv("FAAS_TOKEN", "faas_any")
        assert "Start it with `faas up`" in faas.fails("status")


def test_a_port_in_use(faas: Faas, client: Client, tmp_path: Path) -> None:
    port = client.url.rpartition(":")[2]
    for command in ("serve", "up"):
        line = faas.fails(command, "--data-dir", str(tmp_path / command), "--port", port)
        assert "in use" in line
        assert "--port" in line
