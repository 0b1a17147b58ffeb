"""Programs that believe to be on another host: in a UTS namespace of their own, with a name of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tests.services.requirements import missing, require


def on_host(name: str, command: Sequence[str | Path]) -> list[str]:
    """The command line that runs a command on "another host".

    Args:
        name: of the host.
        command: program and arguments.
    """
    unshare = require("unshare", "util-linux")
    if os.geteuid() != 0:
        missing("root is needed to give a host another name")
    return [str(unshare), "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name, *map(str, command)]
