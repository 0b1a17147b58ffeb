"""A service and an endpoint as two child processes: brought up in order, kept running, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Awaitable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TypeVar

import httpx
import typer

from faas.commands.premises import CREDENTIALS
from faas.commands.supervision import SupervisedProcess
from faas.credentials import Credentials, read_credentials, write_credentials
from faas.errors import FaasError, ServiceUnavailable
from faas.link import AsyncLink
from faas.models import Endpoint
from faas.settings import load_settings

T = TypeVar("T")

ENDPOINT = "local"

_SERVICE_START_S = 60.0
_ENDPOINT_START_S = 120.0
_LOOK_EVERY_S = 0.1
"""Only while starting; afterwards nothing is polled."""
_ENDPOINT_STOP_S = 30.0
_SERVICE_STOP_S = 10.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_BANNER = """
The federation is up.

  service      {url} (pid {service_pid})
  endpoint     {endpoint} (pid {endpoint_pid}, {workers} workers)
  credentials  {credentials}
  logs         {logs}

Try it in another shell:
{export}
  faas status
  python - <<'END'
  import faas

  def double(x):
      return 2 * x

  with faas.Executor() as executor:
      print(list(executor.map(double, range(10))))
  END

Ctrl-C stops it.
"""


class Federation:
    """A service and the endpoint ``local`` on this machine.

    Args:
        directory: the data directory, and FAAS_HOME of both.
        url: where this machine will reach the service.
        options: what ``faas serve`` gets besides the directory.
        workers: of the endpoint; None leaves its configuration as it is.
    """

    def __init__(self, directory: Path, url: str, options: list[str], workers: int | None) -> None:
        self._directory = directory
        self._url = url
        self._workers = workers
        self._environment = _environment(directory)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._service = self._child("service", ["serve", "--data-dir", str(directory), *options])
        size = [] if workers is None else ["--workers", str(workers)]
        home = ["--home", str(directory)]
        self._configuration = self._child("configuration", ["endpoint", "configure", ENDPOINT, *size, *home])
        self._endpoint = self._child("endpoint", ["endpoint", "start", ENDPOINT, *home])

    def _child(self, name: str, arguments: list[str]) -> SupervisedProcess:
        log = self._directory / "logs" / f"{name}.log"
        return SupervisedProcess(name, _command(arguments), self._environment, log, typer.echo)

    async def run(self) -> None:
        """Bring both up and keep them so, until a signal says stop.

        Raises:
            FaasError: one of them did not come up.
        """
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        work = asyncio.ensure_future(self._work())
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed = work.done()
            work.cancel()
            stop.cancel()
            await asyncio.wait([work])
            if not failed:
                typer.echo("\nStopping the endpoint, then the service; once more kills them.")
            await self._configuration.stop(0, self._hurry)
            await self._endpoint.stop(_ENDPOINT_STOP_S, self._hurry)
            await self._service.stop(_SERVICE_STOP_S, self._hurry)
        if failed:
            work.result()
        typer.echo("Stopped.")

    def _on_signal(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _work(self) -> None:
        typer.echo(f"Starting the service ({self._service.log}) …")
        await self._service.start()
        await self._unless_ended(self._service, self._healthy(), _SERVICE_START_S)
        credentials = read_credentials(self._directory / CREDENTIALS)
        await self._configure(credentials)
        typer.echo(f"Starting the endpoint ({self._endpoint.log}) …")
        await self._endpoint.start()
        endpoint = await self._unless_ended(self._endpoint, self._online(credentials), _ENDPOINT_START_S)
        typer.echo(self._banner(endpoint.workers))
        await asyncio.gather(
            self._service.keep_running(self._healthy), self._endpoint.keep_running(lambda: self._online(credentials))
        )

    async def _healthy(self) -> None:
        """Wait until the service answers."""
        # No token is sent, and a certificate need not name the address this machine uses.
        async with httpx.AsyncClient(verify=False, trust_env=False) as http:
            while True:
                try:
                    if (await http.get(f"{self._url}/v1/health")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _configure(self, credentials: Credentials) -> None:
        """Make the endpoint's configuration, or bring an older one up to date."""
        home = self._directory / "endpoints" / ENDPOINT
        if not (home / "config.yaml").exists() or self._workers is not None:
            typer.echo("Configuring the endpoint …")
            await self._configuration.start()
            ending = await self._configuration.ended()
            if self._configuration.code:
                raise FaasError(f"The endpoint could not be configured: {ending}.")
        old = read_credentials(home / CREDENTIALS)
        if old.url != credentials.url:  # the service has moved to another port
            moved = Credentials(url=credentials.url, token=old.token, endpoint_id=old.endpoint_id)
            write_credentials(home / CREDENTIALS, moved)

    async def _online(self, credentials: Credentials) -> Endpoint:
        """Wait until the service sees the endpoint's new process and workers."""
        async with AsyncLink(credentials.url, credentials.token) as link:
            while True:
                with contextlib.suppress(ServiceUnavailable):  # it may just be starting again
                    endpoint = await link.request("GET", f"/v1/endpoints/{ENDPOINT}", response=Endpoint)
                    if endpoint.status == "online" and endpoint.pid == self._endpoint.pid and endpoint.workers:
                        return endpoint
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _unless_ended(self, child: SupervisedProcess, goal: Awaitable[T], patience_s: float) -> T:
        """Wait for a goal that a child is to reach.

        Raises:
            FaasError: the child ended first, or the time is up.
        """
        reached = asyncio.ensure_future(goal)
        ended = asyncio.ensure_future(child.ended())
        try:
            await asyncio.wait([reached, ended], timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if reached.done():
                return reached.result()
            if ended.done():
                raise FaasError(f"The {ended.result()}. Its log is {child.log}.")
            raise FaasError(f"The {child.name} is not ready after {patience_s:g} s. See {child.log}.")
        finally:
            reached.cancel()
            ended.cancel()

    def _banner(self, workers: int) -> str:
        credentials = self._directory / CREDENTIALS
        by_default = load_settings().credentials_path.absolute() == credentials
        return _BANNER.format(
            url=self._url,
            service_pid=self._service.pid,
            endpoint=ENDPOINT,
            endpoint_pid=self._endpoint.pid,
            workers=workers,
            credentials=credentials,
            logs=self._directory / "logs",
            export="" if by_default else f"\n  export FAAS_CREDENTIALS={shlex.quote(str(credentials))}",
        )


def _command(arguments: list[str]) -> list[str]:
    """The `faas` command line that this very Python and package understand."""
    # -m would put the current directory first on sys.path, and with it a user's own registry.py.
    safely = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *safely, "-m", "faas.commands.app", *arguments]


def _environment(directory: Path) -> dict[str, str]:
    """The environment of both children: this one, but they know this service only."""
    elsewhere = ("FAAS_URL", "FAAS_TOKEN", "FAAS_CREDENTIALS")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    environment["FAAS_HOME"] = str(directory)
    try:
        distribution("faas-federation")
    except PackageNotFoundError:  # a checkout: nothing else tells the children where it is
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return environment
