"""Generations of a site's event log, `log`, `log-2`, `log-3`: the highest number counts.

A generation is the whole log, written anew: under a renewed key, or without a patient. It is built
under another name; the rename that takes that name away is the only point at which it begins to
count, and from then on the older one is only in the way.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pipelines.base.errors import LogError
from pipelines.base.files import fsync_path

_NAME = re.compile(r"log(?:-([1-9]\d*))?")
_BATCH = re.compile(r"[0-9a-f]{64}")
_BUILDING = ".building"


def newest(restricted: Path) -> Path:
    """Return the folder of the generation that counts; `log` where there is none yet."""
    found = _generations(restricted)
    return found[max(found)] if found else restricted / "log"


def is_log(name: str) -> bool:
    """Return whether a folder is called as a generation is, one that is being built among them."""
    return _NAME.fullmatch(built_as(name)) is not None


def built_as(name: str) -> str:
    """Return the name that a generation has or, while it is being built, will have."""
    return name.removesuffix(_BUILDING)


def building(restricted: Path) -> Path:
    """Return the folder that the next generation is to be built in."""
    return restricted / f"log-{max(_generations(restricted), default=1) + 1}{_BUILDING}"


def adopt(built: Path) -> Path:
    """Let a generation that was built count, by one rename; return its folder.

    Errors:
        OSError: it cannot be renamed; the older one counts.
    """
    target = built.with_name(built_as(built.name))
    fsync_path(built)
    built.rename(target)
    fsync_path(target.parent)
    return target


def older(restricted: Path) -> list[Path]:
    """Return the generations that no longer count; one of them may be half removed."""
    found = _generations(restricted)
    return [path for number, path in sorted(found.items()) if number < max(found)]


def check_newest(restricted: Path) -> None:
    """Refuse a newest generation that lacks what an older one has: it didn't come of that.

    Every generation has all of the one before it, by name. An empty folder, or a log that was
    restored in part, would else be taken for the log, and the log removed.

    Errors:
        LogError: it lacks a batch, a recorded fact or the list of forgotten patients.
        OSError: a folder cannot be read.
    """
    has = _names(target := newest(restricted))
    for one in older(restricted):
        if n_lacking := len(_names(one) - has):
            raise LogError(
                f"{target.name} counts, by its number, and lacks {n_lacking} of the batches, "
                f"recorded facts and lists that {one.name} has: it was not made from it.",
                where=str(target),
                remedy="Put there by hand? If it is empty or not whole, move it out of the "
                f"restricted folder, and {one.name} counts again. If {one.name} does not belong "
                "there, move that one out.",
                next_run="stops here again; no log was removed",
            )


def _names(log: Path) -> set[str]:
    """Return what later generations of a log have, too, under the same names."""
    # Nothing else in them is carried on: what file systems and people put there.
    batches = {path for path in log.glob("committed/*") if _BATCH.fullmatch(path.name)}
    facts = {path for path in log.glob("recorded/*/*.avro") if not path.name.startswith(".")}
    return {str(path.relative_to(log)) for path in {*batches, *facts, *log.glob("forgotten.json")}}


def drop_older(restricted: Path) -> int:
    """Remove what is not the newest generation, half-built ones too; return how many there were.

    Errors:
        OSError: a file cannot be removed.
    """
    gone = older(restricted)
    if restricted.is_dir():
        gone += [path for path in restricted.iterdir() if _is_half_built(path)]
    for path in gone:
        shutil.rmtree(path)
    return len(gone)


def _is_half_built(path: Path) -> bool:
    return path.name.endswith(_BUILDING) and bool(_NAME.fullmatch(path.stem)) and path.is_dir()


def _generations(restricted: Path) -> dict[int, Path]:
    if not restricted.is_dir():
        return {}
    named = ((_NAME.fullmatch(path.name), path) for path in restricted.iterdir() if path.is_dir())
    return {int(match[1] or 1): path for match, path in named if match}
