"""`faas endpoint configure`: the files it writes, what it changes in them, and what it refuses before it writes any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from endpoints.commands import app
from endpoints.configuration import Configuration
from endpoints.places import Places
from faas.errors import ConfigurationError
from faas.models import EndpointCreated, RegisterEndpoint
from tests.unit.endpoints.globus_config.published import PERLMUTTER, POLARIS


class FakeLink:
    """The service, as far as an endpoint's registration sees it."""

    registered: list[RegisterEndpoint]

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> FakeLink:
        return self

    def __exit__(self, *_: object) -> None: ...

    def request(self, verb: str, path: str, body: RegisterEndpoint, *, response: type) -> EndpointCreated:
        assert (verb, path) == ("POST", "/v1/endpoints")
        self.registered.append(body)
        return EndpointCreated(endpoint_id="e1", name=body.name, token="secret")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeLink]:
    monkeypatch.setattr("endpoints.registration.Link", FakeLink)
    FakeLink.registered = []
    for name, value in (("URL", "http://service"), ("TOKEN", "secret"), ("HOME", str(tmp_path))):
        monkeypatch.setenv(f"FAAS_{name}", value)
    return FakeLink


def configure(*options: str) -> str:
    """Run the command, which must succeed."""
    done = CliRunner().invoke(app, ["configure", "lab", *options])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def result(home: Path) -> Configuration:
    return Configuration.load(Places.of("lab", home))


def test_options_are_written_where_their_settings_belong(service: type[FakeLink], tmp_path: Path) -> None:
    configure("--profile", "slurm", "--account", "0123", "--walltime", "01:30:00", "--max-blocks", "4")
    configuration = result(tmp_path)
    assert configuration.scheduler.account == "0123"
    assert configuration.scheduler.walltime_s == 5400
    assert configuration.blocks.max_blocks == 4
    text = Places.of("lab", tmp_path).configuration.read_text()

    configure("--set", "scheduler.qos=debug", "--partition", "cpu", "--set", "blocks.max_node_hours.total=5")
    configuration = result(tmp_path)
    assert (configuration.scheduler.account, configuration.scheduler.qos) == ("0123", "debug")
    assert configuration.scheduler.partition == "cpu"
    assert configuration.blocks.max_node_hours.total == 5
    kept = {line for line in text.splitlines() if line.startswith("#")}
    assert kept <= set(Places.of("lab", tmp_path).configuration.read_text().splitlines())


def test_a_machine_without_its_account_is_refused_before_anything_is_done(
    service: type[FakeLink], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"faas endpoint configure lab --account …"):
        configure("--profile", "polaris")
    assert service.registered == []
    assert not Places.of("lab", tmp_path).directory.exists()
    told = configure("--profile", "polaris", "--account", "mine")
    assert "Not tried on the machine" in told


def test_a_globus_compute_configuration_is_kept_word_for_word(service: type[FakeLink], tmp_path: Path) -> None:
    theirs = tmp_path / "config.yaml"
    theirs.write_text(POLARIS)
    variables = ["--set", "PBS_ACCOUNT=science", "--set", "COMMAND=module load conda: x"]
    configure("--engine-config", str(theirs), *variables)
    places = Places.of("lab", tmp_path)
    assert places.engine.read_text() == POLARIS
    assert "engine_config: engine.yaml" in places.configuration.read_text()
    file = result(tmp_path).engine_file
    assert file is not None and file.provider["worker_init"] == "module load conda: x"
    theirs.unlink()
    assert result(tmp_path).profile == "pbspro"

    # One variable again, and settings of ours.
    configure("--set", "PBS_ACCOUNT=other", "--set", "blocks.max_blocks=9", "--workers", "2")
    configuration = result(tmp_path)
    assert (configuration.scheduler.account, configuration.blocks.max_blocks) == ("other", 9)
    assert configuration.workers == 2
    file = configuration.engine_file
    assert file is not None and file.provider["worker_init"] == "module load conda: x"

    # Another file in its place, of another scheduler.
    theirs.write_text(PERLMUTTER)
    told = configure(
        "--engine-config", str(theirs), "--set", "OPTIONS=#SBATCH -C gpu", "--set", "COMMAND=module load x"
    )
    assert "Not used of engine.yaml: engine.heartbeat_period" in told
    assert result(tmp_path).profile == "slurm"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--set", "COMMAND=x"], "has no value for PBS_ACCOUNT. Give it: --set PBS_ACCOUNT=…"),
        (["--set", "PBS_ACCOUNT=x", "--set", "COMMAND=x", "--set", "COMAND=x"], "Did you mean COMMAND?"),
        (["--set", "PBS_ACCOUNT=x", "--set", "COMMAND=x", "--account", "x"], "scheduler.account is decided by"),
        (["--set", "PBS_ACCOUNT=x", "--set", "COMMAND=x", "--profile", "slurm"], "does not fit the PBSProProvider"),
        (["--set", "nonsense"], "--set KEY=VALUE"),
        (["--walltime", "1h"], "write it as HH:MM:SS"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_done(
    options: list[str], complaint: str, service: type[FakeLink], tmp_path: Path
) -> None:
    theirs = tmp_path / "config.yaml"
    theirs.write_text(POLARIS)
    with pytest.raises(ConfigurationError) as raised:
        configure("--engine-config", str(theirs), *options)
    assert complaint in str(raised.value)
    assert service.registered == []
    assert not Places.of("lab", tmp_path).directory.exists()


def test_a_file_that_is_not_there_is_named(service: type[FakeLink], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read"):
        configure("--engine-config", str(tmp_path / "nowhere.yaml"))
