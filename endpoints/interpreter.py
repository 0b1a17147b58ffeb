"""How the Python of an environment is started: after its set-up lines, by its own command, with what it may lack."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from endpoints import runner

_SETUP_FAILED = 97
_REPORT_FAILURE = (
    'faas_setup_failed() { printf \'\\nfaas: set-up line %s ended with exit code %s\\n\' "$1" "$2" >&2;'
    f" exit {_SETUP_FAILED}; }}"
)
_FAILURE = re.compile(r"\n?faas: set-up line (\d+) ended with exit code (\d+)\s*$")
_RUNNER_FILE = Path(runner.__file__).resolve()


@dataclass(frozen=True)
class Interpreter:
    """How an environment's Python is started.

    Args:
        environment: the name it has in the endpoint's configuration.
        command: the words of the command; empty for the worker's own Python.
        setup: lines of shell before it.
        variables: set before those.

    Example:
        >>> Interpreter("xpcs", ("python3",), ("module load hdf5",)).command_line(["runner.py"])[:2]
        ['bash', '-c']
    """

    environment: str = "default"
    command: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether it is another Python than the worker's, which may see neither our files nor our packages."""
        return bool(self.command or self.setup)

    @property
    def words(self) -> list[str]:
        """The command proper, without set-up lines."""
        return list(self.command) or ["python3" if self.setup else sys.executable]

    def command_line(self, arguments: Sequence[str]) -> list[str]:
        """The program and arguments that start it.

        Args:
            arguments: of Python itself: the script and what that gets.
        """
        words = [*self.words, *arguments]
        if not self.setup:
            return words
        # Each line by `eval`, so that a quote left open in one is that line's failure. They get no positional
        # parameters: a script that is sourced without arguments would take them for its own.
        lines = [f"eval {shlex.quote(line)} || faas_setup_failed {n} $?" for n, line in enumerate(self.setup, 1)]
        return ["bash", "-c", "\n".join([_REPORT_FAILURE, *lines, f"exec {shlex.join(words)}"])]

    def explain_start(self, status: int, said: str) -> str:
        """Say why the interpreter ended before it was ready.

        Args:
            status: the exit code.
            said: the end of its stderr.
        """
        said = said.strip()
        failed = _FAILURE.search(said)
        if self.setup and status == _SETUP_FAILED and failed:
            number, code = int(failed[1]), failed[2]
            words = said[: failed.start()].strip()[-1500:] or "nothing"
            return (
                f"Environment {self.environment} cannot be set up here: line {number} of its setup,"
                f" `{self.setup[number - 1]}`, ended with exit code {code}. It said: {words}"
            )
        return self.explain(f"ended with exit code {status} before it was ready", said)

    def explain(self, reason: str, said: str | None = None) -> str:
        """Say that the interpreter cannot be used, for a reason."""
        words = "" if said is None else f" It said: {said.strip()[-1500:] or 'nothing'}"
        return (
            f"The Python of environment {self.environment} ({shlex.join(self.words)}) {reason};"
            f" runners need Python 3.8 or newer.{words}"
        )


@dataclass(frozen=True)
class Lent:
    """What an interpreter of any kind needs of ours: the runner's file, and dill if it has none."""

    runner: Path
    packages: Path


def own() -> Lent:
    """The files where they are; the worker's own interpreter sees them."""
    return Lent(_RUNNER_FILE, Path())


def lend(directory: Path) -> Lent:
    """Copy them to the node's own disk, which containers see where they do not see this package.

    Args:
        directory: made if absent; kept for as long as there are runners.
    """
    import dill

    packages = directory / "packages"
    if not packages.is_dir():
        partial = directory / "packages.partial"
        shutil.rmtree(partial, ignore_errors=True)
        home = Path(dill.__file__).parent
        shutil.copytree(home, partial / "dill", ignore=shutil.ignore_patterns("__pycache__", "tests"))
        for metadata in home.parent.glob("dill-*.dist-info"):
            shutil.copytree(metadata, partial / metadata.name)
        shutil.copyfile(_RUNNER_FILE, directory / "runner.py")
        partial.rename(packages)
    return Lent(directory / "runner.py", packages)
