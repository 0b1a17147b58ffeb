"""What all engines have in common, whatever provider gets them their blocks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from endpoints.processes import NONCE_VARIABLE
from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from endpoints.configuration import Configuration
    from endpoints.profiles import Profile

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
# Waiting is by ZeroMQ's own wake-ups; this only bounds how long an idle thread sleeps between looks at its
# exit flag. Parsl's default of 10 ms costs a percent of a core in each of three processes.
_POLL_PERIOD_MS = 250
_HEARTBEAT_S = 2
_HEARTBEAT_THRESHOLD_S = 6
_NOT_NEEDED = ("boto3", "sqlalchemy")


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """Let imports go without packages that are optional to Parsl: its monitoring and cloud providers are not used."""
    hidden = [name for name in names or _NOT_NEEDED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def launch_command(module: str) -> list[str]:
    """The command that runs one of Parsl's programs in this very interpreter.

    The engine's own way goes through ``globus-compute-endpoint python-exec``, which imports three
    seconds' worth of command line before it does the same, and has to be found on PATH.
    """
    return [sys.executable, str(Path(__file__).parent.with_name("pilot.py")), module]


def worker_init(directory: Path, lines: str = "", *, in_a_job: bool = True) -> str:
    """Shell lines run on a node before its workers start.

    Args:
        directory: the engine's, where the workers start: the current one may hold a module that shadows the
            standard library's.
        lines: the owner's own.
        in_a_job: whether the scheduler ends what was started; then it is not ours to be found by the agent's mark.
    """
    mark = f"unset {NONCE_VARIABLE}" if in_a_job else ""
    path = f'export PATH={quote(str(Path(sys.executable).parent))}:"$PATH"'
    return "\n".join(line for line in (mark, path, lines.strip(), f"cd {quote(str(directory))}") if line) + "\n"


def drain_after_s(configuration: Configuration) -> int:
    """For how long a block takes new work; the rest of its walltime is for the work to end."""
    walltime_s = configuration.scheduler.walltime_s
    return max(1, int(walltime_s - min(configuration.blocks.drain_s, walltime_s / 2)))


def build_engine(profile: Profile, configuration: Configuration, shape: str, directory: Path) -> Any:
    """A ``GlobusComputeEngine`` for the workers of one shape, not started yet.

    Args:
        profile: makes the provider.
        configuration: the endpoint's.
        shape: one of its shapes.
        directory: of this engine alone.

    Raises:
        ConfigurationError: the ``engine`` settings are not to its liking.
    """
    # Imported here: a second of work and 80 MB that the command line can do without.
    with absent():
        from globus_compute_endpoint.engines import GlobusComputeEngine, GlobusMPIEngine
        from parsl.logconfigs.file import FileLogging

    wanted = configuration.shapes[shape]
    workers = configuration.workers_per_node(shape)
    settings: dict[str, Any] = {
        "label": f"faas-{shape}",
        "max_workers_per_node": workers,
        # More workers than cores is the owner's choice to make.
        "cores_per_worker": 1e-6,
        "available_accelerators": _accelerators(workers, wanted.gpus),
        # The engine's messages are pickles: on a host with other accounts, whoever may write to its port could run
        # code as this one. It costs a few microseconds a task.
        "encrypted": configuration.encrypted is not False,
        "heartbeat_period": _HEARTBEAT_S,
        "heartbeat_threshold": _HEARTBEAT_THRESHOLD_S,
        "poll_period": _POLL_PERIOD_MS,
        # Blocks are ours to start, watch and end.
        "block_error_handler": False,
        "job_status_kwargs": {"strategy": "none", "strategy_period": 3600},
        "max_retries_on_system_failure": 0,
    }
    if not profile.on_this_host:
        settings["drain_period"] = drain_after_s(configuration)
    file = configuration.engine_file
    if file is not None:
        from endpoints.globus_config.provider import make_provider

        settings.update(file.settings())
        if file.mpi:
            for name in ("max_workers_per_node", "cores_per_worker", "available_accelerators"):
                del settings[name]  # nothing that it takes: its workers sit together on one node
            settings["max_workers_per_block"] = workers
    settings.update(configuration.engine)
    settings["address"] = _address(settings, profile)
    provider = drive(make_provider(file, directory) if file else profile.provider(configuration, shape, directory))
    try:
        kind = GlobusMPIEngine if file is not None and file.mpi else GlobusComputeEngine
        engine = kind(provider=provider, **settings)
    except TypeError as error:
        raise ConfigurationError(f"`engine:` of {configuration.name} has a setting it does not take: {error}") from None
    executor = engine.executor
    executor.interchange_launch_cmd = launch_command("parsl.executors.high_throughput.interchange")
    pool = " ".join(map(quote, launch_command("parsl.executors.high_throughput.process_worker_pool")))
    # The rest of the command is a template with arguments still to be filled in.
    executor.launch_cmd = pool + executor.launch_cmd.partition("process_worker_pool")[2]
    # Four lines for each chunk, at the default level.
    executor.log_config = FileLogging(level=logging.WARNING)
    return engine


def _accelerators(workers: int, gpus: int) -> list[str]:
    """GPU numbers of each worker on a node: ``["0,1", "2,3"]`` for two workers with two each."""
    if not gpus:
        return []
    return [",".join(str(gpu) for gpu in range(first * gpus, (first + 1) * gpus)) for first in range(workers)]


def _address(settings: dict[str, Any], profile: Profile) -> str:
    """Where the engine listens for its workers: one interface, never all of them."""
    from parsl import addresses

    interface, address = settings.pop("address_by_interface", None), settings.get("address")
    if interface is None and isinstance(address, dict):
        words = dict(address)
        kind = words.pop("type")
        if kind != "address_by_interface":
            return str(getattr(addresses, kind)(**words))
        interface = words["ifname"]
    if interface:
        try:
            return str(addresses.address_by_interface(interface))
        except OSError as error:
            raise ConfigurationError(
                f"The engine is to listen on interface {interface}: {error.strerror}. `ip -brief address` lists what"
                " this host has; compute nodes must reach it. `engine: {address_by_interface: …}` in config.yaml"
                " names another."
            ) from None
    if address:
        return str(address)
    if profile.on_this_host:
        return LOOPBACK
    if profile.interface:
        try:
            return str(addresses.address_by_interface(profile.interface))
        except OSError:
            logger.warning(
                "this host has no interface %s, as login nodes of %s have: listening at the address of its name, %s."
                " If workers do not come up, name another: `engine: {address_by_interface: …}`",
                *(profile.interface, profile.name, addresses.address_by_hostname()),
            )
    return str(addresses.address_by_hostname())


class Driven:
    """Mixed into a provider: it asks its scheduler only when we do, and names jobs exactly as it is told."""

    status_polling_interval = 0

    def _write_submit_script(self, *arguments: Any) -> Any:
        if len(arguments) == 4:
            template, file, name, settings = arguments
            # Providers add the time to a name, and with it some exceed what their scheduler takes.
            arguments = (template, file, name.split(".")[0], settings)
        return super()._write_submit_script(*arguments)  # type: ignore[misc]


def drive(provider: Any) -> Any:
    """Make a Parsl provider, whoever made it, one that is `Driven`."""
    kind = type(provider)
    provider.__class__ = type(f"Driven{kind.__name__}", (Driven, kind), {})
    return provider
