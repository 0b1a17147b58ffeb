"""A small federation for the demo: one service and two sites, each a process of its own, started and stopped here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import faas

_START_S = 120.0
_STOP_S = 40.0


class SiteFailed(Exception):
    """A process of the federation did not come up; the message holds its last words."""


@contextlib.contextmanager
def federation(
    directory: Path,
    sites: Sequence[str],
    workers: int,
    say: Callable[[str], None] = print,
    allow: Sequence[str] = (),
) -> Iterator[faas.Client]:
    """Start a service and sites, and stop them whatever happens.

    Args:
        directory: where all of them keep what they need; the service in it, each site in a directory of its own.
        sites: names of the endpoints.
        workers: of each.
        say: told what is being done.
        allow: identities that may run at the sites, besides the one that starts them.

    Yields:
        A client of the service; every site is online.

    Raises:
        SiteFailed: one did not come up.
    """
    port = _free_port()
    with contextlib.ExitStack() as running:
        say(f"Starting the service at http://127.0.0.1:{port}")
        service = _start(["serve", "--data-dir", str(directory), "--port", str(port)], directory / "service.log", {})
        running.callback(_stop, service, say, "service")
        client = _wait("service", service, lambda: _connect(directory))
        running.callback(client.close)
        credentials = {"FAAS_CREDENTIALS": str(directory / "credentials.json")}
        for site in sites:
            say(f"Starting the endpoint {site} with {workers} worker{'s' if workers > 1 else ''}")
            home, log = directory / site, directory / f"{site}.log"
            configure = ["endpoint", "configure", site, "--workers", str(workers), "--home", str(home)]
            configuring = _start(configure, log, credentials)
            if configuring.process.wait(_START_S) != 0:
                raise SiteFailed(f"{site} could not be configured: {configuring.last_words()}")
            if allow:
                with (home / "endpoints" / site / "config.yaml").open("a", encoding="utf-8") as settings:
                    settings.write(f"allow: {{{', '.join(f'{name}: true' for name in allow)}}}\n")
            endpoint = _start(["endpoint", "start", site, "--home", str(home)], log, {})
            running.callback(_stop, endpoint, say, site)
            _wait(site, endpoint, lambda name=site: _online(client, name))  # type: ignore[misc]
        yield client


def identity(directory: Path, name: str) -> faas.Client:
    """A client for another identity, a light source for example, with a token that is its own.

    Args:
        directory: the federation's, where the service keeps what its administrator needs.
        name: of the identity; it is made if it is new.
    """
    environment = {**os.environ, "FAAS_CREDENTIALS": str(directory / "admin-credentials.json")}
    command = [sys.executable, "-m", "faas.commands.app", "token", "create", "--identity", name, "--create-identity"]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SiteFailed(f"There is no token for {name}: {made.stderr.strip()}")
    known = json.loads((directory / "credentials.json").read_text())
    return faas.Client(known["url"], made.stdout.strip())


class _Running:
    """A process and where it writes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or f"exit code {self.process.returncode}"


def _start(arguments: list[str], log: Path, environment: dict[str, str]) -> _Running:
    """Start `faas …` in a session of its own, so that Ctrl-C reaches this program alone, which then stops it."""
    elsewhere = ("FAAS_URL", "FAAS_TOKEN", "FAAS_CREDENTIALS", "FAAS_HOME", "FAAS_DATABASE_URL", "FAAS_STORE")
    inherited = {name: value for name, value in os.environ.items() if name not in elsewhere}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "faas.commands.app", *arguments],
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Running(process, log)


def _stop(running: _Running, say: Callable[[str], None], name: str) -> None:
    if running.process.poll() is None:
        say(f"Stopping {name}")
        running.process.send_signal(signal.SIGTERM)
        try:
            running.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            say(f"{name} does not stop; killing it")
    with contextlib.suppress(ProcessLookupError):  # nothing of its session is left, as it should be
        os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()


def _wait(name: str, running: _Running, look: Callable[[], faas.Client | None]) -> faas.Client:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise SiteFailed(f"{name} ended: {running.last_words()}. Its log is {running.log}")
        found = look()
        if found is not None:
            return found
        time.sleep(0.1)
    raise SiteFailed(f"{name} is not ready after {_START_S:g} s. Its log is {running.log}")


def _connect(directory: Path) -> faas.Client | None:
    from faas.credentials import read_credentials

    path = directory / "credentials.json"
    if not path.exists():
        return None
    known = read_credentials(path)
    client = faas.Client(known.url, known.token)
    try:
        client.whoami()
    except faas.ServiceUnavailable:
        client.close()
        return None
    return client


def _online(client: faas.Client, site: str) -> faas.Client | None:
    endpoint = client.get_endpoint(site)
    return client if endpoint.status == "online" and endpoint.workers else None


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
