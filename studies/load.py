"""Reading a study folder: study.toml, its code lists, tables of limits and published.csv."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.base.errors import ConfigError
from studies.check import find_mistakes
from studies.check_codes import CodeRow
from studies.draft import read_draft
from studies.limit_tables import limit_files, numbered_rows, tables_used
from studies.model import StudyModel
from studies.outcomes import CompositeOutcome, Episodic, LabOutcome, Outcome
from studies.published import published_mistakes, published_values, read_published
from studies.sentences import outcome_sentences, window_words

HERE = Path(__file__).parent
CODELIST_COLUMNS = ("concept", "event_type", "code_system", "code", "match", "label", "source")

#: Event types that an outcome reads besides the infusions themselves, by what it looks at.
_REPORTS = ("AdverseEventReported", "DiagnosisRecorded")


class ConceptRow(NamedTuple):
    """One code that means a concept in events of one type; `match` is exact or prefix."""

    event_type: str
    code_system: str
    code: str
    match: str
    concept: str


@dataclass(frozen=True)
class Study:
    """A study as read from its folder.

    Attributes:
        model: the checked content of study.toml.
        codelist: rows of codelists/*.csv, columns CODELIST_COLUMNS.
        limits: rows of limits/*.csv by table name: its own, and those that all studies may use.
        folder: where it was read from; not part of its identity.
        published: rows of published.csv, columns PUBLISHED_COLUMNS.
    """

    model: StudyModel
    codelist: tuple[dict[str, str], ...]
    limits: dict[str, tuple[dict[str, str], ...]]
    folder: Path = field(compare=False)
    published: tuple[dict[str, str], ...] = ()

    @property
    def id(self) -> str:
        """Short name of the study."""
        return self.model.study.id

    @cached_property
    def settings_json(self) -> str:
        """Every setting in force, defaults included, as canonical JSON."""
        return json.dumps(self.model.model_dump(mode="json"), sort_keys=True)

    @cached_property
    def study_hash(self) -> str:
        """SHA-256 of settings, codes, limits in use and published.csv: what a result depends on."""
        codes, published = list(self.codelist), list(self.published)
        content = [self.settings_json, codes, self.limits_in_use, published]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def limits_in_use(self) -> list[tuple[str, tuple[dict[str, str], ...]]]:
        """The tables of limits that an outcome uses, by name."""
        used = sorted({one.table for one in tables_used(self.model)})
        return [(name, self.limits[name]) for name in used if name in self.limits]

    def concept_rows(self) -> list[ConceptRow]:
        """Return the study's codes."""
        return [
            ConceptRow(
                row["event_type"], row["code_system"], row["code"], row["match"], row["concept"]
            )
            for row in self.codelist
        ]

    def outcome(self, name: str) -> Outcome:
        """Return an outcome by name."""
        return next(one for one in self.model.outcome if one.name == name)

    def reads(self, outcome: Outcome) -> tuple[str, ...]:
        """Return the event types that an outcome reads, infusions included, sorted."""
        types = {"InfusionRecorded"}
        if isinstance(outcome, CompositeOutcome):
            for name in (name for group in outcome.of for name in group):
                types.update(self.reads(self.outcome(name)))
        if isinstance(outcome, LabOutcome):
            types.add("LabResulted")
        if isinstance(outcome, Episodic) and outcome.report_concepts:
            types.update(_REPORTS)
        if outcome.kind in {"fever", "vital_limit"}:
            types.add("VitalSignMeasured")
        return tuple(sorted(types))

    def reference_tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of reference.study, .outcome, .window, .codelist and .published."""
        head = self.model.study
        return {
            "study": [
                {
                    "study_id": self.id,
                    "title": head.title,
                    "version": head.version,
                    "study_hash": self.study_hash,
                    "settings_json": self.settings_json,
                }
            ],
            "outcome": [
                {
                    "study_id": self.id,
                    "outcome": one.name,
                    "label": one.label,
                    "kind": one.kind,
                    "is_published": one.publish,
                    "definition": one.model_dump_json(exclude={"name", "label", "window"}),
                    "in_words": " ".join(outcome_sentences(self, one)),
                }
                for one in self.model.outcome
            ],
            "window": [
                {
                    "study_id": self.id,
                    "outcome": one.name,
                    "window_name": window.name,
                    "start_anchor": window.start_anchor,
                    "start_offset_hours": window.start_offset_hours,
                    "end_anchor": window.end_anchor,
                    "end_offset_hours": window.end_offset_hours,
                    "overlap": one.overlap,
                    "resolution": head.resolution,
                    "in_words": window_words(self.model, window),
                }
                for one in self.model.outcome
                for window in one.window
            ],
            "codelist": [{"study_id": self.id, **row} for row in self.codelist],
            "published": [{"study_id": self.id, **published_values(row)} for row in self.published],
        }


def shipped_studies() -> list[str]:
    """Return the names of the studies that come with the package."""
    return sorted(path.parent.name for path in HERE.glob("*/study.toml"))


