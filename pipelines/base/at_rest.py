"""What protects patients' data where it lies: modes of files, and the encryption of their disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

#: Anybody but the owner.
OTHERS = 0o077

#: File systems that encrypt by themselves, as /proc/self/mountinfo names them.
_ENCRYPTING = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs"})


def open_to_others(folder: Path) -> Iterator[Path]:
    """Yield a folder and what lies in it, as far as others than its owner may do anything there."""
    if folder.is_dir():
        for path in (folder, *folder.rglob("*")):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # a scratch file that has gone meanwhile
                continue
            if not stat.S_ISLNK(mode) and mode & OTHERS:
                yield path


def close_to_others(folder: Path) -> int:
    """Take every right but the owner's from a folder and what lies in it; return how many had one.

    Errors:
        OSError: one of them belongs to another account.
    """
    found = list(open_to_others(folder))
    for path in found:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
    return len(found)


def is_encrypted(folder: Path, sys_root: Path = Path("/sys"), proc: Path = Path("/proc")) -> bool:
    """Return whether Linux encrypts the disk of a folder: dm-crypt (LUKS) below, or in itself.

    False also where Linux cannot tell: a drive, a cloud's volume or a file server may do it.
    """
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    if _file_system(number, proc) in _ENCRYPTING:
        return True
    block = sys_root / "dev" / "block" / number
    return block.exists() and _is_crypt(block.resolve())


def _file_system(number: str, proc: Path) -> str:
    """Return the type of a mounted file system: the ninth word or later, after a lone dash."""
    try:
        lines = (proc / "self" / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    words = (line.split() for line in lines)
    return next((one[one.index("-") + 1] for one in words if one[2] == number and "-" in one), "")


def _is_crypt(block: Path) -> bool:
    """Return whether a block device is dm-crypt's, or lies wholly on such devices (LVM, RAID)."""
    try:
        if (block / "dm" / "uuid").read_text(encoding="ascii").startswith("CRYPT-"):
            return True
    except OSError:
        pass
    below = block / "slaves"
    slaves = [path.resolve() for path in below.iterdir()] if below.is_dir() else []
    return bool(slaves) and all(_is_crypt(one) for one in slaves)
