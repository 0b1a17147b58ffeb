"""What the owner of an endpoint decides: ``config.yaml``, checked; and the agent's own credentials."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from endpoints.allocation import AgentJob, Blocks, Scheduler, WorkerShape
from endpoints.environments import Environment
from endpoints.globus_config.engine_file import EngineFile, parse_engine_file, read_engine_file
from endpoints.places import Places
from endpoints.profiles.machines import MACHINES
from endpoints.section import Section, Whole, absolute_path
from faas.credentials import Credentials, read_credentials
from faas.errors import ConfigurationError
from faas.files import LOCATION_NAME
from faas.models import DEFAULT_SHAPE, LARGE_RESULT_BYTES, AllowedFunctions, Mount, RunPolicy, Shape

_SHAPE_NAME = re.compile(r"[A-Za-z0-9_]{1,24}")


class Allowed(Section):
    """What one identity may run here."""

    functions: list[str] | None = None
    """Function ids; None for any function."""


class Leasing(Section):
    """How much work the agent asks for, and in what portions workers get it."""

    chunk_s: float = Field(default=0.05, gt=0, le=60)
    """Short tasks are handed to a worker together, up to about this run time."""
    chunk_tasks: int = Field(default=128, ge=1, le=10_000)
    """…and never more than this many."""
    lookahead_s: float = Field(default=0.5, ge=0, le=3600)
    """Work held ready for each worker."""
    max_held: int = Field(default=2_000, ge=1, le=100_000)
    """Tasks held at most."""


class Spool(Section):
    """How results wait for the service."""

    segment_bytes: int = Field(default=8 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024)
    """A segment is closed when it has reached this size."""
    batch_outcomes: int = Field(default=2_000, ge=1, le=20_000)
    """Outcomes in one report, at most."""


class Results(Section):
    """How large results get to the store."""

    large_result_bytes: int = Field(default=LARGE_RESULT_BYTES, ge=64 * 1024, le=1024**3)
    """Results over this size are objects of their own; smaller ones are joined."""
    by: Literal["auto", "agent"] = "auto"
    """Who stores them. ``auto``: the worker, or the agent where the worker's node has no way to the store."""


class Output(Section):
    """Files with what tasks print: ``output/`` in the endpoint's directory."""

    task_bytes: int = Field(default=64 * 1024 * 1024, ge=0, le=1024**4)
    """The most kept of a task's stdout, and of its stderr; 0 keeps no files."""
    days: float = Field(default=7, ge=0, le=36_500)
    """How long they are kept."""


class CacheSettings(Section):
    """Copies of objects and files that tasks read, kept for other tasks of the same identity."""

    directory: str = ""
    """An absolute path that workers see too; by default within the endpoint's own directory."""
    max_bytes: Whole = Field(default=50_000_000_000, ge=0)
    """The most it holds, apart from what is in use."""

    @field_validator("directory")
    @classmethod
    def _expanded(cls, value: str) -> str:
        return absolute_path(value) if value else ""


