"""The text of a ``config.yaml``: written with comments for who runs a site, and changed without touching the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from endpoints.profiles import Profile
from faas.errors import ConfigurationError

_HEAD = """\
# Endpoint {name}. Restart it after a change: faas endpoint stop {name} && faas endpoint start {name}
name: {name}
{about}profile: {profile}
"""
_WORKERS = """
# Workers on each node, each running one task at a time on one core. Kinds of workers, each with blocks of its own:
# shapes: {{small: {{cores: 1}}, big: {{cores: 8, gpus: 1, memory_gb: 64}}}}
{mark}workers: {workers}
"""
_ENGINE_FILE = """
# Engine and provider, as Globus Compute takes them; what its variables stand for. This file decides the rest.
engine_config: engine.yaml
engine_variables: {variables}
"""
_SCHEDULER = """
# What the scheduler is told of each block, which is a batch job that holds workers.
scheduler:
{settings}  # nodes_per_block: 1
  # Lines at the top of the batch script, as the scheduler reads them:
  # options: ["{option}"]
  # Shell lines before workers start, on each node:
  # worker_init: ["module load python"]
"""
_BLOCKS = """
# Blocks come with work, and go when they have had none for max_idletime_s.
blocks:
  # min_blocks: {least}
  # max_blocks: 1
  # max_idletime_s: 30
  # Node-hours that may be spent, idle ones included; no new blocks beyond.
  # max_node_hours: {{per_day: 10, total: 100}}
"""
_TAIL = """
# Who may run here besides you: anything, or listed functions only.
# allow:
#   grace: true
#   edsger: {functions: [6a204bd8-9c51-5f7c-9d3a-1f0f4a1f1a11]}

# The Pythons that functions run in; without this the agent's own. Any from 3.8 on will do, or a command that starts
# one, and lines of shell before it.
# environments:
#   default: {python: /opt/analysis/bin/python, variables: {OMP_NUM_THREADS: "1"}}
#   xpcs: {setup: [module load hdf5, source /opt/conda/bin/activate xpcs]}
#   gpu: {python: apptainer exec --nv /images/gpu.sif python3}

# Locations that this site has on its own file systems, where tasks read and write files as they lie; you may use all of
# them, others by name.
# locations:
#   als-raw: /global/cfs/als
#   als-proc: {path: /scratch/als, readers: [grace], writers: [grace]}

# Copies of other data that tasks read are kept here, up to so many bytes.
# cache: {directory: /scratch/faas-cache, max_bytes: 50_000_000_000}

# How much of what a task prints is kept at the site, under output/, and for how many days.
# output: {task_bytes: 67108864, days: 7}

# Results over this size are stored by the worker itself, or by the agent where a compute node has no way out; by: agent
# does not even try.
# results: {large_result_bytes: 1048576, by: auto}

# labels: {site: here}

