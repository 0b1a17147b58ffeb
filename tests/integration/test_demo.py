"""The demo as people run it: real processes, real spectra; it succeeds, fails loudly, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("PyMca5", reason="PyMca5 is not installed: pip install 'faas-federation[demo]'")

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "notebooks" / "demo.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def left_running(directory: Path) -> list[str]:
    """Processes that have to do with a directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(directory) in command and "pytest" not in command:
            found.append(command)
    return found


def run_demo(directory: Path, program: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *program, "--copies", "0", "--directory", str(directory)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=280)


def test_demo_finds_what_is_known_and_says_where_results_lie(tmp_path: Path) -> None:
    finished = run_demo(tmp_path / "demo", [str(DEMO)])
    assert finished.returncode == 0, finished.stderr + finished.stdout
    assert "All 6 amounts known beforehand were found." in finished.stdout
    lines = finished.stdout.splitlines()
    table = [line for line in lines if line[:1] in "┏┃┡│├└"]
    assert len(table) > 5
    assert max(map(len, table)) <= 80
    key = next(line.strip() for line in lines if "segments/" in line)
    assert (tmp_path / "demo" / "store" / key).is_file()
    assert left_running(tmp_path) == []


def test_demo_fails_loudly_when_a_known_element_is_missing(tmp_path: Path) -> None:
    """The same program, told that the steel holds what it does not."""
    expecting_gold = (
        "import dataclasses, sys\n"
        f"sys.path.insert(0, {str(DEMO.parent)!r})\n"
        "import demo, xrf_spectra\n"
        "steel = xrf_spectra.steel()\n"
        "known = {**steel.known, 'Au L': xrf_spectra.Known(0.01, 0.1)}\n"
        "xrf_spectra.steel = lambda: dataclasses.replace(steel, known=known)\n"
        "demo._amounts = lambda group: ''\n"
        "sys.exit(demo.main())\n"
    )
    finished = run_demo(tmp_path / "demo", ["-c", expecting_gold])
    assert finished.returncode == 1
    assert "Steel.spe copy 0: Au L was not found" in finished.stderr
    assert left_running(tmp_path) == []


def test_an_interrupted_demo_stops_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-u", str(DEMO), "--directory", str(tmp_path / "demo")]
    demo = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("The standard's cobalt"):
                break
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
        assert demo.wait(timeout=120) == 130, rest
    finally:
        demo.kill()
    assert "Interrupted" in rest
    assert left_running(tmp_path) == []
