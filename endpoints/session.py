"""An agent's session: which one it is, on disk before anything starts, and who else may be holding the endpoint."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

import msgspec
import psutil

from endpoints.places import write_atomically


class SessionState(msgspec.Struct, kw_only=True):
    """``state.json``: the session of the last agent started here, so that the next one can clean up after it."""

    nonce: str
    host: str
    pid: int
    process_started_at: float
    session_id: str = ""
    endpoint_id: str = ""
    phase: str = "starting"
    """``starting``, ``running`` (workers may be coming up), ``stopping``."""
    workers: int = 0
    profile: str = ""
    """How it gets its blocks: where to look for jobs that it left."""
    at_rest: bool = False
    """Whether it is ready without workers: they come when there is work."""
    left: list[SessionState] = []
    """Sessions before it whose jobs could not be cancelled yet."""

    @property
    def ready(self) -> bool:
        """Whether it can take work, now or as soon as there is some."""
        return bool(self.workers) or (self.at_rest and self.phase == "running")

    @classmethod
    def new(cls, nonce: str = "") -> SessionState:
        """The state of a session of this very process."""
        return cls(
            nonce=nonce or uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started_at=psutil.Process().create_time(),
        )

    @classmethod
    def load(cls, path: Path) -> SessionState | None:
        """The state on disk; None if there is none that can be read."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None

    def save(self, path: Path) -> None:
        """Write it down."""
        write_atomically(path, msgspec.json.format(msgspec.json.encode(self)) + b"\n")

    @property
    def on_this_host(self) -> bool:
        """Whether its process runs, or ran, on this host."""
        return self.host == socket.gethostname()

    def process(self) -> psutil.Process | None:
        """Its process, if that is still alive on this host; a later one with the same id is not it."""
        if not self.on_this_host:
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process_started_at) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None
