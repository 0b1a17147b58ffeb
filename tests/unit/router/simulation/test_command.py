"""`faas simulate`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faas.commands.app import run


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "about: two sites\nsites: {a: {}, b: {speed: 2}}\nfunctions: {f: {run_s: 20}}\n"
        "workload: [{identity: APS, function: f, tasks: 30}]\n"
    )
    return path


def test_the_shipped_ones_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--list", "--json"]) == 0
    assert "black-hole" in {one["name"] for one in json.loads(capsys.readouterr().out)}


def test_a_table_json_and_a_figure(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "out.png"
    arguments = ["simulate", str(scenario), "--seeds", "1", "--policy", "first_free", "--policy", "fastest"]
    assert run([*arguments, "--figure", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "first_free" in capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["policies"]) == ["first_free", "fastest"]
    assert told["policies"]["fastest"]["over_bound"] >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Which scenario?"),
        (["nowhere"], "There is no scenario 'nowhere'"),
        (["black-hole", "--policy", "fastets"], "There is no policy 'fastets'"),
        (["reference-burst", "--policy", "pinned", "--seeds", "1"], "needs one endpoint"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_figure_of_no_known_format_is_refused(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(scenario), "--seeds", "1", "--policy", "fastest", "--figure", "x.nonsense"]) == 1
    assert "cannot be written to x.nonsense" in capsys.readouterr().err
