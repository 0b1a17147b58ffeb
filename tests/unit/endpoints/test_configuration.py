"""Configuration files: what is accepted, and what the complaint about the rest says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from endpoints.configuration import Configuration, load_credentials
from endpoints.places import Places, home_directory
from endpoints.policy import refusal
from endpoints.profiles import PROFILES, builder
from endpoints.registration import _TEMPLATE, _set
from faas.errors import ConfigurationError
from faas.models import AttemptKey, LeasedTask


def parse(text: str) -> Configuration:
    return Configuration.parse(text, "config.yaml")


def test_a_name_is_enough() -> None:
    configuration = parse("name: lab")
    assert configuration.profile == "local"
    assert configuration.workers >= 1
    assert configuration.environments["default"].command == []
    assert configuration.policy().identities == {}


def test_who_may_run_reads_naturally() -> None:
    configuration = parse("name: lab\nallow:\n  ada: true\n  grace: {functions: [f1]}\n  edsger: false\n")
    policy = configuration.policy().identities
    assert set(policy) == {"ada", "grace"}
    assert policy["ada"].functions is None
    assert policy["grace"].functions == ["f1"]


def test_environments_name_interpreters() -> None:
    configuration = parse(
        "name: lab\nenvironments:\n  default: {python: /opt/python, variables: {OMP_NUM_THREADS: 1}}\n"
    )
    assert configuration.environments["default"].command == ["/opt/python"]
    assert configuration.environments["default"].variables == {"OMP_NUM_THREADS": "1"}
    assert (
        parse(f"name: lab\nenvironments: {{default: {{python: {sys.executable}}}}}").environments["default"].command
        == []
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: lab\nworker: 3", "unknown key 'worker'"),
        ("name: lab\nleasing: {chunks: 3}", "unknown key 'leasing.chunks'"),
        ("name: lab\nworkers: none", "workers: "),
        ("name: lab\nworkers: 0", "workers: "),
        ("workers: 2", "name: "),
        ("name: lab\nallow: [ada]", "allow: "),
        ("name: [lab", "is not YAML"),
        ("just words", "`key: value`"),
    ],
)
def test_a_complaint_names_the_file_and_the_key(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    assert "config.yaml" in str(raised.value)
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_configure_writes_can_be_read() -> None:
    text = _TEMPLATE.format(name="lab", profile="local", workers=3)
    assert parse(text).workers == 3
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines()[1:] if not line.startswith("# W"))
    uncommented = "\n".join(line for line in uncommented.splitlines() if ":" in line)
    assert parse(uncommented).allow["grace"].functions is None


def test_changing_a_setting_leaves_the_rest_of_the_file_alone() -> None:
    text = "# mine\nname: lab\nworkers : 2\nlabels: {workers: many}\n"
    assert _set(text, "workers", 8) == "# mine\nname: lab\nworkers: 8\nlabels: {workers: many}\n"
    assert _set("name: lab", "workers", 8) == "name: lab\nworkers: 8\n"


def test_an_unknown_profile_is_answered_with_those_there_are() -> None:
    assert "local" in PROFILES
    with pytest.raises(ConfigurationError, match="local"):
        builder("cray")


def test_a_missing_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="faas endpoint configure lab"):
        Configuration.load(Places.of("lab", tmp_path))
    with pytest.raises(ConfigurationError, match="faas endpoint configure lab"):
        load_credentials(Places.of("lab", tmp_path))


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "x" * 65])
def test_a_name_that_could_leave_its_directory_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Places.of(name, tmp_path)


def test_the_home_directory_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAAS_HOME", str(tmp_path / "home"))
    assert home_directory() == tmp_path / "home"
    assert home_directory(tmp_path) == tmp_path


def test_two_agents_never_share_a_directory(tmp_path: Path) -> None:
    places = Places.of("lab", tmp_path)
    places.prepare()
    with places.locked(), pytest.raises(ConfigurationError, match="already running"), places.locked():
        pass
    with places.locked():
        pass


def leased(owner: str, function: str = "f1") -> LeasedTask:
    return LeasedTask(
        attempt=AttemptKey(1, 1), task_id="t", owner_id=f"id of {owner}", owner=owner, function_id=function
    )


def test_only_the_owner_runs_by_default() -> None:
    configuration = parse("name: lab")
    assert refusal(configuration, "id of ada", leased("ada")) == ""
    reason = refusal(configuration, "id of ada", leased("grace"))
    assert "grace: true" in reason


def test_others_run_what_is_allowed_and_nothing_else() -> None:
    configuration = parse("name: lab\nallow: {grace: {functions: [f1]}, edsger: true}")
    assert refusal(configuration, "id of ada", leased("grace")) == ""
    assert refusal(configuration, "id of ada", leased("edsger", "f9")) == ""
    assert "f2" in refusal(configuration, "id of ada", leased("grace", "f2"))
