"""Configurations in the manner of those that sites publish for Globus Compute, as strings."""

from __future__ import annotations

POLARIS = """\
display_name: A PBS machine

engine:
  type: GlobusComputeEngine
  max_workers_per_node: 4

  # One GPU for each worker
  available_accelerators: 4

  address:
    type: address_by_interface
    ifname: hsn0

  provider:
    type: PBSProProvider
    launcher:
      type: MpiExecLauncher
      bind_cmd: --cpu-bind
      overrides: --depth=64 --ppn 1
    account: {{ PBS_ACCOUNT }}
    queue: debug-scaling
    cpus_per_node: 32
    select_options: ngpus=4
    scheduler_options: "#PBS -l filesystems=home:grand:eagle"
    worker_init: {{ COMMAND }}
    walltime: 01:00:00
    nodes_per_block: 2
    init_blocks: 0
    min_blocks: 0
    max_blocks: 2
"""

PERLMUTTER = """\
display_name: A Slurm machine
engine:
    type: GlobusComputeEngine
    worker_debug: False
    strategy: simple
    job_status_kwargs: {max_idletime: 90.0, strategy_period: 5}
    heartbeat_period: 30
    address: {type: address_by_interface, ifname: hsn0}
    provider:
        type: SlurmProvider
        partition: debug
        launcher: {type: SrunLauncher, overrides: -c 128}
        scheduler_options: {{ OPTIONS }}
        account: {{ ACCOUNT|default("m0000") }}
        worker_init: {{ COMMAND }}
        cmd_timeout: 120
        nodes_per_block: 2
        init_blocks: 1
        min_blocks: 1
        max_blocks: 3
        walltime: 12:00:00
"""

SUMMIT = """\
engine:
  type: GlobusComputeEngine
  max_workers_per_node: 6
  address: {type: address_by_interface, ifname: ib0}
  worker_port_range: [50000, 55000]
  provider:
    type: LSFProvider
    launcher: {type: JsrunLauncher}
    walltime: 00:10:00
    nodes_per_block: 2
    project: {{ PROJECT }}
    cmd_timeout: 60
"""

THETA = """\
# In the old manner, without a type.
engine:
    max_workers_per_node: 1
    worker_debug: False
    address: {type: address_by_interface, ifname: vlan2360}
    provider:
        type: CobaltProvider
        queue: debug-flat-quad
        account: {{ YOUR_ALLOCATION }}
        launcher: {type: AprunLauncher, overrides: -d 64}
        scheduler_options: "#COBALT --attrs filesystems=home"
        worker_init: {{ COMMAND }}
        nodes_per_block: 2
        init_blocks: 0
        min_blocks: 0
        max_blocks: 1
        walltime: 00:30:00
"""

CONTAINER = """\
amqp_port: 443
engine:
    type: GlobusComputeEngine
    label: A cluster
    max_workers_per_node: 10
    address: 10.0.0.1
    container_type: apptainer
    container_cmd_options: -H /home/$USER
    container_uri: {{ CONTAINER_URI }}
    provider:
        type: SlurmProvider
        launcher: {type: SrunLauncher}
        account: 1234
        partition: caslake
        walltime: 00:30:00
"""

LOCAL = """\
display_name: null
engine:
  type: GlobusComputeEngine
  provider:
    type: LocalProvider
    init_blocks: 1
    max_blocks: 1
    min_blocks: 0
"""

VARIABLES = {
    "PBS_ACCOUNT": "science",
    "COMMAND": "module load conda: base; source activate x  # mine",
    "OPTIONS": "#SBATCH --constraint=gpu\n#SBATCH --gpus-per-node=4",
    "PROJECT": "gen011",
    "YOUR_ALLOCATION": "science",
    "CONTAINER_URI": "docker://python",
}
PUBLISHED = {
    "pbspro": POLARIS,
    "slurm": PERLMUTTER,
    "lsf": SUMMIT,
    "cobalt": THETA,
    "container": CONTAINER,
    "local": LOCAL,
}
