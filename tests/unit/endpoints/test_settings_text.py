"""The text of config.yaml: readable by Configuration whatever it is for, and changed only where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoints.configuration import Configuration
from endpoints.profiles import PROFILES, find_profile
from endpoints.profiles.machines import MACHINES
from endpoints.settings_text import as_value, new_text, set_value
from faas.errors import ConfigurationError

find_profile("local")


def new(profile: str, **settings: Any) -> str:
    return new_text("lab", find_profile(profile), **{"workers": 3, "variables": None, "cores": 8, **settings})


@pytest.mark.parametrize("profile", sorted({*PROFILES, *MACHINES}))
def test_what_configure_writes_can_be_read_with_and_without_its_comments(profile: str) -> None:
    text = new(profile)
    configuration = Configuration.parse(text, "config.yaml")
    assert (configuration.name, configuration.profile, configuration.workers) == ("lab", profile, 3)
    # What stands behind a comment's sign is no idle talk: without the sign it is a setting.
    bare = []
    for line in text.splitlines():
        body = line.lstrip(" #")
        setting = body.partition(":")[0].strip().isidentifier() and ":" in body and not body.endswith(":")
        if not line.lstrip().startswith("#") or (setting and "…" not in body) or body in ("allow:", "environments:"):
            bare.append(line.replace("# ", "", 1) if line.lstrip().startswith("#") else line)
    full = Configuration.parse("\n".join(bare), "config.yaml")
    assert full.allow["grace"].functions is None
    assert full.blocks.max_node_hours.per_day == 10
    if profile != "local":
        assert full.scheduler.worker_init == "module load python"
        assert full.scheduler.walltime_s == MACHINES[profile].settings["walltime_s"] if profile in MACHINES else 1800
    assert set(full.shapes) == {"small", "big"}


def test_a_machine_says_first_what_it_is_and_what_was_not_tried() -> None:
    assert "# Polaris (ALCF, PBS Pro). Not tried on the machine" in new("polaris")
    assert "# workers: 32" in new("polaris", workers=None)


def test_a_globus_compute_configuration_is_named_with_its_variables() -> None:
    values = yaml.safe_load(new("slurm", workers=None, variables={"ACCOUNT": "a: b", "N": 3}))
    assert values["engine_config"] == "engine.yaml"
    assert values["engine_variables"] == {"ACCOUNT": "a: b", "N": 3}
    assert "workers" not in values
    assert "scheduler" not in values


@pytest.mark.parametrize(
    ("text", "setting", "value", "changed"),
    [
        (
            "# mine\nname: lab\nworkers : 2\nlabels: {workers: many}\n",
            "workers",
            8,
            "# mine\nname: lab\nworkers: 8\nlabels: {workers: many}\n",
        ),
        ("name: lab", "workers", 8, "name: lab\nworkers: 8\n"),
        ("a: 1\ns:\n  # x: 1\n  y: 2\nb: 3\n", "s.x", "z", "a: 1\ns:\n  x: z\n  y: 2\nb: 3\n"),
        ("s:\n    y: 2  # two\n", "s.x", 1, "s:\n    x: 1\n    y: 2  # two\n"),
        ("s:\n\n  y: 2\n\n\nb: 3\n", "s.y", 1, "s:\n\n  y: 1\n\n\nb: 3\n"),
        ("a: 1\n", "s.x", [1, 2], "a: 1\ns:\n  x: [1, 2]\n"),
        ("s: {y: 2}\na: 1\n", "s.x", 1, "s: {y: 2, x: 1}\na: 1\n"),
        ("a: 1\n", "s.t.x", 1, "a: 1\ns:\n  t: {x: 1}\n"),
        ("s:\n  # t: {x: 3, y: 4}\nb: 2\n", "s.t.x", 1, "s:\n  t: {x: 1}\nb: 2\n"),
        ("s: {t: {y: 2}}\n", "s.t.x", 1, "s: {t: {y: 2, x: 1}}\n"),
        ("s:\nb: 2\n", "s.x", r"\1", "s:\n  x: \\1\nb: 2\n"),
    ],
)
def test_one_setting_changes_and_the_rest_of_the_file_stays(text: str, setting: str, value: Any, changed: str) -> None:
    assert set_value(text, setting, value) == changed


def test_what_cannot_be_changed_from_here_is_left_to_its_owner() -> None:
    with pytest.raises(ConfigurationError, match="write it into the file, under `s:`, `t:`"):
        set_value("s:\n  t:\n    x: 1\n", "s.t.x", 2)
    with pytest.raises(ConfigurationError, match="write it into the file, under `s:`"):
        set_value("s: {y: 1,\n  z: 2}\n", "s.x", 2)
    with pytest.raises(ConfigurationError, match="is no section"):
        set_value("s: {t: 1}\n", "s.t.x", 2)


SECTIONS = st.sampled_from(["scheduler.account", "scheduler.walltime_s", "blocks.max_blocks", "workers", "labels.at"])
WORDS = st.one_of(st.integers(60, 1000), st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])))


@settings(deadline=None)
@given(st.lists(st.tuples(SECTIONS, WORDS), max_size=6))
def test_the_last_value_set_is_the_one_that_is_read(changes: list[tuple[str, Any]]) -> None:
    text = new("slurm")
    wanted = {}
    for setting, value in changes:
        text = set_value(text, setting, value)
        wanted[setting] = value
    values = yaml.safe_load(text)
    for setting, value in wanted.items():
        found = values
        for key in setting.split("."):
            found = found[key]
        assert found == value


def test_values_on_a_command_line_are_what_a_person_means() -> None:
    words = ["4", "0123", "1.5", "true", "yes", "01:00:00", "[1, a]", "{a: 1}", "{broken", "#SBATCH -C knl", ""]
    values = [4, "0123", 1.5, True, "yes", "01:00:00", [1, "a"], {"a": 1}, "{broken", "#SBATCH -C knl", ""]
    assert [as_value(each) for each in words] == values


def test_paths_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(new("local"))
    assert Configuration.parse((tmp_path / "config.yaml").read_text(), str(tmp_path / "config.yaml")).workers == 3
