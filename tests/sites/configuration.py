"""The files of a cluster: its configuration, and the Lua script with which slurmctld lets jobs in."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={munge_socket},cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
{memory}
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldTimeout=30
SlurmdTimeout={node_timeout_s}
MessageTimeout=5
KillWait=2
MinJobAge=3600
CompleteWait=0
FirstJobId=1001
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU={memory_per_cpu_mb}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
EnforcePartLimits=ALL
JobSubmitPlugins=lua
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobs
{nodes}
PartitionName=debug Nodes={names} Default=YES MaxTime=60 DefaultTime=10 PriorityTier=10 PreemptMode=off
PartitionName=preempt Nodes={names} MaxTime=60 DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=urgent Nodes={names} MaxTime=60 DefaultTime=10 PriorityTier=100 PreemptMode=off
"""
_MEMORY_IGNORED = "JobAcctGatherType=jobacct_gather/none"
_MEMORY_ENFORCED = (
    "JobAcctGatherType=jobacct_gather/linux\nJobAcctGatherFrequency=1\nJobAcctGatherParams=OverMemoryKill"
)
# Slurm wants a device for each GPU, of which it sets CUDA_VISIBLE_DEVICES to the number; these there are everywhere.
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# Why: credentials live 5 s, for a requeued job waits until they have expired, 2 minutes by default. Job ids start at
# 1001, for Cobalt's have four digits at least, and PSI/J looks for those.

# Slurm reads the script again only when its time stamp says so, to the second; so it reads the rules itself. The
# table of jobs it gets is old, so it counts the jobs that Slurm keeps, less those in the record of ended ones, where
# a job that was put back into the queue has one of the first three states, unless its script forbids that.
_JOB_SUBMIT = """\
local goes_on = {{PREEMPTED = true, NODE_FAIL = true, REQUEUED = true}}

local function stays_out(path)
   local script = io.open(path .. "/script")
   if script == nil then return false end
   local text = script:read("*a")
   script:close()
   return text:find("--no-requeue", 1, true) ~= nil
end

local function held_jobs()
   local ended, held = {{}}, 0
   for line in io.lines("{folder}/log/jobs") do
      local id, state = line:match("^JobId=(%d+) .- JobState=(%u+)")
      if id ~= nil then ended[id] = not goes_on[state] end
   end
   local listing = io.popen("ls -d {folder}/state/hash.*/job.* 2>/dev/null")
   for path in listing:lines() do
      local over = ended[path:match("(%d+)$")]
      if over == false then over = stays_out(path) end
      if not over then held = held + 1 end
   end
   listing:close()
   return held
end

function slurm_job_submit(job, partitions, user)
   local rules = dofile("{folder}/rules.lua")
   if job.account ~= nil and rules.accounts[job.account] == nil then
      return slurm.ESLURM_INVALID_ACCOUNT
   end
   if rules.max_jobs ~= nil and held_jobs() >= rules.max_jobs then
      return slurm.ESLURM_ACCOUNTING_POLICY
   end
   if rules.queue_wait_s > 0 then job.begin_time = os.time() + rules.queue_wait_s end
   return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, user)
   return slurm.SUCCESS
end

return slurm.SUCCESS
"""


@dataclass(frozen=True)
class Rules:
    """What a site's administrators decide; they hold from the next submission on.

    Args:
        accounts: accounts that jobs may name; a job that names none is let in.
        max_jobs: how many jobs may be queued and running; none for as many as people like.
        queue_wait_s: how long each job waits before it may start, as if others were before it.
    """

    accounts: frozenset[str] = field(default_factory=lambda: frozenset({"science"}))
    max_jobs: int | None = None
    queue_wait_s: int = 0


@dataclass(frozen=True)
class Hardware:
    """What each node has, as the scheduler counts it.

    Args:
        cpus: processors.
        memory_mb: memory; a job that does not say gets its share by processors.
        gpus: accelerators, five at most; they are not there, but given out, as CUDA_VISIBLE_DEVICES tells the job.
        memory_enforced: whether the scheduler kills a job that takes more memory than it has asked for.
    """

    cpus: int = 2
    memory_mb: int = 4000
    gpus: int = 0
    memory_enforced: bool = False


def write_configuration(
    folder: Path,
    name: str,
    *,
    munge_socket: Path,
    port: int,
    nodes: Sequence[str],
    node_ports: Sequence[int],
    hardware: Hardware,
    node_timeout_s: int,
) -> Path:
    """Write a cluster's slurm.conf, gres.conf and job_submit.lua, and make the folders they name.

    Args:
        folder: the cluster's own.
        name: of the cluster.
        munge_socket: where its munge daemon listens.
        port: of slurmctld.
        nodes: names of the nodes.
        node_ports: the port of each node's slurmd.
        hardware: of each node.
        node_timeout_s: how long a node may be silent before slurmctld calls it down.

    Returns:
        The path of slurm.conf.
    """
    for part in ("state", "log", "run", "spool"):
        (folder / part).mkdir(exist_ok=True)
    (folder / "log" / "jobs").touch()
    host = socket.gethostname().partition(".")[0]
    gpus = f" Gres=gpu:{hardware.gpus}" if hardware.gpus else ""
    each = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={hardware.cpus} RealMemory={hardware.memory_mb}{gpus}"
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in _DEVICES[: hardware.gpus]))
    lines = [f"NodeName={node} Port={node_port} {each}" for node, node_port in zip(nodes, node_ports, strict=True)]
    (folder / "job_submit.lua").write_text(_JOB_SUBMIT.format(folder=folder))
    path = folder / "slurm.conf"
    path.write_text(
        _SLURM_CONF.format(
            name=name,
            host=host,
            user=getpass.getuser(),
            munge_socket=munge_socket,
            port=port,
            folder=folder,
            node_timeout_s=node_timeout_s,
            memory_per_cpu_mb=hardware.memory_mb // hardware.cpus,
            memory=_MEMORY_ENFORCED if hardware.memory_enforced else _MEMORY_IGNORED,
            nodes="\n".join(lines),
            names=",".join(nodes),
        )
    )
    return path


def write_rules(folder: Path, rules: Rules) -> None:
    """Write the rules for submissions where a cluster's job_submit.lua reads them.

    Args:
        folder: the cluster's own.
        rules: what shall hold from now on.
    """
    accounts = ", ".join(f'["{account}"] = true' for account in sorted(rules.accounts))
    limit = "nil" if rules.max_jobs is None else str(rules.max_jobs)
    text = f"return {{accounts = {{{accounts}}}, max_jobs = {limit}, queue_wait_s = {rules.queue_wait_s}}}\n"
    new = folder / "rules.lua.new"
    new.write_text(text)
    new.replace(folder / "rules.lua")
