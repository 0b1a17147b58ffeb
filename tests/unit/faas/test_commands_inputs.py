"""What people type, and how answers are shown."""

from __future__ import annotations

import json
import pickle
import threading
import time
from pathlib import Path

import pytest
import typer

from faas.commands import display, inputs, results
from faas.errors import ConfigurationError
from faas.models import Location, Task

ONE = "0a1b2c3d-0000-4000-8000-000000000001"
TWO = "0a1b2c3d-0000-4000-8000-000000000002"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1.5m", 90), ("15min", 900), ("12h", 43200), ("30d", 2592000), (" 2W ", 1209600)],
)
def test_spans(text: str, seconds: float) -> None:
    assert inputs.parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1d", "30", "d", "1y", "1d1h", "nan s", "1e3s", "9" * 400 + "d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a length of time"):
        inputs.parse_span(text)


def test_moments() -> None:
    assert inputs.parse_moment("1970-01-02T00:00+00:00") == 86400
    assert inputs.parse_moment("1970-01-02T00:00Z") == 86400
    before = time.time()
    assert before - 7200 <= inputs.parse_moment("2h") <= time.time() - 7200


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is neither a time"):
        inputs.parse_moment(text)


def test_pairs() -> None:
    assert inputs.parse_pairs(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}
    for wrong in (["a"], ["=1"], [""], ["a=1", "a=2"]):
        with pytest.raises(typer.BadParameter):
            inputs.parse_pairs(wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("[1, 2.5]", [1, 2.5]),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ("sample-7", "sample-7"),
        ("", ""),
    ],
)
def test_arguments_are_json_where_they_parse(text: str, value: object) -> None:
    assert inputs.parse_argument(text) == value


def test_ids_may_be_abbreviated_while_they_are_unambiguous() -> None:
    assert inputs.match_id(ONE[:-1] + "2", [ONE, TWO], "task") == TWO
    assert inputs.match_id("0A1B2", [ONE], "task") == ONE
    with pytest.raises(ConfigurationError, match="2 tasks have ids that start with '0a1b'"):
        inputs.match_id("0a1b", [ONE, TWO], "task")
    with pytest.raises(ConfigurationError, match="No task has an id that starts with 'ffff'"):
        inputs.match_id("ffff", [ONE, TWO], "task")
    for text in ("", "0a1"):
        with pytest.raises(ConfigurationError, match="too short"):
            inputs.match_id(text, [ONE], "task")


def test_abbreviations_are_as_short_as_they_can_be() -> None:
    assert display.abbreviate([ONE]) == {ONE: "0a1b2c3d"}
    assert display.abbreviate([ONE, TWO]) == {ONE: ONE, TWO: TWO}
    assert display.abbreviate([]) == {}


def test_spans_and_sizes_are_shown_in_the_unit_that_suits_them() -> None:
    shown = [display.span(seconds) for seconds in (None, 0.0081, 2, 45, 600, 7200, 10_000, 900_000)]
    assert shown == ["", "8.1 ms", "2.0 s", "45 s", "10 min", "2 h", "3 h", "10 d"]
    assert [display.size(count) for count in (0, 312, 4200, 250_000, 4_200_000, 7 * 10**9)] == [
        "0 B",
        "312 B",
        "4.2 kB",
        "250 kB",
        "4.2 MB",
        "7.0 GB",
    ]
    assert display.moment(86400) == "1970-01-02 00:00:00 UTC"
    assert display.moment(None) == ""


def test_json_has_all_fields_and_names_those_of_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    task = Task(
        task_id=ONE,
        group_id="g",
        function_id="f",
        function="name",
        owner="ada",
        state="queued",
        target="any",
        submitted_at=1.0,
        location=Location("object", 3, 4),
    )
    display.print_json([task])
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["endpoint"] == ""
    assert shown["attempts"] == []
    assert shown["location"] == {"object_id": "object", "offset": 3, "length_bytes": 4}


def test_tables_fit_80_columns_and_keep_ids_whole(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_table(["id", "name", "text"], [[ONE, "n" * 50, "t" * 90], [TWO, "short", ""]], empty="none")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # heading, rule, and one line a row
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith(ONE)
    assert "…" in lines[2]


def test_tables_show_nobodys_control_characters_or_markup(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_table(["id"], [["\x1b[31mred\n[bold]x[/bold]"]], empty="none")
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "[bold]x[/bold]" in output


def test_an_empty_table_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_table(["id"], [], empty="No things yet.")
    assert capsys.readouterr() == ("", "No things yet.\n")


class Scalar:
    """Stands for NumPy's."""

    def tolist(self) -> float:
        return 1.5


def test_results_are_printed_as_python_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    results.print_result(ONE, "plain text", False)
    results.print_result(ONE, {"a": [1, 2]}, False)
    assert capsys.readouterr().out == "plain text\n{'a': [1, 2]}\n"
    for value, shown in [
        ({"a": Scalar()}, {"a": 1.5}),
        ({1}, [1]),
        (1 + 2j, "(1+2j)"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ]:
        results.print_result(ONE, value, True)
        assert json.loads(capsys.readouterr().out) == {"task_id": ONE, "result": shown}


def test_results_are_saved_in_the_format_the_name_asks_for(tmp_path: Path) -> None:
    for name, value, data in [
        ("raw", b"\0\1", b"\0\1"),
        ("raw", "text", b"text"),
        ("x.json", [1], b"[\n  1\n]"),
        ("x.pkl", {1: 2}, pickle.dumps({1: 2})),
    ]:
        results.save_result(value, tmp_path / name)
        assert (tmp_path / name).read_bytes() == data


def test_a_result_that_fits_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"name the file \.json or \.pkl"):
        results.save_result([1], tmp_path / "raw")
    with pytest.raises(ConfigurationError, match="Cannot write"):
        results.save_result("x", tmp_path / "no such directory" / "raw")
    with pytest.raises(ConfigurationError, match="cannot be pickled"):
        results.save_result(threading.Lock(), tmp_path / "x.pkl")


def test_resources_are_typed_in_one_text_or_several() -> None:
    assert inputs.parse_resources([]) == {}
    assert inputs.parse_resources(["cores=4,gpus=0.5", "memory_gb=16"]) == {"cores": 4, "gpus": 0.5, "memory_gb": 16}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4", "'4' is not of the form key=value"),
        ("", "'' is not of the form key=value"),
        ("cores=4,", "'' is not of the form key=value"),
        ("cores=4,cores=5", "'cores' is given twice"),
        ("cores=many", "cores is 'many', which is no number"),
        ("cores=nan", "cores is nan; give a number within 0 and 1,000,000"),
        ("gpu=1", "there is no 'gpu'; give cores, gpus or memory_gb"),
    ],
)
def test_wrong_resources_are_named(text: str, words: str) -> None:
    with pytest.raises(typer.BadParameter, match=words):
        inputs.parse_resources([text])


def test_a_wrong_environment_is_named() -> None:
    assert inputs.parse_environment("xpcs-3.12") == "xpcs-3.12"
    with pytest.raises(typer.BadParameter, match="'a b' is no name for an environment"):
        inputs.parse_environment("a b")
