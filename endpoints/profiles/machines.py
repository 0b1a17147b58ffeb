"""Profiles of machines, none tried on the machine itself: only on their schedulers' commands, and from documentation.

Each is a scheduler's profile with values that its ``config.yaml`` need not say; whatever it says goes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ACCOUNT = {"account": "the project to charge"}


@dataclass(frozen=True)
class Machine:
    """What is particular to one machine.

    Args:
        name: of its profile.
        about: its first line: what it is, and what was not tried.
        scheduler: the profile that its jobs go by.
        cores: of a node; the default number of workers.
        interface: of a login node, that compute nodes reach.
        settings: of ``scheduler:``, where the owner says nothing else.
        needs: settings that only the owner knows, and what they are.
        hints: further things to know, each a sentence.
    """

    name: str
    about: str
    scheduler: str
    cores: int
    interface: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=lambda: _ACCOUNT)
    hints: tuple[str, ...] = ()

    def complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration's values with this machine's where it has none."""
        scheduler = values.get("scheduler") or {}
        if not isinstance(scheduler, dict):
            return dict(values)
        return {"workers": self.cores, **values, "scheduler": {**self.settings, **scheduler}}


_ALL = (
    Machine(
        name="theta",
        about="Theta (ALCF, Cobalt, retired in 2023). Not tried on the machine; on Cobalt's commands only.",
        scheduler="cobalt",
        cores=64,
        interface="vlan2360",
        settings={
            "partition": "debug-flat-quad",
            "walltime_s": 1800,
            "command_timeout_s": 120,
            "options": "#COBALT --attrs filesystems=home,theta-fs0",
            # The script runs beside the compute nodes, never on one.
            "launcher": {"type": "AprunLauncher", "overrides": "-d 64 --cc depth"},
        },
    ),
    Machine(
        name="summit",
        about="Summit (OLCF, LSF, retired in 2024). Not tried on the machine; on LSF's commands only.",
        scheduler="lsf",
        cores=42,
        interface="ib0",
        settings={
            "partition": "batch",
            "walltime_s": 1800,
            "command_timeout_s": 60,
            "whole_nodes": True,
            "launcher": {"type": "JsrunLauncher", "overrides": "-a 1 -c 42 -g 6 -b none"},
        },
        hints=("Compute nodes cannot write to home directories: set FAAS_HOME to a directory on the parallel one.",),
    ),
    Machine(
        name="cori",
        about="Cori (NERSC, Slurm, retired in 2023). Not tried on the machine; on another Slurm only.",
        scheduler="slurm",
        cores=32,
        interface="bond0.144",
        settings={
            "qos": "debug",
            "constraint": "haswell",
            "walltime_s": 1800,
            "command_timeout_s": 120,
            "exclusive": True,
            "cores_per_node": 64,
            "launcher": {"type": "SrunLauncher", "overrides": "--ntasks-per-node=1 -c 64"},
        },
    ),
    Machine(
        name="polaris",
        about="Polaris (ALCF, PBS Pro). Not tried on the machine; on PBS Pro's commands only.",
        scheduler="pbspro",
        cores=32,
        interface="hsn0",
        settings={
            "partition": "debug",
            "walltime_s": 3600,
            "command_timeout_s": 60,
            "options": "#PBS -l filesystems=home:eagle",
            "cores_per_node": 64,
            "select_options": "ngpus=4",
            "launcher": {"type": "MpiExecLauncher", "bind_cmd": "--cpu-bind", "overrides": "--depth=64 --ppn 1"},
        },
        hints=("Name in `scheduler: {options: …}` the file systems that functions use.",),
    ),
    Machine(
        name="aurora",
        about="Aurora (ALCF, PBS Pro). Not tried on the machine; on PBS Pro's commands only.",
        scheduler="pbspro",
        cores=102,
        interface="bond0",
        settings={
            "partition": "debug",
            "walltime_s": 3600,
            "command_timeout_s": 60,
            "options": "#PBS -l filesystems=home:flare",
            "cores_per_node": 208,
            "launcher": {"type": "MpiExecLauncher", "bind_cmd": "--cpu-bind", "overrides": "--depth=208 --ppn 1"},
        },
        hints=(
            "Name in `scheduler: {options: …}` the file systems that functions use.",
            "Compute nodes reach the network beyond through a proxy only: functions that download need it in"
            " `environments: {default: {variables: {https_proxy: …}}}`.",
        ),
    ),
    Machine(
        name="frontier",
        about="Frontier (OLCF, Slurm). Not tried on the machine; on another Slurm only.",
        scheduler="slurm",
        cores=56,
        interface="hsn0",
        settings={
            "partition": "batch",
            "walltime_s": 3600,
            "command_timeout_s": 60,
            "exclusive": True,
            # Eight of the 64 cores are kept for the system.
            "cores_per_node": 56,
            "launcher": {"type": "SrunLauncher", "overrides": "--ntasks-per-node=1 -c 56"},
        },
    ),
    Machine(
        name="perlmutter",
        about="Perlmutter (NERSC, Slurm). Not tried on the machine; on another Slurm only.",
        scheduler="slurm",
        cores=128,
        interface="hsn0",
        settings={
            "qos": "debug",
            "constraint": "cpu",
            "walltime_s": 1800,
            "command_timeout_s": 120,
            "exclusive": True,
            "cores_per_node": 256,
            "launcher": {"type": "SrunLauncher", "overrides": "--ntasks-per-node=1 -c 256"},
        },
        hints=("For GPU nodes: `constraint: gpu`, and `options: '#SBATCH --gpus-per-node=4'`.",),
    ),
)

MACHINES: Mapping[str, Machine] = {machine.name: machine for machine in _ALL}
"""By the name of their profile."""
