"""What would be submitted: the provider's own batch script and command, made without asking any scheduler."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import Any

from endpoints.block_book import name_prefix
from endpoints.configuration import Configuration
from endpoints.places import Places
from endpoints.profiles import find_profile
from faas.errors import FaasError

_NONCE = "00000000"
_PORT = "PORT"
"""The interchange takes a free port when it starts."""


@dataclass(frozen=True)
class Submission:
    """One block of a shape, as it would be requested.

    Args:
        shape: of its workers.
        script: the batch script, to the letter but for a session's nonce (``00000000``) and the engine's ``PORT``.
        command: what would submit it; empty where the provider does so by other means than a command.
    """

    shape: str
    script: str
    command: str


def submissions(configuration: Configuration, places: Places) -> list[Submission]:
    """A block of each shape of an endpoint, the smallest shape first.

    Raises:
        ConfigurationError: the engine or its provider does not take the settings.
        FaasError: the profile's provider makes no script.
    """
    return [submission(configuration, shape, places) for shape in configuration.shapes_by_size()]


def submission(configuration: Configuration, shape: str, places: Places) -> Submission:
    """A block of one shape; see `submissions`."""
    with _draft_of(places.run / "engine" / shape) as (draft, real):
        provider, launch = _provider(configuration, shape, draft)
        name = f"{name_prefix(_NONCE)}1"
        script, command = _record(provider, launch.format(block_id=name), name)
        return _as_it_would_be(shape, configuration, script, command, draft, real)


def agent_submission(configuration: Configuration, places: Places, name: str) -> Submission:
    """The job in which the agent itself runs, by the name given.

    Raises:
        ConfigurationError: the profile has no scheduler.
        FaasError: the profile's provider makes no script.
    """
    from endpoints.as_job import agent_command, agent_provider, network_settings

    with _draft_of(places.agent_jobs) as (draft, real):
        provider = agent_provider(configuration, draft)
        script, command = _record(provider, agent_command(places, name, network_settings()), name)
        return _as_it_would_be("agent", configuration, script, command, draft, real)


def _as_it_would_be(
    shape: str, configuration: Configuration, script: str, command: str, draft: Path, real: Path
) -> Submission:
    if not script:
        raise FaasError(
            f"Profile {configuration.profile} hands its jobs to the scheduler without a script that could be shown."
        )
    script, command = (text.replace(str(draft), str(real)) for text in (script, command))
    return Submission(shape, script.rstrip() + "\n", command)


@contextmanager
def _draft_of(real: Path) -> Iterator[tuple[Path, Path]]:
    """A directory in place of the one meant, which an agent may be using."""
    draft = Path(tempfile.mkdtemp(prefix="faas-dry-run-"))
    try:
        yield draft, real
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _provider(configuration: Configuration, shape: str, directory: Path) -> tuple[Any, str]:
    """The provider, and the command that starts a block's workers, but for the block's name."""
    from endpoints.profiles.engine_parts import build_engine

    engine = build_engine(find_profile(configuration.profile), configuration, shape, directory)
    executor = engine.executor
    scripts = directory / "submit_scripts"
    scripts.mkdir(parents=True)
    executor.run_dir = str(directory)
    executor.provider.script_dir = str(scripts)
    executor.worker_port = _PORT
    if executor.encrypted:
        executor.cert_dir = str(Path(executor.logdir) / "certificates")
    if executor.log_config:
        executor.logconf_path = str(Path(executor.logdir) / "log_config" / "log_config.pkl")
    executor.initialize_scaling()
    return executor.provider, executor.launch_cmd


class _Recorded(BaseException):
    """In place of a command to the scheduler: not for anybody's ``except Exception`` on its way."""


@contextmanager
def _no_commands(told: dict[str, str]) -> Iterator[None]:
    """Have Parsl's providers, and PSI/J beneath Cobalt's, note the command they would run, in place of running it."""
    from parsl.providers import cluster_provider
    from parsl.providers.local import local

    def note(command: str, *_: object, **__: object) -> None:
        told["command"] = command
        raise _Recorded

    def note_words(_: object, words: list[str]) -> None:
        told["file"] = words[-1]
        note(join(words))

    places: list[tuple[Any, str, Any]] = [(module, "execute_wait", note) for module in (cluster_provider, local)]
    if "psij" in sys.modules:
        from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor

        places.append((BatchSchedulerExecutor, "_run_command", note_words))
    originals = [getattr(place, name) for place, name, _ in places]
    for place, name, recorder in places:
        setattr(place, name, recorder)
    try:
        yield
    finally:
        for (place, name, _), original in zip(places, originals, strict=True):
            setattr(place, name, original)


def _can_be_recorded(provider: Any) -> bool:
    """Whether a provider submits by what `_no_commands` takes from it; any other might submit for real."""
    from parsl.providers import LocalProvider
    from parsl.providers.cluster_provider import ClusterProvider

    submits = next(kind.__module__ for kind in type(provider).__mro__ if "submit" in vars(kind))
    return submits.startswith(("parsl.", "endpoints.profiles.")) and isinstance(
        provider, (ClusterProvider, LocalProvider)
    )


def _record(provider: Any, command: str, name: str) -> tuple[str, str]:
    """Have a provider submit a block, up to the moment when it would."""
    from parsl.providers import LocalProvider

    kind = type(provider)
    told: dict[str, str] = {}
    if not _can_be_recorded(provider):
        return "", ""

    class Recording(kind):  # type: ignore[misc, valid-type]
        def _write_submit_script(self, *arguments: Any) -> Any:
            written = super()._write_submit_script(*arguments)
            told["file"] = str(next(each for each in arguments if str(each).startswith(self.script_dir)))
            return written

    provider.__class__ = Recording
    try:
        with _no_commands(told):
            provider.submit(command, 1, name)
    except _Recorded:
        pass
    except Exception as error:
        raise FaasError(f"A block cannot be made: {' '.join(str(error).split())}") from error
    finally:
        provider.__class__ = kind
    if "file" not in told:
        return "", ""
    if isinstance(provider, LocalProvider):
        told["command"] = f"bash {told['file']}"
    script = Path(told["file"]).read_text()
    inner = Path(provider.script_dir) / f"{name}.sh"
    if inner.exists() and str(inner) != told["file"]:  # what Cobalt's script runs
        script += f"\n# {inner}\n{inner.read_text()}"
    return script, told.get("command", "")
