"""Makes an endpoint: known to the service, configured on disk, its agent's credentials beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from endpoints.configuration import Configuration
from endpoints.places import Places, write_atomically
from endpoints.profiles import find_profile
from faas.credentials import Credentials, read_credentials, write_credentials
from faas.link import Link
from faas.models import EndpointCreated, RegisterEndpoint
from faas.settings import find_credentials

_TEMPLATE = """\
# Endpoint {name}. Restart it after a change: faas endpoint stop {name} && faas endpoint start {name}
name: {name}
profile: {profile}

# Worker processes, each running one task at a time.
workers: {workers}

# With a batch system's profile (slurm) workers live in blocks, batch jobs that come when there is work and go without.
# scheduler: {{account: m1234, partition: debug, walltime_s: 1800, worker_init: module load analysis}}
# blocks: {{max_blocks: 4, max_idletime_s: 30, max_node_hours: {{per_day: 10, total: 100}}}}
# engine: {{address_by_interface: hsn0}}

# Kinds of workers, where tasks need different ones.
# shapes: {{small: {{cores: 1}}, big: {{cores: 4, gpus: 1, memory_gb: 16}}}}

# Who may run here besides you: anything, or listed functions only.
# allow:
#   grace: true
#   edsger: {{functions: [6a204bd8-9c51-5f7c-9d3a-1f0f4a1f1a11]}}

# The Python that functions run in; without this the agent's own.
# environments:
#   default: {{python: /opt/analysis/bin/python, variables: {{OMP_NUM_THREADS: "1"}}}}

# labels: {{site: here}}

# How long running tasks may go on after `faas endpoint stop`.
# stop_grace_s: 5
"""


def configure(places: Places, *, profile: str | None, workers: int | None, person: Credentials) -> EndpointCreated:
    """Register an endpoint and write its files; an existing configuration is changed only where asked.

    Args:
        places: where the files go.
        profile: None for the one configured, at first ``local``.
        workers: None for the number configured, at first one a core.
        person: whose endpoint it is.

    Raises:
        ConfigurationError: the configuration that results is wrong.
        RequestRefused: the service does not register it.
    """
    if profile is not None:
        find_profile(profile)
    exists = places.configuration.exists()
    if exists:
        text = places.configuration.read_text()
        for key, value in (("profile", profile), ("workers", workers)):
            text = text if value is None else _set(text, key, value)
    else:
        text = _TEMPLATE.format(name=places.name, profile=profile or "local", workers=workers or os.cpu_count() or 1)
    configuration = Configuration.parse(text, str(places.configuration))
    find_profile(configuration.profile)
    with Link(person.url, person.token, attempts=3) as link:
        register = RegisterEndpoint(
            name=configuration.name, labels=configuration.labels, description=configuration.description
        )
        created = link.request("POST", "/v1/endpoints", register, response=EndpointCreated)
    places.prepare()
    write_credentials(
        places.credentials, Credentials(url=person.url, token=created.token, endpoint_id=created.endpoint_id)
    )
    write_atomically(places.configuration, text.encode())
    return created


def find_person(home: Path | None) -> Credentials:
    """The credentials of whoever gives a command: those of a home that was named, unless the environment has others.

    Raises:
        ConfigurationError: there are none.
    """
    named = home and home / "credentials.json"
    if named and named.exists() and not any(os.environ.get(f"FAAS_{x}") for x in ("URL", "TOKEN", "CREDENTIALS")):
        return read_credentials(named)
    return find_credentials()


def _set(text: str, key: str, value: object) -> str:
    """Change one top-level setting and leave the rest of the file, comments included, as its owner wrote it."""
    line = f"{key}: {value}"
    changed, found = re.subn(rf"(?m)^{key}\s*:.*$", line, text)
    return changed if found else f"{text.rstrip()}\n{line}\n"
