"""The file system that a path is on, by the table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from faas.file_systems import file_system_of


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """A fake /proc/self/mounts."""
    path = tmp_path / "mounts"
    path.write_text(
        "rootfs / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw,relatime 0 0\n"
        "tmpfs /home/local tmpfs rw 0 0\n"
        "fs /gpfs/my\\040data gpfs rw 0 0\n"
        "proc /proc proc rw 0 0\n"
    )
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/faas", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/faas/registry.db", "nfs4"),
        ("/home/local/registry.db", "tmpfs"),
        ("/homes/ada", "ext4"),
        ("/gpfs/my data/x", "gpfs"),
        ("/home/local/../ada", "nfs4"),
    ],
)
def test_the_file_system_of_a_path(mounts: Path, path: str, kind: str) -> None:
    assert file_system_of(Path(path), mounts) == kind


def test_one_that_cannot_be_told_is_empty(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "none") == ""
