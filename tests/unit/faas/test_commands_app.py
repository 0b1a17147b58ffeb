"""The `faas` command line as such: what is listed, what is loaded, how failures look and exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from faas import plugins
from faas.commands import app, registered

PLUGIN = '''
"""A sub-command from elsewhere."""
import os, signal, sys
import typer
from faas.errors import ConfigurationError, TaskFailed

def fine(name: str = "x") -> None:
    """Do well."""
    print(f"hello {name}")

def refused() -> None:
    raise ConfigurationError("The widget is wrong. Turn it round.")

def failed() -> None:
    raise TaskFailed("ValueError: no", remote_traceback="Traceback (most recent call last):\\n  there")

def broken() -> None:
    raise RuntimeError("first line\\nsecond line")

def interrupted() -> None:
    raise KeyboardInterrupt

def signalled() -> None:
    os.kill(os.getpid(), signal.SIGINT)

def late() -> None:
    import a_package_nobody_has

def coded() -> None:
    raise typer.Exit(3)

def flood() -> None:
    for _ in range(100_000):
        print("a line")
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with commands, registered next to two that cannot be imported."""
    (tmp_path / "plugin_of_tests.py").write_text(PLUGIN)
    (tmp_path / "plugin_without_packages.py").write_text("import a_package_nobody_has.part")
    (tmp_path / "plugin_with_mistake.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # tracebacks go there
    names = ("fine", "refused", "failed", "broken", "interrupted", "signalled", "late", "coded")
    commands = {name: f"plugin_of_tests:{name}" for name in names}
    commands |= {"lacking": "plugin_without_packages:lacking", "mistaken": "plugin_with_mistake:mistaken"}
    found = {name: EntryPoint(name, value, registered.GROUP) for name, value in commands.items()}
    monkeypatch.setattr(app, "find_commands", lambda: found)
    return "plugin_of_tests"


def faas(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faas.commands.app", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )


def test_help_lists_every_command() -> None:
    answer = faas("--help")
    assert answer.returncode == 0
    for name, summary in registered.SUMMARIES.items():
        assert f"  {name} " in answer.stdout
        assert summary in answer.stdout


def test_help_loads_no_command() -> None:
    code = (
        "import sys\nfrom faas.commands.app import run\nrun(['--help'])\n"
        "slow = ('router', 'registry', 'endpoints', 'globus_compute_sdk', 'fastapi', 'sqlalchemy', 'httpx')\n"
        "loaded = [name for name in sys.modules if name.partition('.')[0] in slow]\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr


def test_commands_are_found_in_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda **_: ())
    found = registered.find_commands()
    assert set(found) == set(registered.SUMMARIES)
    assert found["up"].value == "faas.commands.up:up"


@pytest.mark.parametrize("name", sorted(registered.SUMMARIES))
def test_summaries_are_the_first_lines_of_the_commands_own_help(name: str) -> None:
    loaded = registered.load_command(registered.find_commands()[name])
    text = get_command(loaded).help if isinstance(loaded, typer.Typer) else loaded.__doc__
    assert text is not None
    assert text.splitlines()[0] == registered.SUMMARIES[name]


@pytest.mark.parametrize("name", sorted(registered.SUMMARIES))
def test_no_line_of_a_commands_help_is_cut_at_80_columns(name: str) -> None:
    loaded = registered.load_command(registered.find_commands()[name])
    if not isinstance(loaded, typer.Typer):
        return
    shown = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).invoke(loaded, ["--help"]).stdout
    assert "..." not in shown.partition("Commands:")[2], shown


def test_version() -> None:
    answer = faas("--version")
    assert answer.returncode == 0
    assert answer.stdout.startswith("faas ")


def test_no_arguments_show_the_help() -> None:
    answer = faas()
    assert answer.returncode in (0, 2)
    assert "Commands:" in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serv"], "No such command 'serv'"),
        (["functoin"], "Did you mean 'function'? See"),
        (["--nonsense"], "No such option: --nonsense"),
        (["serve", "--prt", "1"], "No such option: --prt"),
        (["serve", "--port", "x"], "--port"),
        (["up", "--port", "70000"], "--port"),
        (["task", "show"], "ID"),
        (["token", "create", "--scope", "root"], "'--scope': 'root' is not one of"),
        (["token", "create", "--expires", "soon"], "'soon' is not a length of time"),
        (["task", "list", "--since", "yore"], "'yore' is neither a time"),
        (["task", "list", "--tag", "sample"], "'sample' is not of the form key=value"),
        (["task", "list", "--state", "lazy"], "'--state': 'lazy'"),
        (["usage", "--by", "mood"], "'--by': 'mood'"),
        (["pool", "create", "p"], "--endpoint or a --label"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_2(arguments: list[str], message: str) -> None:
    answer = faas(*arguments)
    assert answer.returncode == 2
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("faas: ")
    assert message in line


def test_a_plugin_runs(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["fine", "--name", "y"]) == 0
    assert capsys.readouterr().out == "hello y\n"


def test_errors_of_ours_are_one_line(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["refused"]) == 1
    assert capsys.readouterr().err == "faas: The widget is wrong. Turn it round.\n"


def test_debug_adds_the_traceback(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--debug", "refused"]) == 1
    output = capsys.readouterr().err
    assert output.startswith("Traceback")
    assert output.endswith("faas: The widget is wrong. Turn it round.\n")


def test_a_failed_task_shows_its_remote_traceback(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["failed"]) == 1
    output = capsys.readouterr().err
    assert output == "Traceback (most recent call last):\n  there\nfaas: ValueError: no\n"


def test_the_unforeseen_is_one_line_and_a_file(plugin: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert app.run(["broken"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("faas: unexpected RuntimeError: first line.")
    (written,) = tmp_path.glob("faas-error-*.txt")
    assert str(written) in line
    assert 'raise RuntimeError("first line\\nsecond line")' in written.read_text()


@pytest.mark.parametrize("name", ["interrupted", "signalled"])
def test_an_interrupt_exits_130_without_traceback(name: str, plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert app.run([name]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "Traceback" not in capsys.readouterr().err


def test_an_exit_code_is_passed_on(plugin: str) -> None:
    assert app.run(["coded"]) == 3


@pytest.mark.parametrize("arguments", [["lacking"], ["lacking", "--help"], ["lacking", "--any", "thing"], ["late"]])
def test_a_missing_package_is_named(arguments: list[str], plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"`faas {arguments[0]}` needs the package 'a_package_nobody_has'" in line
    assert line.endswith("pip install 'a_package_nobody_has'")


def test_a_broken_command_does_not_break_the_others(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0
    output = capsys.readouterr().out
    assert "lacking" in output
    assert "mistaken" in output
    assert app.run(["fine"]) == 0
    assert app.run(["mistaken"]) == 1
    assert "unexpected ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "fix"),
    [
        ("router.commands", "pip install 'faas-federation[service]'"),
        ("endpoints.commands", "pip install 'faas-federation[endpoint]'"),
    ],
)
def test_a_missing_extra_is_named_with_the_pip_command(module: str, fix: str) -> None:
    error = registered.missing_package(ModuleNotFoundError(name="yaml"), "thing", module)
    assert str(error).endswith(fix)
    assert "'yaml'" in str(error)


def test_a_mistake_of_ours_is_not_blamed_on_pip() -> None:
    error = ModuleNotFoundError(name="router.nothing")
    assert registered.missing_package(error, "serve", "router.commands") is error


def test_a_reader_that_goes_away_is_no_error(plugin: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom importlib.metadata import EntryPoint\nfrom faas.commands import app\n"
        "app.find_commands = lambda: {'flood': EntryPoint('flood', 'plugin_of_tests:flood', 'faas.commands')}\n"
        "sys.exit(app.run(['flood']))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline() == "a line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1
