"""Copying a delivery from an fsspec address into a source's folder."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.base.files import fsync_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def fetch(
    fs: AbstractFileSystem, place: str, files: Mapping[str, tuple[int, str]], inbox: Path
) -> None:
    """Copy a delivery; it appears whole, in one rename, and takes the place of an earlier one.

    A refresh leaves hidden folders alone, and so what a killed copy left; the next removes that.

    Errors:
        OSError: it cannot be read or written, or it changed meanwhile.
    """
    name = posixpath.basename(place.rstrip("/"))
    part, old, target = (inbox / text for text in (f".{name}.part", f".{name}.old", name))
    for scratch in (part, old):
        shutil.rmtree(scratch, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file, (size, _) in sorted(files.items()):
        copy = part / file
        fs.get_file(posixpath.join(place, file), str(copy))
        if copy.stat().st_size != size:
            raise OSError("a file changed while it was copied")
        fsync_path(copy)
    fsync_path(part)
    if target.exists():
        target.rename(old)
    part.rename(target)
    fsync_path(inbox)
    shutil.rmtree(old, ignore_errors=True)
