"""`faas serve`: run the service in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDirectory = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Keys, credentials, database and objects. [default: $FAAS_HOME or ~/.faas]"),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="postgresql+psycopg://…, or FAAS_DATABASE_URL. [default: SQLite in the data directory]"),
]
Store = Annotated[
    str | None,
    typer.Option(help="s3://bucket/prefix or file:///directory, or FAAS_STORE. [default: in the data directory]"),
]
RetentionDays = Annotated[
    float | None,
    typer.Option(help="Keep tasks and results so many days after the end, or FAAS_RETENTION_DAYS. [default: 30]"),
]
PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="What goes where: first_free, fastest, or for comparison round_robin, shortest_backlog, pinned; or "
        "FAAS_POLICY. [default: first_free]",
    ),
]


def serve(
    data_dir: DataDirectory = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8585]")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key, PEM.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Serve other machines without TLS.")] = False,
    database_url: DatabaseUrl = None,
    store: Store = None,
    public_url: Annotated[
        str | None, typer.Option(help="Where others reach the service. [default: from host and port]")
    ] = None,
    retention_days: RetentionDays = None,
    policy: PolicyName = None,
    log_level: Annotated[
        str | None, typer.Option(help="critical, error, warning, info or debug. [default: warning]")
    ] = None,
) -> None:
    """Run the service alone, in the foreground.

    Ctrl-C or SIGTERM stops it. Other sites' agents and all clients connect to it; nothing runs here. `faas up` starts
    it together with an endpoint on this machine.
    """
    from router.settings import load_settings  # needs the service extra: `faas --help` must not

    settings = load_settings(
        data_directory=data_dir,
        host=host,
        port=port,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        insecure=insecure or None,
        database_url=database_url,
        store_url=store,
        public_url=public_url,
        retention_days=retention_days,
        policy=policy,
        log_level=log_level,
    )
    from router.app import serve as serve_forever

    serve_forever(settings)
