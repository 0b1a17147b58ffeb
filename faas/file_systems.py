"""What kind of file system a path is on, and what that means: for locks, for sharing, for being told of changes."""

from __future__ import annotations

import os
from pathlib import Path

NETWORK = frozenset(
    (
        *("afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "glusterfs"),
        *("gpfs", "lustre", "nfs", "nfs4", "orangefs", "panfs", "pvfs2", "smb3", "virtiofs", "wekafs", "9p"),
    )
)
"""Shared between hosts: locks are not to be trusted there, and what other hosts write raises no event here."""


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that holds a path.

    Args:
        path: need not exist.
        mounts: the table of what is mounted where.

    Returns:
        ``ext4``, ``nfs4``, …; empty if it cannot be told.

    Example:
        >>> file_system_of(Path("/proc"))
        'proc'
    """
    try:
        table = mounts.read_text()
    except OSError:
        return ""
    target = os.path.realpath(path)
    best, kind = "", ""
    for line in table.splitlines():
        _, mount_point, mount_type, *_ = line.split(" ")
        mount_point = mount_point.replace("\\040", " ")
        inside = target == mount_point or target.startswith(mount_point.rstrip("/") + "/")
        if inside and len(mount_point) >= len(best):
            best, kind = mount_point, mount_type
    return kind
