"""Every block of code in the README and the documentation runs, in order, against a real federation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from endpoints.configuration import Configuration
from faas.credentials import read_credentials
from tests.services.federation import Federation

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def run_commands(example: Example) -> None:
    """Run the commands of a block, its ``$`` lines with what continues them, as one script that no failure survives."""
    lines = []
    for line in str(example.parsed).splitlines():
        if line.startswith("$ "):
            lines.append(line[2:])
        elif lines and lines[-1].endswith("\\"):
            lines.append(line)
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, f"{example.path}:{example.line}\n{ended.stdout}{ended.stderr}"


def read_configuration(example: Example) -> None:
    """Check a block as an endpoint's configuration, or a part of one."""
    Configuration.model_validate({"name": "beamline", **yaml.safe_load(str(example.parsed))})


BLOCKS = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("console", run_commands),
        CodeBlockParser("yaml", read_configuration),
    ]
)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with Federation(tmp_path_factory.mktemp("documents") / "f") as federation:
        federation.add_endpoint("lab", workers=2)
        yield federation


@pytest.fixture
def at_home(federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for somebody beside a running ``faas up``."""
    credentials = read_credentials(federation.directory / "credentials.json")
    monkeypatch.setenv("FAAS_HOME", str(federation.directory))
    monkeypatch.setenv("FAAS_URL", credentials.url)
    monkeypatch.setenv("FAAS_TOKEN", credentials.token)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_runs(path: Path) -> None:
    for example in BLOCKS.parse(path).examples():
        example.evaluate()


def test_documents_have_no_code_that_is_not_run() -> None:
    """A fence is code that runs (``python``, ``console``, ``yaml``) or ``text``; a bare one hides from this test."""
    for path in DOCUMENTS:
        fences = [line for line in path.read_text().splitlines() if line.lstrip().startswith("```")]
        assert {fence.strip("` ") for fence in fences[::2]} <= {"python", "console", "yaml", "text"}, path
