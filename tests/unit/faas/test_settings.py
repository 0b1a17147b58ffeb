"""Where the URL and the token come from, and how the credentials file is kept."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from faas.credentials import Credentials, read_credentials, write_credentials
from faas.errors import ConfigurationError
from faas.settings import find_credentials, load_settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FAAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FAAS_HOME", str(tmp_path / "home"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "credentials.json"
    write_credentials(path, Credentials(url="https://a.test", token="from-file"))
    return path


def test_written_for_the_owner_alone_and_read_back(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"url": "https://a.test", "token": "from-file"}
    assert read_credentials(file) == Credentials(url="https://a.test", token="from-file")
    assert list(file.parent.iterdir()) == [file]


def test_writing_again_replaces(file: Path) -> None:
    file.chmod(0o644)
    write_credentials(file, Credentials(url="https://b.test", token="new", endpoint_id="e"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_credentials(file).endpoint_id == "e"


def test_a_file_everyone_can_read_is_refused(file: Path) -> None:
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {file}"):
        read_credentials(file)


def test_a_file_the_group_can_read_is_warned_of(file: Path) -> None:
    file.chmod(0o640)
    with pytest.warns(UserWarning, match="chmod 600"):
        read_credentials(file)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"url": "https://a.test"}', '{"url": 1, "token": "t"}', "\x00"])
def test_a_file_that_is_something_else_is_named(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=str(file)):
        read_credentials(file)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(ConfigurationError, match="occupied"):
        write_credentials(tmp_path / "occupied" / "credentials.json", Credentials(url="https://a.test", token="t"))


def test_the_token_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAAS_TOKEN", "secret")
    assert "secret" not in repr(Credentials(url="https://a.test", token="secret"))
    assert "secret" not in repr(load_settings())


def test_arguments_win_over_the_environment_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_credentials().token == "from-file"
    monkeypatch.setenv("FAAS_TOKEN", "from-environment")
    assert find_credentials().token == "from-environment"
    assert find_credentials(token="given").token == "given"
    assert find_credentials("https://b.test").url == "https://b.test"


def test_a_file_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "elsewhere.json"
    write_credentials(path, Credentials(url="https://c.test", token="t"))
    monkeypatch.setenv("FAAS_CREDENTIALS", str(path))
    assert find_credentials().url == "https://c.test"


@pytest.mark.usefixtures("file")
def test_the_token_of_a_file_goes_only_where_it_belongs() -> None:
    assert find_credentials("https://a.test/").token == "from-file"
    with pytest.raises(ConfigurationError, match=r"https://a\.test, not for https://b\.test"):
        find_credentials("https://b.test")


def test_nothing_at_all_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"FAAS_URL and FAAS_TOKEN not set.*faas up"):
        find_credentials()
    with pytest.raises(ConfigurationError, match=r"FAAS_TOKEN not set"):
        find_credentials("https://a.test")
