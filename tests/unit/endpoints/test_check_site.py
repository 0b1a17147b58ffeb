"""What a check finds at a site: interpreters, room, file systems."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from endpoints import check_site
from endpoints.check_site import check_disk, check_environments, check_locations, check_python, check_scheduler
from endpoints.configuration import Configuration
from endpoints.places import Places


def configured(text: str = "") -> Configuration:
    return Configuration.parse(f"name: lab\n{text}", "config.yaml")


def test_the_agents_own_python() -> None:
    (finding,) = check_python()
    assert finding.state == "ok" and "parsl" in finding.told


def test_environments_that_work_and_that_do_not(tmp_path: Path) -> None:
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\necho 2 7 2.7.18\n")
    old.chmod(0o755)
    found = {
        finding.what: finding
        for finding in check_environments(
            configured(
                "environments:\n"
                f"  good: {{python: {sys.executable}, setup: ['echo welcome']}}\n"
                f"  old: {{python: {old}}}\n"
                "  absent: {python: /no/python}\n"
                f"  spoilt: {{python: {sys.executable}, setup: ['echo no such module >&2; false']}}\n"
            )
        )
    }
    states = {name.removeprefix("environment "): finding.state for name, finding in found.items()}
    # What this host has not, compute nodes may have.
    assert states == {"default": "ok", "good": "ok", "old": "FAIL", "absent": "warn", "spoilt": "warn"}
    assert "no such module" in found["environment spoilt"].told
    assert all(finding.fix for finding in found.values() if finding.state != "ok")


def test_locations_that_are_there_and_that_are_not(tmp_path: Path) -> None:
    absent, present = check_locations(configured(f"locations: {{raw: {tmp_path}, proc: {tmp_path}/nothing}}"))
    assert (present.state, present.told) == ("ok", str(tmp_path))
    assert (absent.state, absent.what) == ("warn", "location proc")
    assert "locations.proc" in absent.fix


def test_a_disk_with_room(tmp_path: Path) -> None:
    room, kind = check_disk(configured(), Places(tmp_path / "endpoints" / "lab"))
    assert (room.state, kind.state) == ("ok", "ok")


@pytest.mark.parametrize(
    ("free", "inodes", "words"), [(10**6, 10**6, "make room"), (10**7, 5, "delete files"), (10**7, 0, "")]
)
def test_a_disk_that_is_nearly_full(
    free: int, inodes: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = SimpleNamespace(f_bavail=free, f_frsize=1000, f_files=inodes * 2, f_favail=inodes)
    monkeypatch.setattr(os, "statvfs", lambda _: told)
    room, _ = check_disk(configured(), Places(tmp_path / "endpoints" / "lab"))
    assert (words in room.fix) if words else room.state == "ok"
    assert room.state == ("warn" if words else "ok")


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "endpoints").write_text("no directory")
    (finding,) = check_disk(configured(), Places(tmp_path / "endpoints" / "lab"))
    assert finding.state == "FAIL" and finding.fix


@pytest.mark.parametrize(("kind", "state"), [("lustre", "ok"), ("nfs4", "ok"), ("ext4", "warn")])
def test_compute_nodes_must_see_the_directory(
    kind: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_site, "file_system_of", lambda _: kind)
    _, finding = check_disk(configured("profile: slurm\n"), Places(tmp_path / "endpoints" / "lab"))
    assert (finding.state, kind in finding.told) == (state, True)


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = check_scheduler(configured("profile: slurm\n"), Places(tmp_path / "endpoints" / "lab"))
    assert finding.state == "FAIL" and "no command squeue" in finding.told
