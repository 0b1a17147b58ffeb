"""Configuration files: what is accepted, and what the complaint about the rest says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from endpoints.configuration import Configuration, load_credentials
from endpoints.places import Places, home_directory
from endpoints.policy import refusal
from endpoints.profiles import check_profile, find_profile
from endpoints.profiles.machines import MACHINES
from faas.errors import AlreadyRunning, ConfigurationError
from faas.models import AttemptKey, LeasedTask, Mount


def parse(text: str) -> Configuration:
    return Configuration.parse(text, "config.yaml")


def test_a_name_is_enough() -> None:
    configuration = parse("name: lab")
    assert configuration.profile == "local"
    assert configuration.workers >= 1
    assert configuration.environments["default"].command == []
    assert configuration.policy().identities == {}


def test_who_may_run_reads_naturally() -> None:
    configuration = parse("name: lab\nallow:\n  ada: true\n  grace: {functions: [f1]}\n  edsger: false\n")
    policy = configuration.policy().identities
    assert set(policy) == {"ada", "grace"}
    assert policy["ada"].functions is None
    assert policy["grace"].functions == ["f1"]


def test_environments_name_interpreters() -> None:
    configuration = parse(
        "name: lab\nenvironments:\n  default: {python: /opt/python, variables: {OMP_NUM_THREADS: 1}}\n"
    )
    assert configuration.environments["default"].command == ["/opt/python"]
    assert configuration.environments["default"].variables == {"OMP_NUM_THREADS": "1"}
    assert (
        parse(f"name: lab\nenvironments: {{default: {{python: {sys.executable}}}}}").environments["default"].command
        == []
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: lab\nworker: 3", "unknown key 'worker'"),
        ("name: lab\nleasing: {chunks: 3}", "unknown key 'leasing.chunks'"),
        ("name: lab\nworkers: none", "workers: "),
        ("name: lab\nworkers: 0", "workers: "),
        ("workers: 2", "name: "),
        ("name: lab\nallow: [ada]", "allow: "),
        ("name: [lab", "is not YAML"),
        ("just words", "`key: value`"),
    ],
)
def test_a_complaint_names_the_file_and_the_key(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    assert "config.yaml" in str(raised.value)
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_profile_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="local"):
        find_profile("cray")
    assert find_profile("local").on_this_host
    assert not find_profile("slurm").on_this_host


def test_a_missing_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="faas endpoint configure lab"):
        Configuration.load(Places.of("lab", tmp_path))
    with pytest.raises(ConfigurationError, match="faas endpoint configure lab"):
        load_credentials(Places.of("lab", tmp_path))


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "x" * 65])
def test_a_name_that_could_leave_its_directory_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Places.of(name, tmp_path)


def test_the_home_directory_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAAS_HOME", str(tmp_path / "home"))
    assert home_directory() == tmp_path / "home"
    assert home_directory(tmp_path) == tmp_path


def test_two_agents_never_share_a_directory(tmp_path: Path) -> None:
    places = Places.of("lab", tmp_path)
    places.prepare()
    with places.held(), pytest.raises(AlreadyRunning, match="already running"), places.held():
        pass
    with places.held():
        pass


def leased(owner: str, function: str = "f1") -> LeasedTask:
    return LeasedTask(
        attempt=AttemptKey(1, 1), task_id="t", owner_id=f"id of {owner}", owner=owner, function_id=function
    )


def test_only_the_owner_runs_by_default() -> None:
    configuration = parse("name: lab")
    assert refusal(configuration, "id of ada", leased("ada")) == ""
    reason = refusal(configuration, "id of ada", leased("grace"))
    assert "grace: true" in reason


def test_others_run_what_is_allowed_and_nothing_else() -> None:
    configuration = parse("name: lab\nallow: {grace: {functions: [f1]}, edsger: true}")
    assert refusal(configuration, "id of ada", leased("grace")) == ""
    assert refusal(configuration, "id of ada", leased("edsger", "f9")) == ""
    assert "f2" in refusal(configuration, "id of ada", leased("grace", "f2"))


def test_an_endpoint_that_names_no_shape_has_one_with_all_workers() -> None:
    configuration = parse("name: lab\nworkers: 3")
    assert list(configuration.shapes) == ["default"]
    assert configuration.workers_per_node("default") == 3


def test_shapes_share_the_cores_of_a_node_unless_they_say_how_many_workers() -> None:
    configuration = parse(
        "name: lab\nworkers: 8\nshapes:\n  small: {cores: 0.5}\n  big: {cores: 3, gpus: 1, memory_gb: 16}\n"
        "  huge: {cores: 64}\n  three: {workers: 3}\n"
    )
    assert {name: configuration.workers_per_node(name) for name in configuration.shapes} == {
        "small": 8,
        "big": 2,
        "huge": 1,
        "three": 3,
    }


def test_a_local_endpoint_is_warm_and_one_at_a_batch_system_starts_empty() -> None:
    local, batch = parse("name: lab").blocks, parse("name: lab\nprofile: slurm").blocks
    assert (local.min_blocks, local.max_blocks) == (1, 1)
    assert (batch.min_blocks, batch.max_blocks) == (0, 1)
    assert parse("name: lab\nblocks: {min_blocks: 0}").blocks.min_blocks == 0


def test_what_the_scheduler_is_told_reads_naturally() -> None:
    scheduler = parse(
        "name: lab\nprofile: slurm\nscheduler: {account: 1234, options: ['#SBATCH -C knl', '#SBATCH -L cfs']}"
    ).scheduler
    assert scheduler.account == "1234"
    assert scheduler.options == "#SBATCH -C knl\n#SBATCH -L cfs"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("shapes: {a b: {}}", "'a b' cannot name a shape"),
        ("shapes: {big: {core: 4}}", "unknown key 'shapes.big.core'"),
        ("shapes: {big: {cores: 0}}", "shapes.big.cores: "),
        ("scheduler: {walltime_s: 1}", "scheduler.walltime_s: "),
        ("scheduler: {queu: x}", "unknown key 'scheduler.queu'"),
        ("blocks: {min_blocks: 3, max_blocks: 2}", "min_blocks (3) must not be above max_blocks (2)"),
        ("blocks: {max_node_hours: {per_week: 3}}", "unknown key 'blocks.max_node_hours.per_week'"),
        ("blocks: many", "blocks: "),
    ],
)
def test_wrong_allocations_are_complained_about_by_name(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(f"name: lab\n{text}")
    assert complaint in str(raised.value)


def test_a_machine_knows_what_its_owner_need_not_say() -> None:
    polaris = parse("name: lab\nprofile: polaris\nscheduler: {account: mine, walltime_s: 600}")
    assert (polaris.scheduler.account, polaris.scheduler.partition) == ("mine", "debug")
    assert polaris.scheduler.walltime_s == 600
    assert polaris.workers == 32
    assert parse("name: lab\nprofile: polaris\nworkers: 4").workers == 4


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_needs_its_account_and_says_what_was_not_tried(name: str) -> None:
    with pytest.raises(ConfigurationError, match="faas endpoint configure lab --account"):
        check_profile(parse(f"name: lab\nprofile: {name}"))
    check_profile(parse(f"name: lab\nprofile: {name}\nscheduler: {{account: mine}}"))
    assert "Not tried on the machine" in MACHINES[name].about


@pytest.mark.parametrize(
    ("launcher", "complaint"),
    [
        ("{type: SrunLaunch}", "there is no launcher 'SrunLaunch'; there are"),
        ("{type: SrunLauncher, bind_cmd: x}", "SrunLauncher takes no bind_cmd"),
        ("{type: SrunLauncher, override: x}", "unknown key 'scheduler.launcher.override'"),
        ("srun", "scheduler.launcher: "),
    ],
)
def test_a_wrong_launcher_is_complained_about(launcher: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(f"name: lab\nprofile: slurm\nscheduler: {{launcher: {launcher}}}")
    assert complaint in str(raised.value)


def test_several_nodes_at_lsf_need_a_launcher() -> None:
    with pytest.raises(ConfigurationError, match="JsrunLauncher"):
        check_profile(parse("name: lab\nprofile: lsf\nscheduler: {nodes_per_block: 2}"))


def test_cobalt_without_psij_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psij", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'faas-federation\[endpoint,cobalt\]'"):
        check_profile(parse("name: lab\nprofile: cobalt"))


def test_locations_and_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/ada")
    configuration = parse(
        "name: lab\n"
        "locations:\n"
        "  als-raw: /global/cfs/als/\n"
        "  als-proc: {path: $SCRATCH/als, readers: [ALS, '*'], writers: [ALS]}\n"
        "cache: {directory: '${SCRATCH}/cache', max_bytes: 2e9}\n"
    )
    assert {name: each.path for name, each in configuration.locations.items()} == {
        "als-raw": "/global/cfs/als",
        "als-proc": "/scratch/ada/als",
    }
    assert configuration.mounts() == {
        "als-raw": Mount(),
        "als-proc": Mount(readers=("ALS", "*"), writers=("ALS",)),
    }
    assert (configuration.cache.directory, configuration.cache.max_bytes) == ("/scratch/ada/cache", 2_000_000_000)
    assert parse("name: lab").cache.max_bytes == 50_000_000_000
    assert parse("name: lab\nlocations: {home: ~/data}").locations["home"].path == str(Path("~/data").expanduser())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("locations: {a b: /x}", "'a b' cannot name a location"),
        ("locations: {als: data/x}", "locations.als.path: 'data/x' is no absolute path"),
        ("locations: {als: $NO_SUCH_VARIABLE/x}", "'$NO_SUCH_VARIABLE/x' is no absolute path"),
        ("locations: {als: ~nobody-here/x}", "is no absolute path"),
        ("locations: {als: {readers: [a]}}", "locations.als.path: Field required"),
        ("locations: {als: {path: /x, reader: [a]}}", "unknown key 'locations.als.reader'"),
        ("locations: [/x]", "locations: "),
        ("cache: {max_bytes: plenty}", "cache.max_bytes: "),
        ("cache: {max_bytes: -1}", "cache.max_bytes: "),
        ("cache: {directory: here}", "cache.directory: 'here' is no absolute path"),
    ],
)
def test_wrong_locations_and_caches_are_complained_about_by_name(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(f"name: lab\n{text}")
    assert complaint in str(raised.value)
