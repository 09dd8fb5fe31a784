"""An extract of unknown layout: which files it has, and what is in them."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.base.duck import connect
from pipelines.base.errors import ConfigError, DeliveryError
from pipelines.sources.profile import fhir, flat, suggest, suggest_fhir
from pipelines.sources.profile.asked import Asked
from pipelines.sources.profile.known import known_codes
from pipelines.sources.profile.report import Problem, Profile
from pipelines.sources.profile.sniff import Sniffed, sniff
from pipelines.sources.rows.folders import listing
from studies.load import Study

#: Codes told per code system.
TOP = 20


def profile(
    path: Path,
    studies: Sequence[Study],
    *,
    min_cell: int = 11,
    top: int = TOP,
    memory_limit: str = "2GB",
    advance: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Return what is in a file or folder.

    Args:
        path: file or folder; a folder is read with its subfolders, links are not followed.
        studies: whose codes count as known.
        min_cell: smallest count that is told.
        top: codes told per code system.
        memory_limit: DuckDB size; what does not fit spills into a private folder that is removed.
        advance: called with a note for each file and table that is done.

    Errors:
        ConfigError: there is no such file or folder.
        DeliveryError: nothing in it could be read.
    """
    paths = _files(path)
    found, problems = _sniffed(paths, advance, is_folder=path.is_dir())
    known = known_codes(studies)
    with tempfile.TemporaryDirectory(prefix="dripwatch-profile-") as spill:
        con = connect(memory_limit=memory_limit, temp_dir=Path(spill))
        try:
            con.execute("SET preserve_insertion_order = false")
            asked = Asked(con, known, min_cell, top, problems, advance)
            flats = _flats([one for one in found if one.kind != "fhir"], asked)
            resources = fhir.describe([one for one in found if one.kind == "fhir"], asked)
        finally:
            con.close()
    if not flats and not resources.tables:
        raise _nothing(problems)
    mappings = {}
    if flats:
        mappings["flat"] = suggest.flat_mapping(flats)
    if resources.tables:
        mappings["fhir"] = suggest_fhir.fhir_mapping(resources)
    return Profile(
        len(paths),
        min_cell,
        (*resources.tables, *(one.table for one in flats)),
        tuple(problems),
        tuple(study.id for study in studies),
        mappings,
    )


def _files(path: Path) -> list[Path]:
    """Return the files of an extract by name; links and hidden files are left alone."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(
            "There is no such file or folder.", where=str(path), remedy="Check the path."
        )
    with listing("the extract's folder"):
        found = sorted(
            one
            for one in path.rglob("*")
            if stat.S_ISREG(one.lstat().st_mode)
            and not any(part.startswith(".") for part in one.relative_to(path).parts)
        )
    if not found:
        raise DeliveryError(
            "The folder holds no file.", where="the extract's folder", remedy="Check the path."
        )
    return found


def _sniffed(
    paths: Sequence[Path], advance: Callable[[str], None], *, is_folder: bool
) -> tuple[list[Sniffed], list[Problem]]:
    found, problems = [], []
    for number, one in enumerate(paths, start=1):
        where = f"file {number} of {len(paths)} by name" if is_folder else "the file"
        try:
            found.append(sniff(one, where))
        except DeliveryError as error:
            problems.append(Problem.of(error))
        advance(f"file {number} of {len(paths)}")
    return found, problems


def _flats(files: Sequence[Sniffed], asked: Asked) -> list[flat.FlatFound]:
    """Describe flat files, those of one layout together."""
    groups: dict[tuple[object, ...], list[Sniffed]] = {}
    for one in files:
        try:
            groups.setdefault(flat.layout(one), []).append(one)
        except DeliveryError as error:
            asked.problems.append(Problem.of(error))
    found = []
    for number, some in enumerate(groups.values(), start=1):
        told = flat.describe(some, f"layout {number}", asked)
        if told is not None:
            found.append(told)
        asked.advance(f"layout {number} of {len(groups)}")
    return found


def _nothing(problems: Sequence[Problem]) -> DeliveryError:
    worst = next((one for one in problems if one.is_fault), problems[0])
    more = f" (so are {len(problems) - 1} others)" if len(problems) > 1 else ""
    return DeliveryError(worst.what, where=worst.where + more, remedy=worst.remedy)
