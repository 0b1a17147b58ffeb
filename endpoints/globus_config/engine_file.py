"""What a Globus Compute configuration says of workers, blocks and the scheduler, in the words of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from endpoints.globus_config import mpi
from endpoints.globus_config.template import fill_in
from faas.errors import ConfigurationError

PROFILES = {
    "LocalProvider": "local",
    "SlurmProvider": "slurm",
    "PBSProProvider": "pbspro",
    "LSFProvider": "lsf",
    "CobaltProvider": "cobalt",
}
"""Parsl's providers, and the profiles that find and cancel their jobs."""

_ENGINE = "GlobusComputeEngine"
_OLD_ENGINES = ("HighThroughputEngine", "HighThroughputExecutor")
_POOLS = ("ThreadPoolEngine", "ProcessPoolEngine")
"""Workers on the agent's own host: here they are the same as any local endpoint's, so that none can harm the agent."""
_POOL_SETTINGS = {
    "thread_name_prefix": "workers are processes",
    "initializer": "`environments: {default: {setup: …}}` in config.yaml prepares what functions run in",
    "initargs": "it is for engine.initializer",
    "mp_context": "workers are started by this endpoint's own command",
    "max_tasks_per_child": "a runner that is unfit for further tasks is replaced anyway",
}
_REFUSED = {
    "executor": "the engine is made here",
    "launch_cmd": "pilots are started by this endpoint's own command",
    "interchange_launch_cmd": "the interchange is started by this endpoint's own command",
    "storage_access": "values travel through the federation's store",
    "remote_monitoring_radio": "there is no Parsl monitoring here",
}
_REFUSED_ABOVE = {
    "allowed_functions": "write under `allow:` in config.yaml who may run what; function ids are other ones here",
    "high_assurance": "there is no such thing here",
    "authentication_policy": "write under `allow:` in config.yaml who may run here",
}
_OURS = {
    "strategy": "blocks come and go by the federation's demand",
    "job_status_kwargs": "blocks come and go by the federation's demand; max_idletime is kept",
    "heartbeat_period": "lost workers are noticed in seconds",
    "heartbeat_threshold": "lost workers are noticed in seconds",
    "poll_period": "waiting is by wake-up",
    "block_error_handler": "blocks that fail are counted in `blocks: {max_failed_blocks: …}`",
    "max_retries_on_system_failure": "lost tasks are run again elsewhere, by their own rules",
    "prefetch_capacity": "work is handed to idle workers only",
    "drain_period": "it follows from walltime and `blocks: {drain_s: …}`",
    "encrypted": "pilots are spoken to in secret; `encrypted: false` in config.yaml changes that",
    "label": "block names say whose they are",
    "run_in_sandbox": "each task has a directory of its own anyway",
    "working_dir": "each task has a directory of its own anyway",
    "allowed_serializers": "functions are checked by their content",
    "endpoint_id": "endpoints are registered",
}
_BLOCKS = ("min_blocks", "max_blocks", "init_blocks", "parallelism")
_COUNTED = ("type", "max_workers_per_node", "max_workers_per_block")
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d)")
_FREE = ("command_timeout_s", "status_period_s")


