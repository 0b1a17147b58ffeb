"""What each profile hands to its scheduler, word for word: its commands are stand-ins that keep what they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from endpoints.configuration import Configuration
from endpoints.profiles import check_profile, find_profile
from endpoints.profiles.engine_parts import _address, drive
from faas.errors import ConfigurationError

_ANSWERS = {
    "sbatch": "Submitted batch job 1001",
    "bsub": "Job <1001> is submitted to queue <batch>.",
    "qsub": "1001",
    "sacct": "",
}
_KEEP = """\
#!/bin/sh
for last; do :; done
case "$0" in *bsub) cat > {folder}/script;; *) test -f "$last" && cp "$last" {folder}/script;; esac
echo "$*" >> {folder}/arguments
echo '{answer}'
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that will hold the script submitted last, and the commands' arguments."""
    (tmp_path / "bin").mkdir()
    for name, answer in _ANSWERS.items():
        command = tmp_path / "bin" / name
        command.write_text(_KEEP.format(folder=tmp_path, answer=answer))
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def submitted(kept: Path, text: str) -> str:
    """The script of a block, and the arguments it was submitted with."""
    configuration = Configuration.parse(f"name: lab\n{text}", "config.yaml")
    provider = drive(find_profile(configuration.profile).provider(configuration, "default", kept / "engine"))
    provider.script_dir = str(kept)
    assert provider.submit("start-workers", 1, "faas12345678-1").partition(".")[0] == "1001"
    return (kept / "script").read_text() + (kept / "arguments").read_text()


_MACHINES = {
    "theta": [
        '#COBALT --jobname="faas12345678-1"',
        "#COBALT --queue=debug-flat-quad",
        "#COBALT --project=mine",
        "#COBALT --nodecount=2",
        '#COBALT --time="00:30:00"',
        '#COBALT --attrs="filesystems=home,theta-fs0"',
    ],
    "summit": [
        "#BSUB -J faas12345678-1",
        "#BSUB -P mine",
        "#BSUB -q batch",
        "#BSUB -nnodes 2",
        "#BSUB -W 30",
        "jsrun -n 2 -r 1 -a 1 -c 42 -g 6 -b none",
    ],
    "cori": [
        "#SBATCH --job-name=faas12345678-1",
        "#SBATCH --account=mine",
        "#SBATCH --qos=debug",
        "#SBATCH --constraint=haswell",
        "#SBATCH --nodes=2",
        "#SBATCH --exclusive",
        "#SBATCH --cpus-per-task=64",
        "srun --ntasks 2 -l --ntasks-per-node=1 -c 64",
    ],
    "polaris": [
        "#PBS -N faas12345678-1\n",
        "#PBS -l select=2:ncpus=64:ngpus=4\n",
        "#PBS -l filesystems=home:eagle",
        "#PBS -l walltime=01:00:00",
        "-q debug -A mine",
        "mpiexec --cpu-bind none --depth=64 --ppn 1 -n $WORKERCOUNT",
    ],
    "aurora": [
        "#PBS -l select=2:ncpus=208\n",
        "#PBS -l filesystems=home:flare",
        "-q debug -A mine",
        "mpiexec --cpu-bind none --depth=208 --ppn 1",
    ],
    "frontier": [
        "#SBATCH --account=mine",
        "#SBATCH --partition=batch",
        "#SBATCH --nodes=2",
        "srun --ntasks 2 -l --ntasks-per-node=1 -c 56",
    ],
    "perlmutter": [
        "#SBATCH --account=mine",
        "#SBATCH --qos=debug",
        "#SBATCH --constraint=cpu",
        "srun --ntasks 2 -l --ntasks-per-node=1 -c 256",
    ],
}


@pytest.mark.parametrize("machine", _MACHINES)
def test_a_machine_gets_what_its_site_wants(machine: str, kept: Path) -> None:
    told = submitted(kept, f"profile: {machine}\nscheduler: {{account: mine, nodes_per_block: 2}}")
    for words in _MACHINES[machine]:
        assert words in told
    if machine == "theta":  # PSI/J starts a script of its own, and that ours.
        told = (kept / "faas12345678-1.sh").read_text()
        assert "aprun -n 2 -N 1 -d 64 --cc depth" in told
    assert "start-workers" in told
    assert f"cd {kept / 'engine'}" in told


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("slurm", ["--cpus-per-task=6", "--mem=12g", "--gpus-per-node=3", "#SBATCH --no-requeue"]),
        ("pbspro", ["select=1:ncpus=6:ngpus=3:mem=12gb", "#PBS -r n"]),
        ("lsf", ["#BSUB -n 6", "span[ptile=6]", "#BSUB -gpu num=3", "#BSUB -rn"]),
    ],
)
def test_a_block_has_what_the_workers_of_its_shape_need(profile: str, words: list[str], kept: Path) -> None:
    told = submitted(
        kept,
        f"profile: {profile}\nshapes: {{default: {{cores: 2, gpus: 1, memory_gb: 4, workers: 3}}}}\n"
        "scheduler: {options: '#X --own', worker_init: [module load x]}",
    )
    for line in [*words, "#X --own", "module load x"]:
        assert line in told


def test_the_owner_has_the_last_word(kept: Path) -> None:
    told = submitted(
        kept,
        "profile: polaris\nscheduler: {account: mine, partition: prod, select_options: 'system=polaris',"
        " launcher: {type: SimpleLauncher}, options: '#PBS -l filesystems=grand'}",
    )
    assert "ncpus=64:system=polaris" in told
    assert "-q prod" in told
    assert "eagle" not in told
    assert "mpiexec" not in told


def test_a_cobalt_option_that_cannot_be_given_is_told() -> None:
    configuration = Configuration.parse(
        "name: lab\nprofile: cobalt\nscheduler: {options: '#COBALT -t 50'}", "config.yaml"
    )
    with pytest.raises(ConfigurationError, match=r"Write options of Cobalt in full.*#COBALT -t 50"):
        check_profile(configuration)


def test_where_the_engine_listens(caplog: pytest.LogCaptureFixture) -> None:
    def address(profile: str, **settings: Any) -> str:
        return _address(settings, find_profile(profile))

    assert address("slurm", address={"type": "address_by_interface", "ifname": "lo"}) == "127.0.0.1"
    assert address("slurm", address="10.1.2.3") == "10.1.2.3"
    assert address("local") == "127.0.0.1"
    # Here no interface is named as at the site: the way it would be without one, and the log says so.
    assert address("theta") == address("slurm")
    assert "no interface vlan2360" in caplog.text
