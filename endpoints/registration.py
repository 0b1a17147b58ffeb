"""Makes an endpoint: known to the service, configured on disk, its agent's credentials beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endpoints.configuration import Configuration
from endpoints.globus_config.engine_file import parse_engine_file
from endpoints.places import Places, write_atomically
from endpoints.profiles import check_profile, find_profile
from endpoints.settings_text import as_value, new_text, set_value
from faas.credentials import Credentials, read_credentials, write_credentials
from faas.errors import ConfigurationError
from faas.link import Link
from faas.models import EndpointCreated, RegisterEndpoint
from faas.settings import find_credentials


@dataclass(frozen=True)
class Wanted:
    """What a person asks of a configuration.

    Args:
        profile: None for the one configured, at first ``local``.
        workers: on each node; None for the number configured, at first one a core.
        engine_config: a Globus Compute configuration; None for the one configured, if any.
        settings: others of ``config.yaml`` by name, ``scheduler.account`` for instance, and variables of the Globus
            Compute configuration, whose names have no dot.
    """

    profile: str | None = None
    workers: int | None = None
    engine_config: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Configured:
    """What came of it.

    Args:
        created: the endpoint, as the service knows it.
        notes: what its owner should know, each a sentence.
    """

    created: EndpointCreated
    notes: list[str]


def configure(places: Places, wanted: Wanted, person: Credentials) -> Configured:
    """Register an endpoint and write its files; an existing configuration is changed only where asked.

    Args:
        places: where the files go.
        wanted: what its configuration shall say.
        person: whose endpoint it is.

    Raises:
        ConfigurationError: the configuration that results is wrong.
        RequestRefused: the service does not register it.
    """
    engine_text = _read(wanted.engine_config)
    text = _text(places, wanted, engine_text)
    configuration = Configuration.parse(text, str(places.configuration), engine_text)
    check_profile(configuration)
    with Link(person.url, person.token, attempts=3) as link:
        register = RegisterEndpoint(
            name=configuration.name, labels=configuration.labels, description=configuration.description
        )
        created = link.request("POST", "/v1/endpoints", register, response=EndpointCreated)
    places.prepare()
    write_credentials(
        places.credentials, Credentials(url=person.url, token=created.token, endpoint_id=created.endpoint_id)
    )
    if engine_text is not None:
        write_atomically(places.engine, engine_text.encode())
    write_atomically(places.configuration, text.encode())
    return Configured(created, _notes(configuration))


def _text(places: Places, wanted: Wanted, engine_text: str | None) -> str:
    """The configuration that results."""
    exists = places.configuration.exists()
    old = places.configuration.read_text() if exists else ""
    named = engine_text is not None or (
        exists and bool(Configuration.parse(old, str(places.configuration)).engine_config)
    )
    variables = {name: value for name, value in wanted.settings.items() if named and "." not in name}
    settings = {name: value for name, value in wanted.settings.items() if name not in variables}
    profile = wanted.profile
    if engine_text is not None:
        file = parse_engine_file(engine_text, variables, str(wanted.engine_config))
        if profile not in (None, file.profile):
            raise ConfigurationError(
                f"--profile {profile} does not fit the {file.provider['type']} of {wanted.engine_config}; leave it out."
            )
        profile = file.profile
    if not exists:
        text = new_text(
            places.name,
            find_profile(profile or "local"),
            workers=wanted.workers,
            variables=variables if named else None,
            cores=os.cpu_count() or 1,
        )
    else:
        text = old
        if engine_text is not None:
            text = set_value(text, "engine_config", places.engine.name)
            text = set_value(text, "engine_variables", variables)
        for name, value in variables.items() if engine_text is None else ():
            text = set_value(text, f"engine_variables.{name}", value)
        for name, value in (("profile", profile), ("workers", wanted.workers)):
            text = text if value is None else set_value(text, name, value)
    for name, value in settings.items():
        text = set_value(text, name, value)
    return text


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is no text')}.") from None


def _notes(configuration: Configuration) -> list[str]:
    """What its owner should know."""
    machine = find_profile(configuration.profile).machine
    notes = [machine.about, *machine.hints] if machine is not None else []
    file = configuration.engine_file
    if file is not None:
        notes += [f"Not used of {file.source}: {name}; {why}." for name, why in file.not_used().items()]
        if file.engine.get("container_type"):
            notes.append(f"Its container must see {sys.executable} and what that imports, at the same paths.")
    return notes


def read_settings(given: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` from a command line.

    Raises:
        ConfigurationError: one has no ``=``.
    """
    settings = {}
    for words in given:
        name, equals, value = words.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(f"--set {words}: write it as --set KEY=VALUE.")
        settings[name.strip()] = as_value(value)
    return settings


def find_person(home: Path | None) -> Credentials:
    """The credentials of whoever gives a command: those of a home that was named, unless the environment has others.

    Raises:
        ConfigurationError: there are none.
    """
    named = home and home / "credentials.json"
    if named and named.exists() and not any(os.environ.get(f"FAAS_{x}") for x in ("URL", "TOKEN", "CREDENTIALS")):
        return read_credentials(named)
    return find_credentials()
