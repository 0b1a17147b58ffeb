"""Units: exact paths, settings of the network, and nothing that systemd or cron would read otherwise."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from endpoints.as_job import NETWORK_VARIABLES
from endpoints.configuration import Configuration
from endpoints.places import Places
from endpoints.units import units_for
from tests.services.requirements import require

CONFIGURATION = Configuration.parse("name: lab\nstop_grace_s: 10\n", "config.yaml")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def cron_command(text: str) -> str:
    """What cron hands to the shell."""
    line = next(line for line in text.splitlines() if line.startswith("*/5 * * * * "))
    return line.removeprefix("*/5 * * * * ").replace(r"\%", "%")


def test_systemd_finds_nothing_to_complain_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyze = require("systemd-analyze", "systemd")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:a%20b$c@proxy:3128")
    text = units_for(Places(tmp_path / "a home" / "endpoints" / "lab"), CONFIGURATION)
    unit = tmp_path / "faas-endpoint-lab.service"
    unit.write_text(text.partition("# cron")[0])
    ended = subprocess.run([analyze, "verify", "--user", unit], capture_output=True, text=True, check=False)
    complaints = [line for line in ended.stderr.splitlines() if unit.name in line]
    assert complaints == []
    assert "Environment=HTTPS_PROXY=http://me:a%%20b$c@proxy:3128" in text
    assert f'--home "{tmp_path}/a home"' in text


def test_cron_gets_one_command_with_all_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:a%20b@proxy:3128")
    text = units_for(Places(tmp_path / "a home" / "endpoints" / "lab"), CONFIGURATION)
    words = shlex.split(cron_command(text).removesuffix(" >/dev/null"))
    assert words[:2] == ["env", "HTTPS_PROXY=http://me:a%20b@proxy:3128"]
    assert Path(words[2]).is_absolute()
    end = ["endpoint", "start", "lab", "--home", f"{tmp_path}/a home", "--detach", "--unless-running"]
    assert words[-len(end) :] == end
    assert "@reboot " in text


def test_nothing_stays_on_the_login_node_of_an_agent_in_a_job(tmp_path: Path) -> None:
    text = units_for(Places(tmp_path / "endpoints" / "lab"), CONFIGURATION, as_job=True)
    assert "ExecStart" not in text
    assert "--as-job --unless-running" in cron_command(text)