def study_folder(name_or_path: str, root: Path | None = None) -> Path:
    """Return the folder of a study: a path (relative to `root`) or the name of a shipped one.

    Errors:
        ConfigError: there is neither.
    """
    path = Path(name_or_path)
    candidate = path if path.is_absolute() or root is None else root / path
    if (candidate / "study.toml").is_file():
        return candidate
    if (HERE / name_or_path / "study.toml").is_file():
        return HERE / name_or_path
    raise ConfigError(
        f"There is no study {name_or_path!r}.",
        where=str(candidate),
        remedy=f"Name a folder that holds a study.toml, or one of: {', '.join(shipped_studies())}.",
    )


def load_study(name_or_path: str, root: Path | None = None) -> Study:
    """Read and check a study.

    Errors:
        ConfigError: every mistake of all its files at once, each with file, line and remedy.
    """
    folder = study_folder(name_or_path, root)
    draft = read_draft(folder / "study.toml")
    codes, unreadable = _read_codes(folder)
    published, illegible = read_published(folder)
    mistakes = [*draft.mistakes, *unreadable, *illegible]
    if draft.model is not None:
        rows = tuple(one.row for one in published)
        limits = _read_limits(folder)
        study = Study(draft.model, tuple(one.row for one in codes), limits, folder, rows)
        mistakes += find_mistakes(study, codes, draft.lines, is_whole=not unreadable)
        mistakes += published_mistakes(draft.model, published, is_sound=not mistakes)
    if mistakes or draft.model is None:
        mistakes.sort(key=_by_place)
        more = "" if len(mistakes) == 1 else f" ({len(mistakes)} mistakes)"
        raise ConfigError(
            f"The study is wrong{more}:\n" + "\n".join(f"  {one}" for one in mistakes),
            where=str(folder),
            remedy="Mend the lines above; docs/reference/study.md lists every key, and "
            "`dripwatch study check` tries again.",
        )
    return study


def _by_place(mistake: str) -> tuple[bool, str, int]:
    """Order mistakes by file, study.toml first, and by line."""
    file, _, rest = mistake.partition(":")
    line = rest.partition(":")[0]
    return file != "study.toml", file, int(line) if line.isdigit() else 0


def _read_codes(folder: Path) -> tuple[list[CodeRow], list[str]]:
    """Return the rows of the code lists, and what cannot be read of them."""
    codes: list[CodeRow] = []
    mistakes = []
    for path in sorted((folder / "codelists").glob("*.csv")):
        name = f"codelists/{path.name}"
        try:
            rows = list(numbered_rows(path))
        except ConfigError as error:
            mistakes.append(f"codelists/{error.where}: {error.what} {error.remedy}")
            continue
        if rows and tuple(rows[0][1]) != CODELIST_COLUMNS:
            mistakes.append(f"{name}:1: the columns must be: {', '.join(CODELIST_COLUMNS)}")
            continue
        codes += [CodeRow(f"{name}:{line}", row) for line, row in rows]
    return codes, mistakes


def _read_limits(folder: Path) -> dict[str, tuple[dict[str, str], ...]]:
    """Return the rows of each table; none of one that cannot be read, which its check says."""
    limits = {}
    for name, path in limit_files(folder).items():
        try:
            limits[name] = tuple(row for _, row in numbered_rows(path))
        except ConfigError:
            limits[name] = ()
    return limits
