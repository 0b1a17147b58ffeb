"""`faas up`: the service and one local endpoint, started, watched and stopped together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from faas.commands.federation import Federation
from faas.commands.premises import check_port, own_url, prepare_directory, sole_user
from faas.commands.supervision import watch_children_without_threads
from faas.settings import load_settings

DEFAULT_PORT = 8585


def up(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept. [default: $FAAS_HOME or ~/.faas]")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the service.")] = DEFAULT_PORT,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers of the endpoint. [default: as configured, at first one a core]")
    ] = None,
    host: Annotated[str, typer.Option(help="Address the service listens on.")] = "127.0.0.1",
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key, PEM.")] = None,
    retention_days: Annotated[
        float | None, typer.Option(help="Keep tasks and results so many days after the end. [default: 30]")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="What goes where: first_free or fastest. [default: first_free]")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Serve other machines without TLS.")] = False,
) -> None:
    """Run the service and one local endpoint, in the foreground.

    Both are started again if they die, until Ctrl-C or SIGTERM stops them: the endpoint first, then the service.
    Credentials are written to the data directory; with the default one, `faas` and Python find them by themselves.
    """
    directory = (data_dir or load_settings().home).expanduser().absolute()
    options = ["--host", host, "--port", str(port)]
    options += [] if tls_cert is None else ["--tls-cert", str(tls_cert)]
    options += [] if tls_key is None else ["--tls-key", str(tls_key)]
    options += [] if retention_days is None else ["--retention-days", str(retention_days)]
    options += [] if policy is None else ["--policy", policy]
    options += ["--insecure"] if insecure else []
    prepare_directory(directory)
    with sole_user(directory):
        check_port(host, port)
        federation = Federation(directory, own_url(host, port, tls=tls_cert is not None), options, workers)
        watch_children_without_threads()
        asyncio.run(federation.run())
