"""Named ways to get workers: each profile builds the engine for one kind of site."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from endpoints.configuration import Configuration

EngineBuilder = Callable[["Configuration", Path], Any]
"""From a configuration and the engine's own directory, a ``GlobusComputeEngine`` that is not started yet."""

PROFILES: dict[str, EngineBuilder] = {}
"""Profile names, to what builds their engine."""

LOOPBACK = "127.0.0.1"
# Waiting is by ZeroMQ's own wake-ups; this only bounds how long an idle thread sleeps between looks at its
# exit flag. Parsl's default of 10 ms costs a percent of a core in each of three processes.
_POLL_PERIOD_MS = 250
_HEARTBEAT_S = 2
_HEARTBEAT_THRESHOLD_S = 6
_STATUS_PERIOD_S = 2.0


def profile(name: str) -> Callable[[EngineBuilder], EngineBuilder]:
    """Register a profile under a name."""

    def register(builder: EngineBuilder) -> EngineBuilder:
        PROFILES[name] = builder
        return builder

    return register


def builder(name: str) -> EngineBuilder:
    """The profile of this name.

    Raises:
        ConfigurationError: there is none; the message names those there are.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ConfigurationError(f"There is no profile {name!r}; there are: {', '.join(sorted(PROFILES))}.") from None


def launch_command(module: str) -> list[str]:
    """The command that runs one of Parsl's programs in this very interpreter.

    The engine's own way goes through ``globus-compute-endpoint python-exec``, which imports three
    seconds' worth of command line before it does the same, and has to be found on PATH.
    """
    return [sys.executable, str(Path(__file__).with_name("pilot.py")), module]


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """Let imports go without packages that are optional to Parsl: its monitoring and cloud providers are not used."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@profile("local")
def local(configuration: Configuration, directory: Path) -> Any:
    """Workers on the agent's own host, one block of them."""
    # Imported here: a second of work and 80 MB that the command line can do without.
    with absent("boto3", "sqlalchemy"):
        from globus_compute_endpoint.engines.globus_compute import GlobusComputeEngine
        from parsl.logconfigs.file import FileLogging
        from parsl.providers import LocalProvider

    class PromptLocalProvider(LocalProvider):
        """Looks after its block every few seconds; it is a signal 0 and a small file."""

        @property
        def status_polling_interval(self) -> float:
            return _STATUS_PERIOD_S

    settings: dict[str, Any] = {
        "address": LOOPBACK,
        "max_workers_per_node": configuration.workers,
        # More workers than cores is the owner's choice to make.
        "cores_per_worker": 1e-6,
        # The engine's messages are pickles: on a host with other accounts, whoever may write to its port could run
        # code as this one. It costs a few microseconds a task.
        "encrypted": configuration.encrypted is not False,
        "heartbeat_period": _HEARTBEAT_S,
        "heartbeat_threshold": _HEARTBEAT_THRESHOLD_S,
        "poll_period": _POLL_PERIOD_MS,
        # Lost blocks are replaced by ours; the engine's own way is to give up for good.
        "block_error_handler": False,
        "job_status_kwargs": {"strategy": "none", "strategy_period": _STATUS_PERIOD_S},
        "max_retries_on_system_failure": 0,
    }
    settings.update(configuration.engine)
    engine = GlobusComputeEngine(
        provider=PromptLocalProvider(
            init_blocks=1,
            min_blocks=1,
            max_blocks=1,
            # A directory of ours: the current one may hold a module that shadows the standard library's.
            worker_init=f"cd {quote(str(directory))}",
        ),
        **settings,
    )
    executor = engine.executor
    executor.interchange_launch_cmd = launch_command("parsl.executors.high_throughput.interchange")
    pool = " ".join(map(quote, launch_command("parsl.executors.high_throughput.process_worker_pool")))
    # The rest of the command is a template with arguments still to be filled in.
    executor.launch_cmd = pool + executor.launch_cmd.partition("process_worker_pool")[2]
    # Four lines for each chunk, at the default level.
    executor.log_config = FileLogging(level=logging.WARNING)
    return engine