@dataclass(frozen=True)
class EngineFile:
    """A Globus Compute configuration, read.

    Args:
        source: the file's name, for messages.
        engine: its ``engine:``, without provider and address.
        provider: its ``provider:``.
        address: its ``address:``; none for whichever this host's name stands for.
        above: what stands beside ``engine:``.
        nodes_decide: whether each node has as many workers as it has cores for.
    """

    source: str
    engine: Mapping[str, Any]
    provider: Mapping[str, Any]
    address: Any
    above: Mapping[str, Any]
    nodes_decide: bool = False

    @property
    def profile(self) -> str:
        """Ours, that fits its provider."""
        return PROFILES[self.provider["type"]]

    @property
    def mpi(self) -> bool:
        """Whether each worker has nodes of its own, for programs of many ranks."""
        return self.engine.get("type") == mpi.ENGINE

    @property
    def pool(self) -> bool:
        """Whether it has workers on the agent's own host and no blocks."""
        return self.engine.get("type") in _POOLS

    @property
    def workers(self) -> int | None:
        """On each node, or of each block where they are for MPI; None if it does not say."""
        if self.mpi:
            return _count(self.engine.get("max_workers_per_block")) or 1
        if self.pool:
            return _count(self.engine.get("max_workers")) or os.cpu_count() or 1
        most, accelerators = self.engine.get("max_workers_per_node"), self.engine.get("available_accelerators")
        counts = [most, accelerators if isinstance(accelerators, int) else len(accelerators or ())]
        known = [int(count) for count in counts if isinstance(count, int | float) and 0 < count < 4096]
        return min(known) if known else None

    @property
    def walltime_s(self) -> int:
        """Of each block."""
        return to_seconds(self.provider.get("walltime", "00:10:00")) or 600

    def complete(self, values: Mapping[str, Any], source: str) -> tuple[dict[str, Any], EngineFile]:
        """The values of a ``config.yaml`` with this file's where they belong.

        Args:
            values: what ``config.yaml`` says.
            source: its name, for messages.

        Raises:
            ConfigurationError: it says something that is said here already.
        """
        if values.get("profile", self.profile) != self.profile:
            raise ConfigurationError(
                f"{source}: profile: {values['profile']} does not fit the {self.provider['type']} of {self.source};"
                f" write `profile: {self.profile}`."
            )
        scheduler = values.get("scheduler") or {}
        said = set(scheduler) - set(_FREE) if isinstance(scheduler, dict) else set()
        if said:
            raise ConfigurationError(
                f"{source}: scheduler.{sorted(said)[0]} is decided by the provider in {self.source}; change it there."
            )
        completed = {
            **values,
            "profile": self.profile,
            "scheduler": {**self._scheduler(), **scheduler},
            "blocks": {**self._blocks(), **(values.get("blocks") or {})},
        }
        if self.workers is not None:
            completed.setdefault("workers", self.workers)
        return completed, replace(self, nodes_decide="workers" not in completed)

    def _scheduler(self) -> dict[str, Any]:
        provider = self.provider
        told = {
            "account": provider.get("account", provider.get("project")),
            "partition": provider.get("partition", provider.get("queue")),
            "nodes_per_block": provider.get("nodes_per_block"),
            "command_timeout_s": provider.get("cmd_timeout"),
            "walltime_s": self.walltime_s if self.profile != "local" else None,
        }
        return {name: value for name, value in told.items() if value is not None}

    def _blocks(self) -> dict[str, Any]:
        told = {"max_blocks": 1, "min_blocks": 1 if self.pool else 0}
        told |= {name: self.provider[name] for name in told if self.provider.get(name) is not None}
        waiting = self.engine.get("job_status_kwargs") or self.engine.get("strategy")
        if isinstance(waiting, dict) and isinstance(waiting.get("max_idletime"), int | float):
            told["max_idletime_s"] = waiting["max_idletime"]
        # One that may have no block at all is one that shall run nothing.
        told["max_blocks"] = max(told["max_blocks"], 1) if isinstance(told["max_blocks"], int) else told["max_blocks"]
        return told

    def settings(self) -> dict[str, Any]:
        """What the engine is made with, of what this file says."""
        if self.pool:
            return {}
        taken = {
            name: value
            for name, value in self.engine.items()
            if name not in _OURS and name not in _COUNTED and value is not None
        }
        if self.address is not None:
            taken["address"] = self.address
        if self.nodes_decide:
            return {"cores_per_worker": 1.0, "max_workers_per_node": None, **taken}
        return taken

    def not_used(self) -> dict[str, str]:
        """Settings of this file that change nothing here, and why."""
        ours = {**_OURS, **_POOL_SETTINGS} if self.pool else _OURS
        told = {f"engine.{name}": ours[name] for name in self.engine if name in ours}
        if self.pool:
            told["engine.type"] = "workers are processes of their own, each with a runner that may crash alone"
        if self.provider.get("init_blocks"):
            told["engine.provider.init_blocks"] = "blocks come with work"
        return told | dict.fromkeys(self.above, "it is for Globus Compute's own service")


