"""The environments an endpoint offers: how each is started, what its runners say of it, and which are broken now."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import field_validator

from endpoints.section import Section

logger = logging.getLogger(__name__)

_PAUSE_S = 5.0
_PAUSE_MAX_S = 300.0


class Environment(Section):
    """A named interpreter that functions run in.

    A runner there is started by ``bash``, which runs the set-up lines one after the other and then the
    interpreter; without set-up lines, directly. It needs Python 3.8 or newer and nothing of ours: dill is lent
    to an interpreter that has none. Modules, conda, virtual environments and containers are all told so::

        environments:
          default: {}
          xpcs:
            setup: [module load cray-hdf5, source /opt/conda/bin/activate xpcs]
            variables: {OMP_NUM_THREADS: "1"}
          ptycho:
            setup: [module load apptainer]
            python: apptainer exec --nv --bind /lus /lus/images/ptycho.sif python3

    The lines are run as a script's would be, not as at a login: where ``module`` is unknown in batch jobs, begin
    with ``source /etc/profile``. A line whose exit code is not 0 ends the start, and the environment is reported
    as broken here with what the line said on stderr; end it with ``|| true`` if that is no matter. A container has
    to show ``/tmp`` (or what ``TMPDIR`` names) and the endpoint's directory at their own paths.
    """

    python: str = ""
    """The interpreter, or the command that starts it; empty for the one that runs the agent, or after set-up lines
    for the ``python3`` that they put on PATH."""
    setup: list[str] = []
    """Lines of bash to run before."""
    variables: dict[str, str] = {}
    """Environment variables set for the set-up lines and the functions."""

    @field_validator("python")
    @classmethod
    def _words(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no command: {error}") from None
        return value

    @field_validator("setup", mode="before")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("variables", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {k: str(v) for k, v in value.items()} if isinstance(value, dict) else value

    @property
    def command(self) -> list[str]:
        """The words that start its Python; empty for the worker's own, or after set-up lines the one on PATH."""
        if not self.python or (self.python == sys.executable and not self.setup):
            return []
        program, *words = [self.python] if Path(self.python).expanduser().exists() else shlex.split(self.python)
        return [str(Path(program).expanduser()) if program.startswith("~") else program, *words]


class Environments:
    """What is known of an endpoint's environments.

    One that could not be started is left alone for a while, longer each time; meanwhile the service is told why,
    and gives its tasks to others.

    Args:
        configured: the environments, by name.
        clock: monotonic seconds.
    """

    def __init__(self, configured: Mapping[str, Environment], clock: Callable[[], float] = time.monotonic) -> None:
        self._configured = configured
        self._clock = clock
        self.changed: Callable[[], None] = lambda: None
        """Called when there is something new to tell."""
        self._facts: dict[str, dict[str, str]] = {}
        self._problems: dict[str, tuple[str, float, float]] = {}
        """Why, until when it is left alone, and for how long that is."""

    def __contains__(self, name: str) -> bool:
        return name in self._configured

    def __getitem__(self, name: str) -> Environment:
        return self._configured[name]

    def learn(self, name: str, facts: Mapping[str, str]) -> None:
        """A runner has told what it is; every chunk repeats it, and only what is new is worth telling on."""
        told = {key: value for key, value in facts.items() if key != "pid"}
        if told != self._facts.get(name):
            self._facts[name] = told
            self.changed()

    def worked(self, name: str) -> None:
        """A task has run in it."""
        if name in self._problems:
            del self._problems[name]
            logger.info("environment %s works again", name)
            self.changed()

    def broke(self, name: str, problem: str) -> None:
        """A runner could not be started."""
        _, until, pause_s = self._problems.get(name, ("", 0.0, _PAUSE_S / 2))
        if self._clock() < until:
            return  # another worker's word for the same
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        self._problems[name] = (problem, self._clock() + pause_s, pause_s)
        logger.error("environment %s is left alone for %.0f s: %s", name, pause_s, problem)
        self.changed()

    def problem(self, name: str) -> str:
        """Why nothing should be run in it now; empty if it may be tried."""
        problem, until, _ = self._problems.get(name, ("", 0.0, 0.0))
        return problem if self._clock() < until else ""

    def told(self) -> dict[str, dict[str, str]]:
        """For the service: what runners said of each environment, and the ``problem`` of each that is broken."""
        told = {name: dict(self._facts.get(name, {})) for name in self._configured}
        for name in self._problems:
            if problem := self.problem(name):
                told[name]["problem"] = problem
        return told
