"""Profile ``cobalt``: blocks are jobs of Cobalt, submitted by PSI/J."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from endpoints.allocation import clock
from endpoints.profiles import profile
from endpoints.profiles.cobalt_options import read_options
from endpoints.profiles.cobalt_queue import CobaltQueue
from endpoints.profiles.engine_parts import absent, worker_init
from endpoints.profiles.launchers import choose_launcher
from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from endpoints.configuration import Configuration


def _check(configuration: Configuration) -> None:
    """See whether PSI/J is there, and can give the options there are."""
    read_options(configuration.scheduler.options)
    try:
        import psij  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            f"Profile {configuration.profile} submits its jobs with PSI/J, which is not installed here."
            " Install it with: pip install 'faas-federation[endpoint,cobalt]'"
        ) from None


@profile("cobalt", queue=lambda configuration: CobaltQueue(configuration.scheduler.command_timeout_s), check=_check)
def cobalt(configuration: Configuration, shape: str, directory: Path) -> Any:
    """A provider whose blocks are batch jobs of whole nodes: Cobalt gives out no others."""
    with absent():
        from endpoints.profiles.cobalt_provider import CobaltProvider

    scheduler = configuration.scheduler
    several = scheduler.nodes_per_block > 1
    return CobaltProvider(
        account=scheduler.account or None,
        queue=scheduler.partition or None,
        nodes_per_block=scheduler.nodes_per_block,
        scheduler_options=scheduler.options,
        walltime=clock(scheduler.walltime_s),
        worker_init=worker_init(directory, scheduler.worker_init),
        cmd_timeout=scheduler.command_timeout_s,
        launcher=choose_launcher(scheduler, {"type": "AprunLauncher"} if several else None),
    )
