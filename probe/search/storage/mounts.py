"""Whether a path is on a network file system, where SQLite's write-ahead log does not work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

NETWORK_TYPES = (
    *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afpfs", "webdav", "afs", "coda"),
    *("lustre", "gpfs", "beegfs", "ceph", "glusterfs", "orangefs", "pvfs2", "panfs", "wekafs", "ocfs2"),
    *("9p", "drvfs", "virtiofs", "vboxsf", "prl_fs", "fakeowner"),
)
"""Types of file systems whose files other machines may open, or that do not share memory between processes."""


def is_on_network(path: PurePath, mounts: Iterable[tuple[str, str]]) -> bool:
    """Whether an absolute `path` is on a network file system, or one in user space (FUSE), given mount points and types."""
    found = ("", "")
    for point, kind in mounts:  # a later mount at the same point covers the earlier one
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    kind = found[1].lower()
    return kind in NETWORK_TYPES or "fuse" in kind


def mounts() -> list[tuple[str, str]]:
    """The mount points of this machine and the types of their file systems; none if the system does not list them."""
    import psutil

    try:
        return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    except OSError:
        return []


def uses_log(path: Path) -> bool:
    """Whether a database in the file `path` may use a write-ahead log."""
    return not is_on_network(path.resolve(), mounts())