# How long running tasks may go on after `faas endpoint stop`.
# stop_grace_s: 5
"""
_OPTIONS = {
    "slurm": "#SBATCH -C haswell",
    "pbspro": "#PBS -l filesystems=home",
    "lsf": "#BSUB -alloc_flags smt4",
    "cobalt": "#COBALT --attrs filesystems=home",
}


def new_text(
    name: str, profile: Profile, *, workers: int | None, variables: Mapping[str, Any] | None, cores: int
) -> str:
    """The configuration of an endpoint that is new.

    Args:
        name: of the endpoint.
        profile: how it gets its workers.
        workers: on each node; None for what there is elsewhere, or for as many as there are cores.
        variables: of a Globus Compute configuration; None if there is none.
        cores: of this host.
    """
    machine = profile.machine
    about = "".join(f"# {line}\n" for line in ([machine.about, *machine.hints] if machine else []))
    text = _HEAD.format(name=name, profile=profile.name, about=about)
    known = machine.cores if machine else cores
    elsewhere = machine is not None or variables is not None
    text += _WORKERS.format(mark="# " if elsewhere and workers is None else "", workers=workers or known)
    if variables is not None:
        text += _ENGINE_FILE.format(variables=_flow(dict(variables)))
    elif not profile.on_this_host:
        settings = machine.settings if machine else {"partition": "", "walltime_s": 1800}
        shown = {"account": "", **{key: value for key, value in settings.items() if key != "options"}}
        lines = "".join(f"  # {key}: {_flow(value) if value != '' else '…'}\n" for key, value in shown.items())
        kind = next(
            (kind for kind in _OPTIONS if kind in (profile.name, machine.scheduler if machine else "")), "slurm"
        )
        option = settings.get("options", _OPTIONS[kind])
        text += _SCHEDULER.format(settings=lines, option=option)
    text += _BLOCKS.format(least=1 if profile.on_this_host else 0) if variables is None else ""
    return text + _TAIL


def set_value(text: str, setting: str, value: Any) -> str:
    """Change one setting, and leave the rest of the file, comments included, as its owner wrote it.

    Args:
        text: of the file.
        setting: its name, perhaps after its section's: ``workers``, ``scheduler.account``.
        value: the new one.

    Raises:
        ConfigurationError: the section is written in a way that only its owner can change.
    """
    section, dot, key = setting.rpartition(".")
    if not dot:
        line = f"{key}: {_flow(value)}"
        changed, found = _sub(rf"(?m)^{re.escape(key)}\s*:.*$", line, text)
        return changed if found else f"{text.rstrip()}\n{line}\n"
    if "." in section:
        return _set_deep(text, setting, value)
    line = f"  {key}: {_flow(value)}"
    block = re.search(rf"(?m)^{re.escape(section)}\s*:[ \t]*(?:#.*)?\n((?:[ \t]+.*\n|[ \t]*\n(?=[ \t]))*)", text)
    if block is None:
        if re.search(rf"(?m)^{re.escape(section)}\s*:", text):
            return _set_whole(text, setting, value)
        return f"{text.rstrip()}\n{section}:\n{line}\n"
    body = block[1]
    indent = re.search(r"(?m)^([ \t]+)[^\s#]", body)
    line = line.replace("  ", indent[1], 1) if indent else line
    changed, found = _sub(rf"(?m)^[ \t]+{re.escape(key)}\s*:.*$", line, body)
    if not found:  # A default that is only told of makes room for it.
        changed, found = _sub(rf"(?m)^[ \t]+#[ \t]*{re.escape(key)}\s*:.*$", line, body)
    if not found:
        changed = f"{line}\n{body}"
    return text[: block.start(1)] + changed + text[block.end(1) :]


def _set_deep(text: str, setting: str, value: Any) -> str:
    """Change a setting in a part of a section: that part then stands on one line."""
    first, second, *rest = setting.split(".")
    section = (yaml.safe_load(text) or {}).get(first)
    part = section.get(second) if isinstance(section, dict) else None
    if part is not None and re.search(rf"(?m)^[ \t]+{re.escape(second)}\s*:[ \t]*(#.*)?$", text):
        raise ConfigurationError(
            f"{setting} cannot be set from here; write it into the file, under `{first}:`, `{second}:`."
        )
    part = {} if part is None else part
    inner = part
    for key in rest[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner
    if not isinstance(inner, dict):
        raise ConfigurationError(f"{setting} cannot be set: what it is in is no section.")
    inner[rest[-1]] = value
    return set_value(text, f"{first}.{second}", part)


def _set_whole(text: str, setting: str, value: Any) -> str:
    """Change a setting in a section that stands on one line."""
    section, _, key = setting.partition(".")
    found = re.search(rf"(?m)^{re.escape(section)}\s*:[ \t]*(\{{.*\}})[ \t]*$", text)
    if found is None:
        raise ConfigurationError(f"{setting} cannot be set from here; write it into the file, under `{section}:`.")
    return text.replace(found[0], f"{section}: {_flow({**yaml.safe_load(found[1]), key: value})}", 1)


def as_value(words: str) -> Any:
    """What a person means on a command line: numbers, true, false, lists and sections in YAML; else words.

    Example:
        >>> as_value("4"), as_value("0123"), as_value("{a: 1}"), as_value("01:00:00")
        (4, '0123', {'a': 1}, '01:00:00')
    """
    if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?|true|false|[\[{].*[\]}]", words):
        try:
            return yaml.safe_load(words)
        except yaml.YAMLError:
            return words
    return words


def _sub(pattern: str, line: str, text: str) -> tuple[str, int]:
    return re.subn(pattern, lambda _: line, text, count=1)


def _flow(value: Any) -> str:
    """A value on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip("\n")
