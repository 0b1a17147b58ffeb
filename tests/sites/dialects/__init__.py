"""The commands of PBS Pro, LSF and Cobalt over Slurm, which exercise submission, status and cancel, nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

_LABELS = {"pbspro": "PBS Pro", "lsf": "LSF", "cobalt": "Cobalt"}
_COMMANDS = {
    "pbspro": ("qsub", "qstat", "qselect", "qdel"),
    "lsf": ("bsub", "bjobs", "bkill"),
    "cobalt": ("qsub", "qstat", "qdel"),
}
_LAUNCHERS = {"pbspro": "mpiexec", "lsf": "jsrun", "cobalt": "aprun"}
DIALECTS = tuple(_COMMANDS)
"""Their names."""

_PROGRAM = """\
#!{python} -IS
# {label} command dialect over Slurm: exercises submission, status and cancel, not the vendor's scheduling
import sys

sys.path.append({root!r})
from tests.sites.dialects.{module} import {command}
from tests.sites.dialects.slurm import run

sys.exit(run({command}, sys.argv))
"""


def install(folder: Path) -> None:
    """Write the commands of every dialect into a folder.

    Args:
        folder: where; each dialect gets a folder in it, for PATH.
    """
    for dialect, commands in _COMMANDS.items():
        target = commands_folder(folder, dialect)
        target.mkdir(parents=True, exist_ok=True)
        modules = {**dict.fromkeys(commands, dialect), _LAUNCHERS[dialect]: "launchers"}
        for command, module in modules.items():
            program = target / command
            program.write_text(
                _PROGRAM.format(
                    python=sys.executable,
                    label=_LABELS[dialect],
                    root=str(Path(__file__).parents[3]),
                    module=module,
                    command=command,
                )
            )
            program.chmod(0o755)


def commands_folder(folder: Path, dialect: str) -> Path:
    """Where `install` puts the commands of a dialect.

    Raises:
        ValueError: there is no such dialect.
    """
    if dialect not in _COMMANDS:
        raise ValueError(f"there is no dialect {dialect!r}; there are {', '.join(DIALECTS)}")
    return folder / dialect