class MountedLocation(Section):
    """A location on this site's own file systems, and who besides the endpoint's owner may use it here."""

    path: str
    """The directory, which workers see too."""
    readers: tuple[str, ...] = ()
    """Identities whose tasks may read there; ``*`` for all that may run here."""
    writers: tuple[str, ...] = ()
    """Identities whose tasks may write there."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("path")
    @classmethod
    def _expanded(cls, value: str) -> str:
        return absolute_path(value)


class Retry(Section):
    """How patiently the agent asks again when the service is away."""

    first_s: float = Field(default=0.2, gt=0, le=60)
    longest_s: float = Field(default=5.0, gt=0, le=600)


class Configuration(Section):
    r"""An endpoint's ``config.yaml``.

    Example:
        >>> Configuration.parse("name: lab\nallow: {grace: true}", "config.yaml").allow["grace"].functions is None
        True
    """

    name: str
    profile: str = "local"
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=4096)
    """Workers on each node: of the one shape there is, or as many cores as workers of several shapes share."""
    shapes: dict[str, WorkerShape] = Field(default={}, validate_default=True)
    """The kinds of workers on offer, by name, each with an engine and blocks of its own."""
    scheduler: Scheduler = Scheduler()
    blocks: Blocks = Blocks()
    agent_job: AgentJob = AgentJob()
    allow: dict[str, Allowed] = {}
    """Who may run here besides the owner."""
    environments: dict[str, Environment] = {}
    labels: dict[str, str] = {}
    description: str = ""
    engine: dict[str, Any] = {}
    """Settings of the engine, passed on as they are."""
    engine_config: str = ""
    """A Globus Compute configuration beside this one, whose engine and provider are used as they are."""
    engine_variables: dict[str, Any] = {}
    """What its variables stand for."""
    encrypted: bool | None = None
    """Encrypt what the engine and its workers say to each other; None for what the profile holds right: yes."""
    stop_grace_s: float = Field(default=5.0, ge=0, le=86_400)
    """How long running tasks may go on after the agent was told to stop."""
    leasing: Leasing = Leasing()
    spool: Spool = Spool()
    results: Results = Results()
    output: Output = Output()
    cache: CacheSettings = CacheSettings()
    locations: dict[str, MountedLocation] = {}
    """Locations that this site has on its own file systems, by name."""
    retry: Retry = Retry()
    _engine_file: EngineFile | None = PrivateAttr(default=None)

    @property
    def engine_file(self) -> EngineFile | None:
        """What ``engine_config`` names; None if it names nothing."""
        return self._engine_file

    @field_validator("allow", mode="before")
    @classmethod
    def _readable_allow(cls, value: Any) -> Any:
        """``ada: true`` and ``ada: {functions: [...]}`` are both natural; ``false`` is a way to take it back."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            return value
        return {name: {} if rule is True else rule for name, rule in value.items() if rule is not False}

    @field_validator("labels", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {k: str(v) for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="before")
    @classmethod
    def _as_the_machine_is(cls, values: Any) -> Any:
        """A machine's profile knows what its owner need not say."""
        machine = MACHINES.get(str(values.get("profile"))) if isinstance(values, dict) else None
        return values if machine is None else machine.complete(values)

    @model_validator(mode="before")
    @classmethod
    def _warm_on_this_host(cls, values: Any) -> Any:
        """Workers on the agent's own host cost nothing while they wait, so that they are there from the start."""
        if isinstance(values, dict) and values.get("profile", "local") == "local":
            blocks = values.get("blocks") or {}
            if isinstance(blocks, dict):
                most = blocks.get("max_blocks", 1)
                least = min(1, most) if isinstance(most, int) else 1
                return {**values, "blocks": {"min_blocks": least, **blocks}}
        return values

    @field_validator("shapes", mode="after")
    @classmethod
    def _default_shape(cls, value: dict[str, WorkerShape]) -> dict[str, WorkerShape]:
        for name in value:
            if not _SHAPE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot name a shape; use up to 24 letters, digits and underscores")
        return value or {DEFAULT_SHAPE: WorkerShape()}

    @field_validator("locations", mode="after")
    @classmethod
    def _named_locations(cls, value: dict[str, MountedLocation]) -> dict[str, MountedLocation]:
        for name in value:
            if not LOCATION_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot name a location; use up to 64 letters, digits, dots, dashes and underscores,"
                    " starting with a letter or a digit"
                )
        return value

    @model_validator(mode="after")
    def _default_environment(self) -> Configuration:
        self.environments.setdefault("default", Environment())
        return self

    @classmethod
    def parse(cls, text: str, source: str, engine_text: str | None = None) -> Configuration:
        """Read and check a configuration.

        Args:
            text: the YAML.
            source: the file's name, for messages; a Globus Compute configuration that it names lies beside it.
            engine_text: that other configuration, if it is not there yet.

        Raises:
            ConfigurationError: not YAML, an unknown key, or a wrong value; the message names it.
        """
        try:
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict):
            raise ConfigurationError(f"{source} must hold settings as `key: value` lines.")
        # A section of which all is commented out.
        values = {name: value for name, value in values.items() if value is not None}
        values, file = _with_engine_file(values, source, engine_text)
        try:
            configuration = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(f"{source}: {'; '.join(_complaint(e) for e in error.errors())}") from None
        configuration._engine_file = file
        return configuration

    @classmethod
    def load(cls, places: Places) -> Configuration:
        """Read an endpoint's configuration.

        Raises:
            ConfigurationError: there is none, or it is wrong.
        """
        try:
            text = places.configuration.read_text()
        except FileNotFoundError:
            raise ConfigurationError(
                f"There is no endpoint {places.name} in {places.directory.parent}."
                f" Make it: faas endpoint configure {places.name}"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{places.configuration} cannot be read: {error.strerror}.") from None
        return cls.parse(text, str(places.configuration))

    def policy(self) -> RunPolicy:
        """Who may run here, as the service is told."""
        return RunPolicy(
            identities={name: AllowedFunctions(functions=rule.functions) for name, rule in self.allow.items()}
        )

    def shapes_offered(self) -> dict[str, Shape]:
        """The worker shapes, as the service is told."""
        return {
            name: Shape(cores=shape.cores, gpus=shape.gpus, memory_gb=shape.memory_gb)
            for name, shape in self.shapes.items()
        }

    def mounts(self) -> dict[str, Mount]:
        """The locations, as the service is told."""
        return {
            name: Mount(readers=location.readers, writers=location.writers) for name, location in self.locations.items()
        }

    def shapes_by_size(self) -> list[str]:
        """The names of the worker shapes, the smallest first."""

        def size(name: str) -> tuple[float, float, float]:
            shape = self.shapes[name]
            return shape.gpus, shape.cores, shape.memory_gb or 0.0

        return sorted(self.shapes, key=size)

    def workers_per_node(self, shape: str) -> int:
        """How many workers of a shape each node gets."""
        wanted = self.shapes[shape]
        return wanted.workers or max(1, int(self.workers / max(1.0, wanted.cores)))


def _with_engine_file(
    values: dict[str, Any], source: str, text: str | None
) -> tuple[dict[str, Any], EngineFile | None]:
    """A configuration's values, with those of the Globus Compute configuration that it names."""
    name, variables = values.get("engine_config"), values.get("engine_variables") or {}
    if not isinstance(name, str) or not name or not isinstance(variables, dict):
        return values, None
    path = Path(source).parent / name
    file = read_engine_file(path, variables) if text is None else parse_engine_file(text, variables, name)
    return file.complete(values, source)


def _complaint(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {where!r}"
    what = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def load_credentials(places: Places) -> Credentials:
    """Read what an endpoint's agent shows the service.

    Raises:
        ConfigurationError: there is nothing, or it cannot be used.
    """
    if not places.credentials.exists():
        raise ConfigurationError(
            f"{places.credentials} is missing. Make new ones: faas endpoint configure {places.name}"
        )
    return read_credentials(places.credentials)