def read_engine_file(path: Path, variables: Mapping[str, Any]) -> EngineFile:
    """Read a Globus Compute configuration, fill in its variables, and see whether it can work here at all.

    Whether each of its settings is right is told by `endpoints.globus_config.signatures`, which takes a second.

    Raises:
        ConfigurationError: it cannot be read, or asks for what there is not here.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is no text')}.") from None
    return parse_engine_file(text, variables, path.name)


def parse_engine_file(text: str, variables: Mapping[str, Any], source: str) -> EngineFile:
    """As `read_engine_file`, from the text itself."""
    values = fill_in(text, variables, source)
    if not isinstance(values, dict):
        raise ConfigurationError(f"{source} must hold settings as `key: value` lines.")
    if "engine" not in values and ("provider" in values or values.get("type") in (_ENGINE, *_POOLS, mpi.ENGINE)):
        values = {"engine": values}  # only the block itself
    above = {str(name): value for name, value in values.items() if name != "engine"}
    engine = values.get("engine")
    if not isinstance(engine, dict):
        raise ConfigurationError(
            f"{source} has no `engine:` block. A manager's file has none; the one to give is its"
            " user_config_template.yaml."
        )
    kind = engine.get("type", _ENGINE)
    if kind not in (_ENGINE, *_OLD_ENGINES, *_POOLS, mpi.ENGINE):
        there_are = ", ".join((_ENGINE, mpi.ENGINE, *_POOLS))
        raise ConfigurationError(f"{source}: engine.type {kind!r} is not known; there are {there_are}.")
    if kind in _POOLS and engine.get("provider"):
        raise ConfigurationError(f"{source}: {kind} has no provider; its workers are on the agent's own host.")
    for name, why in [*_REFUSED.items(), *(("enable_mpi_mode", "it is for GlobusMPIEngine"),)]:
        if engine.get(name):
            raise ConfigurationError(f"{source}: engine.{name} cannot be used: {why}.")
    for name, why in _REFUSED_ABOVE.items():
        if above.get(name):
            raise ConfigurationError(f"{source}: {name} cannot be used: {why}.")
    provider = _provider(engine.get("provider"), source)
    if kind == mpi.ENGINE:
        mpi.check_mpi(engine, provider, source)
    return EngineFile(
        source=source,
        engine={str(name): value for name, value in engine.items() if name not in ("provider", "address")},
        provider=provider,
        address=engine.get("address"),
        above=above,
    )


def _provider(words: Any, source: str) -> dict[str, Any]:
    provider = {"type": "LocalProvider"} if words is None else words
    if not isinstance(provider, dict) or not isinstance(provider.get("type"), str):
        raise ConfigurationError(f"{source}: engine.provider must be a block with a `type`, such as SlurmProvider.")
    if provider["type"] not in PROFILES:
        raise ConfigurationError(
            f"{source}: engine.provider.type {provider['type']} cannot be used: its jobs cannot be found by name, so"
            f" that some might be left behind. There are {', '.join(PROFILES)}."
        )
    walltime = provider.get("walltime")
    # YAML takes 12:00:00 for a number to the base of 60; 01:00:00 for words.
    if isinstance(walltime, int):
        provider = {**provider, "walltime": f"{walltime // 3600:02d}:{walltime // 60 % 60:02d}:{walltime % 60:02d}"}
    elif walltime is not None and to_seconds(walltime) is None:
        raise ConfigurationError(f"{source}: engine.provider.walltime must be HH:MM:SS, not {walltime!r}.")
    return {str(name): value for name, value in provider.items()}


def _count(value: Any) -> int:
    """A whole number; 0 for what is none, which is told elsewhere."""
    return value if isinstance(value, int) and value > 0 else 0


def to_seconds(walltime: Any) -> int | None:
    """A walltime as HH:MM:SS in seconds; None if it is none.

    Example:
        >>> to_seconds("01:30:00")
        5400
    """
    found = _CLOCK.fullmatch(walltime) if isinstance(walltime, str) else None
    return None if found is None else (int(found[1]) * 60 + int(found[2])) * 60 + int(found[3])
