"""What `faas up` checks before it starts anything."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from faas.commands import app
from faas.commands.premises import check_port, own_url, prepare_directory, sole_user
from faas.errors import ConfigurationError


def test_the_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "new" / "data")
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
    prepare_directory(tmp_path / "new" / "data")  # again is fine


def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(ConfigurationError, match=r"cannot be written: .* Choose another with --data-dir"):
            prepare_directory(path)


def test_credentials_of_another_service_are_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"url": "https://faas.example.org", "token": "faas_precious"}))
    monkeypatch.setenv("FAAS_HOME", str(tmp_path))  # where `faas up` goes by default
    assert app.run(["up"]) == 1
    assert "would be overwritten. Choose another directory" in capsys.readouterr().err
    assert "faas_precious" in credentials.read_text()


def test_a_data_directory_has_one_user_at_a_time(tmp_path: Path) -> None:
    with sole_user(tmp_path), pytest.raises(ConfigurationError, match=rf"\(pid {os.getpid()}\)"), sole_user(tmp_path):
        pass
    with sole_user(tmp_path):
        pass


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"Port {port} on 127.0.0.1 is in use. Choose another with --port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1 is not an address of this machine"):
        check_port("192.0.2.1", 8585)
    with pytest.raises(ConfigurationError, match=r"--host nowhere\.invalid"):
        check_port("nowhere.invalid", 8585)


@pytest.mark.parametrize(
    ("host", "tls", "url"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:9"),
        ("0.0.0.0", True, "https://127.0.0.1:9"),
        ("::", False, "http://[::1]:9"),
        ("faas.example.org", True, "https://faas.example.org:9"),
    ],
)
def test_this_machine_reaches_a_service_at(host: str, tls: bool, url: str) -> None:
    assert own_url(host, 9, tls=tls) == url


def test_a_service_that_refuses_to_start_is_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("FAAS_DATABASE_URL", "nonsense")
    assert app.run(["up", "--data-dir", str(tmp_path), "--port", str(port)]) == 1
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert line.startswith("faas: The service (pid ")
    assert "nonsense" in line or "database" in line.lower()
    assert line.endswith(f"Its log is {tmp_path}/logs/service.log.")
