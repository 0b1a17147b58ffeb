"""What starts a program on the nodes of a job where it is not srun: mpiexec, jsrun and aprun, over srun."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from tests.sites.dialects.slurm import Options


def mpiexec(arguments: list[str]) -> None:
    """PBS Pro machines with PALS: ``mpiexec -n PROCESSES --ppn PER_NODE PROGRAM …``."""
    options = _options("mpiexec", "-n", "--ppn", "--hostfile", "--cpu-bind", "--depth", "-d")
    chosen = options.parse_args(arguments)
    _srun(chosen.n or 1, chosen.ppn or 1, chosen.program)


def jsrun(arguments: list[str]) -> None:
    """LSF machines of IBM: ``jsrun -n PROCESSES -r PER_NODE PROGRAM …``."""
    options = _options("jsrun", "-n", "-r", "-a", "-c", "-g", "-b", "-d", "-l")
    chosen = options.parse_args(arguments)
    _srun(chosen.n or 1, chosen.r or 1, chosen.program)


def aprun(arguments: list[str]) -> None:
    """Machines of Cray: ``aprun -n PROCESSES -N PER_NODE PROGRAM …``."""
    options = _options("aprun", "-n", "-N", "-d", "-j", "-cc", "-e")
    chosen = options.parse_args(arguments)
    _srun(chosen.n or 1, chosen.N or 1, chosen.program)


def _options(program: str, *names: str) -> Options:
    options = Options(program)
    for name in names:
        options.add_argument(name)
    options.add_argument("program", nargs=argparse.REMAINDER)
    return options


def _srun(processes: str | int, per_node: str | int, program: list[str]) -> NoReturn:
    # The job has one process a node, as Slurm sees it, with all its processors.
    nodes = -(-int(processes) // int(per_node))
    counts = [f"--nodes={nodes}", f"--ntasks={processes}", f"--ntasks-per-node={per_node}"]
    os.execvp("srun", ["srun", *counts, "--overcommit", "--overlap", "--cpus-per-task=1", *program])
