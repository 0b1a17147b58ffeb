"""Whether every setting of a Globus Compute configuration is one that its class takes, without making anything.

Making it would be a test too, but only at the site: an ``address_by_interface: hsn0`` is nowhere else.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from endpoints.globus_config.engine_file import EngineFile
from endpoints.profiles.engine_parts import absent
from faas.errors import ConfigurationError

_PROVIDERS = {
    "LocalProvider": ("parsl.providers", "LocalProvider"),
    "SlurmProvider": ("endpoints.profiles.slurm_provider", "TellingSlurmProvider"),
    "PBSProProvider": ("endpoints.profiles.pbspro_provider", "TellingPBSProProvider"),
    "LSFProvider": ("endpoints.profiles.lsf_provider", "TellingLSFProvider"),
    "CobaltProvider": ("endpoints.profiles.cobalt_provider", "CobaltProvider"),
}
_LENIENT = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True)
# Parsl's older providers say no types, and where the default does not tell either, this does; and what used to be.
_TYPES: dict[str, Any] = {
    "cores_per_block": int | None,
    "cores_per_node": int | None,
    "parallelism": float,
    "launcher": Any,
    "max_workers": int | None,
    "job_status_kwargs": dict[str, Any] | None,
    "strategy": str | dict[str, Any] | None,
}
_COUNTS = (
    "nodes_per_block",
    "max_blocks",
    "cmd_timeout",
    "max_workers_per_node",
    "max_workers_per_block",
    "cores_per_node",
    "cpus_per_node",
)


def check_engine_file(file: EngineFile) -> EngineFile:
    """See that every setting is known and has a value that can be.

    Returns:
        The file, its values of the types that are asked for.

    Raises:
        ConfigurationError: some are not; the message names all of them.
    """
    with absent():
        from globus_compute_endpoint.endpoint.config import CoreEndpointConfig, UserEndpointConfig
        from parsl import addresses, launchers

    checking = _Checking()
    engine = checking.call("engine.", _takers(file), file.engine)
    checking.call("", [UserEndpointConfig, CoreEndpointConfig], file.above, also=("multi_user", "detach_endpoint"))
    provider = checking.call("engine.provider.", [provider_class(file.provider["type"])], file.provider)
    kinds = list(launchers.__all__)
    checking.part("engine.provider.launcher", launchers, kinds, file.provider.get("launcher"))
    if not isinstance(file.address, str):
        kinds = [name for name in vars(addresses) if name.startswith("address_by_")]
        checking.part("engine.address", addresses, kinds, file.address)
    if checking.complaints:
        raise ConfigurationError(f"{file.source}: {'; '.join(checking.complaints)}.")
    return EngineFile(file.source, engine, provider, file.address, file.above, file.nodes_decide)


def _takers(file: EngineFile) -> list[Any]:
    """What takes the settings of a file's engine."""
    with absent():
        from concurrent import futures

        from globus_compute_endpoint import engines
        from parsl.executors import HighThroughputExecutor, MPIExecutor

    if file.mpi:
        return [engines.GlobusMPIEngine, MPIExecutor]
    if file.pool:
        kind = file.engine["type"]
        pool = futures.ThreadPoolExecutor if kind == "ThreadPoolEngine" else futures.ProcessPoolExecutor
        return [getattr(engines, kind), pool]
    return [engines.GlobusComputeEngine, HighThroughputExecutor]


def provider_class(kind: str) -> Any:
    """The class that stands for one of Parsl's providers here: one that tells what its scheduler says."""
    module, name = _PROVIDERS[kind]
    with absent():
        return getattr(importlib.import_module(module), name)


class _Checking:
    """Goes through settings, and notes what is wrong with them."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def part(self, where: str, module: Any, kinds: list[str], words: Any) -> None:
        """Check a block that says by its ``type`` what it is; none is fine."""
        if words is None:
            return
        if not isinstance(words, dict) or not isinstance(words.get("type"), str):
            self.complaints.append(f"{where} must be a block with a `type`, not {words!r}")
        elif words["type"] not in kinds:
            self.complaints.append(f"{where}.type {words['type']!r} is not known{_meant(words['type'], kinds)}")
        else:
            self.call(f"{where}.", [getattr(module, words["type"])], words)

    def call(
        self, prefix: str, takers: list[Any], values: Mapping[str, Any], also: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Check what classes or functions are called with; returns it with the types they want."""
        wanted: dict[str, Any] = {}
        for taker in takers:
            for name, kind in _wanted(taker).items():
                wanted.setdefault(name, kind)
        checked = {}
        for name, value in values.items():
            checked[name] = value
            if name == "type" or name in also:
                continue
            if name not in wanted:
                self.complaints.append(f"unknown key {prefix + name!r}{_meant(name, list(wanted))}")
            elif value is not None:
                checked[name] = self._value(prefix + name, value, wanted[name])
        return checked

    def _value(self, where: str, value: Any, kind: Any) -> Any:
        try:
            value = TypeAdapter(kind, config=_LENIENT).validate_python(value)
        except PydanticUserError:
            return value
        except ValidationError as error:
            first = error.errors()[0]
            self.complaints.append(f"{where} cannot be {first['input']!r}: {first['msg']}")
            return value
        if where.rpartition(".")[2] in _COUNTS and isinstance(value, int | float) and value < 1:
            self.complaints.append(f"{where} must be at least 1, not {value}")
        return value


def _wanted(taker: Any) -> dict[str, Any]:
    """The names that something takes, and the types of their values, as far as they can be told."""
    kinds: dict[str, Any] = {}
    classes = [each for each in taker.__mro__ if each is not object] if inspect.isclass(taker) else [taker]
    for each in classes:
        function = each.__init__ if inspect.isclass(each) else each
        try:
            hints = get_type_hints(function)
        except NameError:
            hints = {}
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            if parameter.name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                kinds.setdefault(
                    parameter.name, _TYPES.get(parameter.name) or hints.get(parameter.name) or _by(parameter)
                )
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return kinds


def _by(parameter: inspect.Parameter) -> Any:
    """A type by the default value."""
    default = parameter.default
    if default is None:
        return str | None
    return type(default) if isinstance(default, bool | int | float | str) else Any


def _meant(name: str, known: list[str]) -> str:
    close = [each for each in known if each.startswith(name)] or get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""
