"""The provider that a Globus Compute configuration describes, made at the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from endpoints.globus_config.engine_file import EngineFile
from endpoints.globus_config.signatures import check_engine_file, provider_class
from endpoints.profiles.engine_parts import worker_init
from endpoints.profiles.launchers import make_launcher

_DRIVEN = ("init_blocks", "min_blocks", "max_blocks", "parallelism", "type", "launcher", "worker_init")
# A lost block is replaced by ours at once: a job that is started a second time would run on an old estimate.
_ONCE = {"SlurmProvider": "#SBATCH --no-requeue", "PBSProProvider": "#PBS -r n", "LSFProvider": "#BSUB -rn"}


def make_provider(file: EngineFile, directory: Path) -> Any:
    """A provider whose blocks are as the file says.

    Args:
        file: the configuration.
        directory: the engine's own.

    Raises:
        ConfigurationError: a setting of it is wrong.
    """
    provider = check_engine_file(file).provider
    settings = {name: value for name, value in provider.items() if name not in _DRIVEN and value is not None}
    if provider.get("launcher"):
        settings["launcher"] = make_launcher(provider["launcher"])
    lines = provider.get("worker_init") or ""
    settings["worker_init"] = worker_init(directory, lines, in_a_job=file.profile != "local")
    if once := _ONCE.get(provider["type"]):
        settings["scheduler_options"] = "\n".join(filter(None, [once, settings.get("scheduler_options", "").strip()]))
    return provider_class(provider["type"])(**settings)
