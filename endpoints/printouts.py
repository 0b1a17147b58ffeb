"""What `faas endpoint start` prints instead of starting: batch scripts, and units that keep an endpoint running."""

from __future__ import annotations

from endpoints.agent_jobs import job_prefix
from endpoints.configuration import Configuration, load_credentials
from endpoints.places import Places


def print_scripts(places: Places, *, as_job: bool) -> None:
    """Print the batch script of a block of each shape and what would submit it; or those of the agent's own job.

    Raises:
        ConfigurationError: the endpoint's configuration is wrong.
        FaasError: its profile makes no script.
    """
    from endpoints.dry_run import agent_submission, submissions

    configuration = Configuration.load(places)
    if as_job:
        name = f"{job_prefix(load_credentials(places).endpoint_id)}1"
        would = [agent_submission(configuration, places, name)]
    else:
        would = submissions(configuration, places)
    for one in would:
        print(f"# Shape {one.shape}; submitted with: {one.command}")
        print(one.script)


def print_units(places: Places, *, as_job: bool) -> None:
    """Print a systemd unit and cron lines.

    Raises:
        ConfigurationError: the endpoint's configuration is wrong.
    """
    from endpoints.units import units_for

    print(units_for(places, Configuration.load(places), as_job=as_job), end="")
