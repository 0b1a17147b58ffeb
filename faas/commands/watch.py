"""`faas watch`: tell a trigger of files where they are written, on an instrument's own machine."""

from __future__ import annotations

import hashlib
import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from faas.settings import load_settings


def watch(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory.")],
    trigger: Annotated[str, typer.Option(help="The trigger, by name or id; its source is push.")],
    store: Annotated[
        bool, typer.Option("--store", help="Store a copy of each file, for sites that cannot reach it.")
    ] = False,
    settle: Annotated[
        float, typer.Option(min=0.0, help="Seconds without change after which a file counts as complete.")
    ] = 2.0,
    poll: Annotated[bool, typer.Option("--poll", help="Look, even where the system tells of changes.")] = False,
    look: Annotated[float, typer.Option(min=0.05, help="Seconds between looks, where nothing tells.")] = 5.0,
    spool: Annotated[
        Path | None, typer.Option(help="Where events lie while the service is away. [default: in FAAS_HOME]")
    ] = None,
) -> None:
    """Tell a trigger of the files that land in a directory.

    A token of scope submit is enough. While the service is away, events lie on disk.
    """
    # Slow to import, and the other commands' help needs none of it.
    from faas.client import Client
    from faas.watching.directory import DirectoryWatcher
    from faas.watching.forwarder import Forwarder
    from faas.watching.spool import EventSpool

    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel("WARNING")
    watcher = DirectoryWatcher(directory.expanduser(), settle_s=settle, look_s=look, poll=True if poll else None)
    with Client() as client:

        def stored(path: Path) -> tuple[str, str]:
            reference = client.put(path)
            return reference.object_id, reference.sha256

        forwarder = Forwarder(
            client.link,
            trigger,
            watcher,
            EventSpool(spool or _spool(directory, trigger)),
            store=stored if store else None,
        )

        def stop(number: int, frame: FrameType | None) -> None:
            forwarder.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        forwarder.run()


def _spool(directory: Path, trigger: str) -> Path:
    name = hashlib.sha256(f"{directory.expanduser().absolute()}\n{trigger}".encode()).hexdigest()[:16]
    return load_settings().home.expanduser() / "watch" / name
