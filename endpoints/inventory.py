"""The endpoints configured under a home directory, and how each of them is doing on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from endpoints.agent_jobs import jobs_on_file
from endpoints.configuration import Configuration, load_credentials
from endpoints.places import Places, home_directory
from endpoints.session import SessionState
from endpoints.spool import Spool
from faas.errors import ConfigurationError


def configured_here(home: Path | None) -> list[dict[str, Any]]:
    """What is known on this host of each endpoint, by name.

    Args:
        home: the home directory; None for the default one.

    Returns:
        One dictionary each: name, endpoint_id, here (``running``, ``stopped``, ``died`` or ``on HOST``), pid,
        agent_jobs (batch jobs that the agent runs in, or is to run in), workers, profile, configuration, spooled,
        problem.
    """
    parent = home_directory(home) / "endpoints"
    found = sorted(parent.glob("*/config.yaml")) if parent.is_dir() else []
    return [_describe(Places(path.parent)) for path in found]


def _describe(places: Places) -> dict[str, Any]:
    state = SessionState.load(places.state)
    process = state.process() if state else None
    problem = endpoint_id = profile = ""
    try:
        profile = Configuration.load(places).profile
        endpoint_id = load_credentials(places).endpoint_id
    except ConfigurationError as error:
        problem = str(error)
    return {
        "name": places.name,
        "endpoint_id": endpoint_id,
        "here": _standing(state, alive=process is not None),
        "pid": state.pid if state and process else 0,
        "agent_jobs": [job.job_id or job.name for job in jobs_on_file(places)],
        "workers": state.workers if state and process else 0,
        "profile": profile,
        "configuration": str(places.configuration),
        "spooled": len(Spool(places.spool).paths()),
        "problem": problem,
    }


def _standing(state: SessionState | None, *, alive: bool) -> str:
    if alive:
        return "running"
    if state is None or state.phase == "stopping":
        return "stopped"
    return "died" if state.on_this_host else f"on {state.host}"
