"""Profile ``local``: workers on the agent's own host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from endpoints.profiles import profile
from endpoints.profiles.engine_parts import absent, worker_init

if TYPE_CHECKING:
    from endpoints.configuration import Configuration


@profile("local", on_this_host=True)
def local(configuration: Configuration, shape: str, directory: Path) -> Any:
    """A provider whose blocks are processes."""
    with absent():
        from parsl.providers import LocalProvider

    return LocalProvider(worker_init=worker_init(directory, configuration.scheduler.worker_init, in_a_job=False))
