"""A real Slurm cluster of several nodes on this one host, on free loopback ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType

from tests.services.processes import Process, ServiceFailed
from tests.services.requirements import require
from tests.sites.configuration import Hardware, Rules, write_configuration, write_rules
from tests.sites.dialects import install
from tests.sites.node_processes import job_processes, kill, step_daemons
from tests.sites.scheduler import PARTITIONS, Scheduler

_PROGRAMS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
_STARTS = 3
_COMMAND_TIMEOUT_S = 60.0


class Cluster(Scheduler):
    """Slurm with some nodes, each a slurmd of its own; a context manager.

    ``gethostname()`` is the same on all nodes: inside a job, ``SLURMD_NODENAME`` tells them apart. Partitions are
    ``debug`` (the default), ``urgent``, whose jobs go first, and ``preempt``, whose jobs go back into the queue when
    an urgent one wants their nodes. ``science`` is the one account that may be named.

    Args:
        name: of the cluster; its nodes are this and a number, from 1 on.
        nodes: how many.
        hardware: of each node; two processors and 4 GB if not given.
        node_timeout_s: how long a node may be silent before it counts as down.

    Example:
        >>> with Cluster("theta", nodes=2) as theta:
        ...     job_id = theta.submit("echo $SLURMD_NODENAME", options=["-w", "theta2"])
        ...     theta.wait_for(job_id, "COMPLETED")
    """

    def __init__(
        self,
        name: str = "slurm",
        *,
        nodes: int = 2,
        hardware: Hardware | None = None,
        node_timeout_s: int = 4,
    ) -> None:
        self._programs = {program: require(program, package) for program, package in _PROGRAMS.items()}
        super().__init__(name)
        self.nodes = [f"{name}{number}" for number in range(1, nodes + 1)]
        self._hardware = hardware or Hardware()
        self._node_timeout_s = node_timeout_s
        self._folder: Path | None = None
        self._daemons: dict[str, Process] = {}

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """Where its state and logs are."""
        if self._folder is None:
            raise ServiceFailed(f"the cluster {self.name} is not running: start it first")
        return self._folder

    # Starting and stopping

    def start(self) -> None:
        """Start all daemons, and return when every node is idle.

        Raises:
            ServiceFailed: it did not come up; the message ends with a log.
        """
        start_together([self])

    def launch(self) -> None:
        """Start all daemons without waiting for the nodes; `wait_until_idle` does that."""
        # Always a short path: those of the daemons' sockets may have 108 characters.
        self._folder = Path(tempfile.mkdtemp(prefix=f"faas-{self.name}-"))
        self.folder.chmod(0o711)  # munge wants all to be able to reach its socket
        self._start_munge()
        port, *node_ports = _free_ports(1 + len(self.nodes))
        write_configuration(
            self.folder,
            self.name,
            munge_socket=self._munge_socket,
            port=port,
            nodes=self.nodes,
            node_ports=node_ports,
            hardware=self._hardware,
            node_timeout_s=self._node_timeout_s,
        )
        install(self.folder / "commands")
        self.set_rules(Rules())
        self._start_daemon("slurmctld", "slurmctld", "-D", "-i", "-c")
        for node in self.nodes:
            self.start_node(node)

    def wait_until_idle(self, timeout_s: float = 60.0) -> None:
        """Wait until every node is up and has no job.

        Raises:
            ServiceFailed: it took too long, or a daemon ended.
        """
        self._daemons["slurmctld"].wait_until(lambda: self._is_idle(), timeout_s)

    def stop(self) -> None:
        """End all jobs, daemons and whatever they left, and remove its folder; a second call does nothing."""
        if self._folder is None:
            return
        controller = self._daemons.get("slurmctld")
        if controller is not None and not controller.has_ended():
            with contextlib.suppress(ServiceFailed):
                self.cancel_all()
        # slurmd first: without it, nobody starts a job again.
        for name in sorted(self._daemons, key=lambda name: ("munged", "slurmctld").count(name)):
            if name != "munged":
                self._daemons[name].stop()
        kill(step_daemons(self.slurm_conf))
        kill(job_processes(self.slurm_conf))
        if "munged" in self._daemons:
            self._daemons["munged"].stop()
        self._daemons.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def reset(self) -> None:
        """Make it as good as new for the next test: no jobs, open queues, the first rules, every node up and idle."""
        self.set_rules(Rules())
        for node in self.nodes:
            if self._daemons[node].has_ended():
                self._kill_jobs_of(node)
                self.call_down(node)
                self.start_node(node)
        self.cancel_all()
        self.forget()
        for partition in PARTITIONS:
            self.open_queue(partition)
        self.wait_until_idle()

    # What may happen at a site

    def set_rules(self, rules: Rules) -> None:
        """Let the site's administrators decide anew who may submit what, and how long it waits."""
        write_rules(self.folder, rules)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd; after a crash, for instance."""
        self._start_daemon(node, "slurmd", "-D", "-N", node)

    def kill_slurmd(self, node: str) -> None:
        """Kill a node's slurmd alone: its jobs go on, though the scheduler will soon run them again elsewhere."""
        self._daemons[node].kill()

    def crash_node(self, node: str) -> None:
        """Let a node die: all on it ends at once, and nobody tells the scheduler, which notices in about 16 s."""
        self._daemons[node].kill()
        self._kill_jobs_of(node)

    def call_down(self, node: str) -> None:
        """Have the scheduler call a node down at once, rather than when it has been silent for long enough."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=called down")

    def _kill_jobs_of(self, node: str) -> None:
        # The daemons first: they would report that their job has ended.
        orphans = job_processes(self.slurm_conf, node)
        kill(step_daemons(self.slurm_conf, node))
        kill([*orphans, *job_processes(self.slurm_conf, node)])

    # Daemons

    @property
    def _munge_socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        folder.mkdir(mode=0o711, exist_ok=True)
        folder.chmod(0o711)
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        command: list[str | Path] = [self._programs["munged"], "--foreground", "--num-threads=2", f"--key-file={key}"]
        command.append("--force")  # where others may not look into the folder for temporary files, they need not
        command += [f"--{part}-file={folder / part}" for part in ("pid", "seed", "log")]
        daemon = Process([*command, "-S", self._munge_socket], folder / "output")
        self._daemons["munged"] = daemon
        daemon.wait_until(self._munge_socket.exists)

    def _start_daemon(self, name: str, program: str, *arguments: str) -> None:
        log = self.folder / "log" / name
        self._daemons[name] = Process(
            [self._programs[program], *arguments],
            log,
            environment={"SLURM_CONF": str(self.slurm_conf)},
        )

    def _is_idle(self) -> bool:
        for node in self.nodes:
            if self._daemons[node].has_ended():
                self._daemons[node].wait_until(lambda: False)  # raises, with its log
        # Asked before it listens, it is asked again only after a while.
        port = int(next(line for line in self.slurm_conf.read_text().split() if line.startswith("SlurmctldPort="))[14:])
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return False
        idle = self.run("sinfo", "--noheader", "--Node", "--partition=debug", "--states=idle", "--format=%N").split()
        return set(self.nodes) <= set(idle)


def start_together(clusters: list[Cluster]) -> None:
    """Start clusters side by side, and return when every node of each is idle.

    Raises:
        ServiceFailed: one did not come up; then none is left running.
    """
    for tries_left in reversed(range(_STARTS)):
        try:
            for cluster in clusters:
                cluster.launch()
            for cluster in clusters:
                cluster.wait_until_idle()
            return
        except BaseException as error:
            for cluster in clusters:
                cluster.stop()
            # Somebody may have taken a port.
            if not tries_left or not isinstance(error, ServiceFailed):
                raise


def _free_ports(count: int) -> list[int]:
    """Ports outside the range from which the system takes some for outgoing connections: a node may want its again."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in ports:
                ports.append(port)
    return ports
