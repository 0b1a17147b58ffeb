"""Existing Globus Compute configurations: what they say is kept, what cannot be is refused with the reason."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints.configuration import Configuration
from endpoints.globus_config.engine_file import EngineFile, parse_engine_file
from endpoints.globus_config.mpi import share_of_nodes
from endpoints.globus_config.signatures import check_engine_file
from endpoints.profiles import check_profile, find_profile
from endpoints.profiles.engine_parts import build_engine
from faas.errors import ConfigurationError
from tests.unit.endpoints.globus_config.published import LOCAL, PERLMUTTER, POLARIS, PUBLISHED, VARIABLES

MPI = """\
engine:
  type: GlobusMPIEngine
  mpi_launcher: srun
  max_workers_per_block: 2
  worker_debug: false
  provider:
    type: SlurmProvider
    launcher: {type: SimpleLauncher}
    nodes_per_block: 4
"""


def read(text: str) -> EngineFile:
    wanted = {name: value for name, value in VARIABLES.items() if re.search(rf"\b{name}\b", text)}
    return parse_engine_file(text, wanted, "engine.yaml")


def configured(folder: Path, text: str, more: str = "") -> Configuration:
    (folder / "engine.yaml").write_text(text)
    variables = {name: value for name, value in VARIABLES.items() if re.search(rf"\b{name}\b", text)}
    return Configuration.parse(
        f"name: lab\nengine_config: engine.yaml\nengine_variables: {variables!r}\n{more}", str(folder / "config.yaml")
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_sites_publish_is_right_wherever_it_is_checked(name: str, tmp_path: Path) -> None:
    """No host here has an interface hsn0, and no command sbatch is asked."""
    check_profile(configured(tmp_path, PUBLISHED[name]))


def test_what_it_says_of_workers_and_blocks_counts(tmp_path: Path) -> None:
    pbs = configured(tmp_path, POLARIS)
    assert (pbs.profile, pbs.workers) == ("pbspro", 4)
    assert (pbs.scheduler.account, pbs.scheduler.partition) == ("science", "debug-scaling")
    assert (pbs.scheduler.walltime_s, pbs.scheduler.nodes_per_block) == (3600, 2)
    assert (pbs.blocks.min_blocks, pbs.blocks.max_blocks) == (0, 2)

    slurm = configured(tmp_path, PERLMUTTER)
    assert slurm.scheduler.account == "m0000"
    assert slurm.scheduler.walltime_s == 12 * 3600  # a number to YAML
    assert (slurm.blocks.min_blocks, slurm.blocks.max_blocks, slurm.blocks.max_idletime_s) == (1, 3, 90)
    assert slurm.scheduler.command_timeout_s == 120

    local = configured(tmp_path, LOCAL)
    assert (local.profile, local.blocks.min_blocks) == ("local", 0)


def test_our_own_settings_go_first(tmp_path: Path) -> None:
    more = "workers: 3\nblocks: {max_blocks: 7, drain_s: 5}\nscheduler: {status_period_s: 1}\n"
    configuration = configured(tmp_path, POLARIS, more)
    assert (configuration.workers, configuration.blocks.max_blocks, configuration.blocks.min_blocks) == (3, 7, 0)
    assert configuration.scheduler.status_period_s == 1


def test_what_is_not_used_is_told_with_the_reason() -> None:
    told = read(PERLMUTTER).not_used()
    assert set(told) == {
        *("display_name", "engine.strategy", "engine.job_status_kwargs", "engine.heartbeat_period"),
        "engine.provider.init_blocks",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("display_name: x", "has no `engine:` block"),
        ("- a", "`key: value` lines"),
        ("engine: {type: ThreadPoolEngine, provider: {type: SlurmProvider}}", "ThreadPoolEngine has no provider"),
        ("engine: {type: GlobusMPIEngine}", "asked of Slurm and PBS only"),
        (MPI.replace("SimpleLauncher", "SrunLauncher"), "launcher must be `{type: SimpleLauncher}`"),
        (MPI.replace("srun", "jsrun"), "mpi_launcher cannot be 'jsrun'; there are srun, aprun, mpiexec"),
        (MPI.replace("max_workers_per_block: 2", "max_workers_per_block: 5"), "and a block has 4 node(s)"),
        ("engine: {type: Globus}", "engine.type 'Globus' is not known"),
        ("engine: {provider: {type: KubernetesProvider}}", "its jobs cannot be found by name"),
        ("engine: {provider: SlurmProvider}", "engine.provider must be a block with a `type`"),
        ("engine: {provider: {type: SlurmProvider, walltime: 1h}}", "walltime must be HH:MM:SS, not '1h'"),
        ("engine: {launch_cmd: x}", "engine.launch_cmd cannot be used"),
        ("engine: {enable_mpi_mode: true}", "engine.enable_mpi_mode cannot be used"),
        ("allowed_functions: [a]\nengine: {}", "write under `allow:`"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(text)
    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("profile: slurm", "profile: slurm does not fit the PBSProProvider of engine.yaml"),
        ("scheduler: {account: x}", "scheduler.account is decided by the provider in engine.yaml"),
    ],
)
def test_nothing_is_said_in_two_places(more: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        configured(tmp_path, POLARIS, more)
    assert complaint in str(raised.value)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"engine\.yaml cannot be read: No such file"):
        Configuration.parse("name: lab\nengine_config: engine.yaml", str(tmp_path / "config.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("max_workers_per_node", "max_workers", "'engine.max_workers' (did you mean max_workers_per_node?)"),
        ("max_workers_per_node: 4", "max_workers_per_node: some", "engine.max_workers_per_node cannot be 'some'"),
        ("max_workers_per_node: 4", "max_workers_per_node: 0", "engine.max_workers_per_node must be at least 1"),
        ("available_accelerators: 4", "encrypted: perhaps", "engine.encrypted cannot be 'perhaps'"),
        ("address_by_interface", "address_by_interfce", "engine.address.type 'address_by_interfce' is not known"),
        ("ifname", "interface", "unknown key 'engine.address.interface'"),
        ("ifname: hsn0", "ifname: [a]", "engine.address.ifname cannot be ['a']"),
        ("MpiExecLauncher", "MpiexecLauncher", "(did you mean MpiExecLauncher?)"),
        ("bind_cmd", "bind", "unknown key 'engine.provider.launcher.bind' (did you mean bind_cmd?)"),
        ("queue:", "que:", "unknown key 'engine.provider.que' (did you mean queue?)"),
        ("cpus_per_node: 32", "cpus_per_node: all", "engine.provider.cpus_per_node cannot be 'all'"),
        ("max_blocks: 2", "max_blocks: 0", "engine.provider.max_blocks must be at least 1"),
        ("display_name", "dsplay_name", "unknown key 'dsplay_name' (did you mean display_name?)"),
    ],
)
def test_every_setting_is_checked_before_anything_is_made(old: str, new: str, complaint: str) -> None:
    assert old in POLARIS
    with pytest.raises(ConfigurationError) as raised:
        check_engine_file(read(POLARIS.replace(old, new)))
    assert complaint in str(raised.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = (
        POLARIS.replace("queue:", "que:").replace("bind_cmd", "bind").replace("cpus_per_node: 32", "cpus_per_node: x")
    )
    with pytest.raises(ConfigurationError, match=r"que.*cpus_per_node.*bind"):
        check_engine_file(read(text))


def test_numbers_become_words_where_words_are_wanted() -> None:
    assert check_engine_file(read(PUBLISHED["container"])).provider["account"] == "1234"


@pytest.mark.parametrize("kind", ["ThreadPoolEngine", "ProcessPoolEngine"])
def test_pools_become_workers_on_this_host(kind: str, tmp_path: Path) -> None:
    configuration = configured(tmp_path, f"engine: {{type: {kind}, max_workers: 3, label: mine}}")
    check_profile(configuration)
    assert (configuration.profile, configuration.workers) == ("local", 3)
    assert (configuration.blocks.min_blocks, configuration.blocks.max_blocks) == (1, 1)
    engine = build_engine(find_profile("local"), configuration, "default", tmp_path)
    assert (engine.executor.max_workers_per_node, engine.executor.address) == (3, "127.0.0.1")
    assert configuration.engine_file is not None
    assert set(configuration.engine_file.not_used()) == {"engine.type", "engine.label"}
    assert configured(tmp_path, f"engine: {{type: {kind}}}").workers == os.cpu_count()
    for wrong, complaint in (("max_worker: 3", "unknown key 'engine.max_worker'"), ("max_workers: x", "cannot be 'x'")):
        with pytest.raises(ConfigurationError, match=complaint):
            check_engine_file(read(f"engine: {{type: {kind}, {wrong}}}"))


@given(nodes=st.integers(1, 10_000), workers=st.integers(1, 10_000))
def test_workers_share_the_nodes_of_a_block(nodes: int, workers: int) -> None:
    share = share_of_nodes(nodes, workers)
    assert share["num_ranks"] == share["num_nodes"] * share["ranks_per_node"] >= 1
    assert workers > nodes or nodes - workers < share["num_nodes"] * workers <= nodes


class TestMade:
    """At the site: engine and provider as the file has them, and driven as ours."""

    def made(self, folder: Path, text: str, more: str = "engine: {address: 127.0.0.1}\n") -> Any:
        configuration = configured(folder, text, more)
        return build_engine(find_profile(configuration.profile), configuration, "default", folder)

    def test_a_provider_is_as_the_file_says(self, tmp_path: Path) -> None:
        engine = self.made(tmp_path, POLARIS)
        provider = engine.executor.provider
        assert provider.status_polling_interval == 0
        assert (provider.queue, provider.account, provider.cpus_per_node) == ("debug-scaling", "science", 32)
        assert provider.launcher.overrides == "--depth=64 --ppn 1"
        assert "#PBS -l filesystems=home:grand:eagle" in provider.scheduler_options
        assert VARIABLES["COMMAND"] in provider.worker_init
        assert engine.executor.max_workers_per_node == 4
        assert list(engine.executor.available_accelerators) == ["0", "1", "2", "3"]

    def test_the_rest_is_ours(self, tmp_path: Path) -> None:
        engine = self.made(tmp_path, PERLMUTTER)
        assert engine._job_status_kwargs["strategy"] == "none"
        assert engine.executor.heartbeat_period == 2
        assert engine.executor.drain_period == 12 * 3600 - 60
        assert "pilot.py" in engine.executor.launch_cmd
        # Nothing says how many workers: each node decides by its cores.
        assert engine.executor.cores_per_worker == 1.0
        assert engine.executor.max_workers_per_node == float("inf")

    def test_workers_for_programs_of_many_ranks_sit_together(self, tmp_path: Path) -> None:
        configuration = configured(tmp_path, MPI, "engine: {address: 127.0.0.1}\n")
        check_profile(configuration)
        assert (configuration.profile, configuration.workers) == ("slurm", 2)
        executor = self.made(tmp_path, MPI).executor
        assert (executor.enable_mpi_mode, executor.mpi_launcher, executor.max_workers_per_block) == (True, "srun", 2)
        assert "pilot.py" in executor.launch_cmd
        with pytest.raises(ConfigurationError, match=r"unknown key 'engine\.max_workers_per_node'"):
            check_engine_file(read(MPI.replace("worker_debug: false", "max_workers_per_node: 2")))

    def test_an_interface_that_is_not_there_is_told_with_the_fix(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"interface hsn0: .*ip -brief address"):
            self.made(tmp_path, POLARIS, "")
