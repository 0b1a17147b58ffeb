"""What keeps an endpoint running on a login node: a unit of systemd's user manager, and lines for cron."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import join

from endpoints.as_job import network_settings, start_command
from endpoints.configuration import Configuration
from endpoints.places import Places

_STOP_S = 45
_MINUTES = 5


def units_for(places: Places, configuration: Configuration, *, as_job: bool = False) -> str:
    """The text to print: a systemd unit and cron lines, each with where it goes.

    Args:
        places: the endpoint's files.
        configuration: the endpoint's.
        as_job: whether the agent runs in a batch job; then nothing of it stays on the login node, and cron suffices.
    """
    variables = network_settings()
    if as_job:
        return cron_lines(places, variables, "--as-job")
    return f"{systemd_unit(places, configuration, variables)}\n{cron_lines(places, variables, '--detach')}"


def systemd_unit(places: Places, configuration: Configuration, variables: Mapping[str, str]) -> str:
    """The unit, as comments and settings of systemd.

    Held by an agent on another login node, it asks again every minute, so that it goes on when that one is gone.
    """
    name = places.name
    file = Path("~/.config/systemd/user") / f"faas-endpoint-{name}.service"
    settings = "".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in variables.items())
    command = " ".join(_quoted(word).replace("$", "$$") for word in start_command(places))
    return f"""\
# systemd: save from here to [Install] and below as {file}, then
#   systemctl --user daemon-reload && systemctl --user enable --now faas-endpoint-{name}
#   loginctl enable-linger    # so that it runs while you are not logged in
[Unit]
Description=faas endpoint {name}
StartLimitIntervalSec=0

[Service]
{settings}ExecStart={command}
Restart=on-failure
RestartSec=60
KillMode=mixed
TimeoutStopSec={int(configuration.stop_grace_s) + _STOP_S}

[Install]
WantedBy=default.target
"""


def cron_lines(places: Places, variables: Mapping[str, str], how: str) -> str:
    """The lines, for where systemd is not at hand; harmless while the endpoint runs, here or elsewhere.

    Args:
        places: the endpoint's files.
        variables: of its environment.
        how: the option that starts it without a terminal.
    """
    settings = [f"{key}={value}" for key, value in variables.items()]
    start = start_command(places, how, "--unless-running")
    command = join([*(["env", *settings] if settings else []), *start]).replace("%", r"\%")
    return f"""\
# cron: add with `crontab -e`; what goes wrong is in {places.log}
@reboot {command} >/dev/null
*/{_MINUTES} * * * * {command} >/dev/null
"""


def _quoted(word: str) -> str:
    """A word as systemd reads it."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{plain}"' if any(character in plain for character in " '\"\\;") else plain
