"""Where an endpoint keeps its files: one directory per endpoint under the home directory."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faas.errors import AlreadyRunning, ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def home_directory(home: str | Path | None = None) -> Path:
    """The directory that holds credentials and endpoints: the one given, else ``$FAAS_HOME``, else ``~/.faas``."""
    return Path(home or os.environ.get("FAAS_HOME") or "~/.faas").expanduser().absolute()


@dataclass(frozen=True)
class Places:
    """The files of one endpoint.

    Args:
        directory: the endpoint's own directory, absolute.

    Example:
        >>> Places(Path("/home/ada/.faas/endpoints/lab")).spool
        PosixPath('/home/ada/.faas/endpoints/lab/spool')
    """

    directory: Path

    @classmethod
    def of(cls, name: str, home: str | Path | None = None) -> Places:
        """The places of the endpoint with this name.

        Raises:
            ConfigurationError: the name cannot be a directory's.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} cannot name an endpoint. Use up to 64 letters, digits, dots, dashes and underscores,"
                " starting with a letter or a digit."
            )
        return cls(home_directory(home) / "endpoints" / name)

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.directory.name

    @property
    def configuration(self) -> Path:
        """What its owner wrote."""
        return self.directory / "config.yaml"

    @property
    def engine(self) -> Path:
        """A Globus Compute configuration, if its owner gave one."""
        return self.directory / "engine.yaml"

    @property
    def credentials(self) -> Path:
        """Its token; mode 0600."""
        return self.directory / "credentials.json"

    @property
    def state(self) -> Path:
        """The last session: nonce, id, process."""
        return self.directory / "state.json"

    @property
    def blocks(self) -> Path:
        """The last session's blocks that may have a job."""
        return self.directory / "blocks.json"

    @property
    def block_ends(self) -> Path:
        """Blocks that are over and that the service has not heard of."""
        return self.directory / "block-ends.json"

    @property
    def agent_jobs(self) -> Path:
        """The batch jobs in which the agent itself runs: one file each, written before it is submitted."""
        return self.directory / "agent-jobs"

    @property
    def check(self) -> Path:
        """What `faas endpoint check` needs while it runs."""
        return self.directory / "check"

    @property
    def run(self) -> Path:
        """Shared with the workers: code, journals, large values and results."""
        return self.directory / "run"

    @property
    def spool(self) -> Path:
        """Outcomes not yet acknowledged by the service."""
        return self.directory / "spool"

    @property
    def output(self) -> Path:
        """What tasks printed, by day."""
        return self.directory / "output"

    @property
    def log(self) -> Path:
        """One line per event."""
        return self.directory / "agent.log"

    def prepare(self) -> None:
        """Make every directory; only this account may look in, for they hold other people's data."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.spool.mkdir(exist_ok=True, mode=0o700)
        self.run.mkdir(exist_ok=True, mode=0o700)
        self.output.mkdir(exist_ok=True, mode=0o700)
        for part in ("cache", "code", "journal", "outputs", "recalled", "results", "values"):
            (self.run / part).mkdir(exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the endpoint for this process, so that two agents on one host never share its files.

        By a socket's name, which the kernel of this host knows alone: file locks fail on some shared file systems,
        and hold against other hosts on others, where the session at the service is to tell who runs.

        Raises:
            AlreadyRunning: another process holds it.
        """
        with socket.socket(socket.AF_UNIX) as holding:
            if sys.platform == "linux":
                place = f"{os.getuid()} {socket.gethostname()} {self.directory.resolve()}"
                try:
                    holding.bind(f"\0faas-endpoint-{hashlib.sha256(place.encode()).hexdigest()}")
                except OSError:
                    raise AlreadyRunning(
                        f"Endpoint {self.name} is already running on this host."
                        f" Stop it first: faas endpoint stop {self.name}"
                    ) from None
            yield


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that readers see all of it or none, even if this process is killed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    beside.replace(path)
