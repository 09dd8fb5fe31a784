"""The two that answer a spec row: the product, in one Beam pipeline, and the reference."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import apache_beam as beam
import duckdb
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.linkage.kernel import OUTPUTS, LinkageInput, link_bucket
from pipelines.linkage.transform import ATTRITION, LinkInfusions, Work
from tests.linkage_cases import event_tables
from tests.reference import Row as ReferenceRow
from tests.reference import UnitRow, link_patient
from tests.spec.expected import Answer, Fields, last_day_of
from tests.spec.grammar import story_of
from tests.spec.settings import outcome_name, studies_of, study_id
from tests.spec.tables import Row, rows_of
from tests.spec.times import Clock
from tests.unmeasured import unmeasured

Tables = dict[str, dict[tuple[str, str], list[Fields]]]


class Spec:
    """Spec files that are answered together: one study per whole-study setting, one pipeline."""

    def __init__(self, files: Iterable[str], only: str | None = None) -> None:
        rows = [row for file in files for row in rows_of(file)]
        self.rows = [row for row in rows if only in {None, row.case}]
        self.stories = {row.key: story_of(row) for row in self.rows}
        self.studies = studies_of(self.rows)

    @cached_property
    def linked(self) -> Tables | Exception:
        """All patients under all studies: rows by table, study and patient.

        What went wrong is kept, so that it is not tried again for every row.
        """
        try:
            return self._linked()
        except Exception as error:
            return error

    def _linked(self) -> Tables:
        told = self.stories
        through = tuple(
            (key, event_type, instant)
            for key, story in told.items()
            for event_type, instant in story.feeds.items()
        )
        inputs = [
            LinkageInput(study, through, patients_implied=is_implied(name))
            for name, study in self.studies.items()
        ]
        with tempfile.TemporaryDirectory() as folder:
            works = [
                Work(one, str(self._shard(one.study.id, Path(folder))), f"{folder}/{one.study.id}")
                for one in inputs
            ]
            return _run(works, Path(folder) / "counts.json")

    def _shard(self, study: str, folder: Path) -> Path:
        """Write the events of the patients that a study is asked about."""
        keys = {
            row.key for row in self.rows for by in row.resolutions if study_id(row, by) == study
        }
        shard = folder / f"{study}_shard"
        shard.mkdir()
        tables = event_tables(self.stories[key].patient for key in sorted(keys))
        for event_type, table in tables.items():
            pq.write_table(table, shard / f"{event_type}.parquet")
        return shard


def is_implied(study: str) -> bool:
    """Whether a patient exists by being named, in the study of that id."""
    return "patients_implied" in study


def _run(works: list[Work], counts: Path) -> Tables:
    """Run one pipeline, without the risks: here every patient is a site, and so a stratum."""
    failed = counts.with_name("failed.json")
    options = PipelineOptions(["--no_pipeline_type_check"])
    with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
        created = pipeline | beam.Create(works, reshuffle=False)
        outputs = created | LinkInfusions()
        counted = outputs["counts"] | beam.MapTuple(lambda name, rows: (name, list(rows.items())))
        for name, merged, path in (
            ("counts", counted, counts),
            ("failed", outputs["failed"], failed),
        ):
            listed = merged | f"{name} list" >> beam.combiners.ToList()
            _ = listed | f"{name} file" >> beam.Map(_dump, str(path))
    if problems := json.loads(failed.read_text(encoding="utf-8")):
        _link_plainly(works[0])
        msg = f"linkage failed: {problems}"
        raise RuntimeError(msg)
    found = {
        table: _read([f"{work.out}/{table}.parquet" for work in works])
        for table in OUTPUTS
        if table != "linkage.evidence"
    }
    found["linkage.attrition"] = {}
    told = dict(json.loads(counts.read_text(encoding="utf-8")))
    for (study, site, _, step), [n] in told[ATTRITION]:
        row = {"step": step, "n": n}
        found["linkage.attrition"].setdefault((study, site), []).append(row)
    found["denominators"] = {}
    for key, sums in told["signals.counts"]:
        study, site, outcome, window, stratum, _, denominator = key
        if stratum == "site" and sums[0]:
            row = {"outcome": outcome, "window": window, "denominator": denominator}
            found["denominators"].setdefault((study, site), []).append(row)
    return found


def _link_plainly(work: Work) -> None:
    """Link outside of Beam, whose DoFn hides why it failed."""
    link_bucket(Path(work.shard), work.given, Path(work.out))


def _dump(rows: list[Any], path: str) -> None:
    Path(path).write_text(json.dumps(rows), encoding="utf-8")


def _read(paths: list[str]) -> dict[tuple[str, str], list[Fields]]:
    table = duckdb.read_parquet(paths)
    found: dict[tuple[str, str], list[Fields]] = {}
    for row in table.fetchall():
        fields = dict(zip(table.columns, row, strict=True))
        found.setdefault((fields["study_id"], fields["site_id"]), []).append(fields)
    return found


def by_product(spec: Spec, row: Row, resolution: str) -> Answer:
    """What the product found of a row's patient."""
    clock, name = spec.stories[row.key].clock, outcome_name(row)
    at = (study_id(row, resolution), row.key)
    found = spec.linked
    if isinstance(found, Exception):
        raise found
    tables = {table: rows.get(at, []) for table, rows in found.items()}
    units = sorted(
        tables["linkage.course"],
        key=lambda one: (one["started_at"], one["ended_at"], one["ordinal_in_record"]),
    )
    place = {one["unit_id"]: number for number, one in enumerate(units)}
    rows = {
        (place[one["unit_id"]], one["window_name"]): _product_row(clock, one)
        for one in tables["linkage.unit_outcome"]
        if one["outcome"] == name
    }
    prefix = "left out: "
    totals = {
        "n_units": len(units),
        "n_administrations": len(tables["linkage.infusion"]),
        "denominators": {
            one["denominator"]
            for one in tables["denominators"]
            if (one["outcome"], one["window"]) == (name, "risk")
        },
        "left_out": {
            one["step"].removeprefix(prefix): one["n"]
            for one in tables["linkage.attrition"]
            if one["step"].startswith(prefix)
        },
    }
    return Answer([_product_unit(one, tables["linkage.infusion"]) for one in units], rows, totals)


def _product_row(clock: Clock, row: Fields) -> Fields:
    told = row | {"not_flags": row["flags"]}
    told["onset_day"] = None if row["onset_at"] is None else clock.day_of(row["onset_at"])
    if row["cut_at"] is not None:
        told["last_day"] = last_day_of(clock, row["cut_at"])
    return told


def _product_unit(unit: Fields, infusions: list[Fields]) -> Fields:
    [first, *_] = [one for one in infusions if one["unit_id"] == unit["unit_id"]]
    return unit | {
        "ordinal": unit["ordinal_in_record"],
        "is_interrupted": "interrupted" in unit["flags"],
        "is_tie": "tie" in unit["flags"],
        "is_dispensed_undated": "dispensed_undated" in unit["flags"],
        "dose_value": first["dose_value"],
    }


def by_reference(spec: Spec, row: Row, resolution: str) -> Answer:
    """What the plain reference says of a row's patient; what it does not tell is left out."""
    story, name = spec.stories[row.key], study_id(row, resolution)
    with unmeasured():
        units, found = link_patient(
            story.patient.events,
            spec.studies[name],
            story.feeds,
            patients_implied=is_implied(name),
        )
    place = {one.key: number for number, one in enumerate(units)}
    rows = {
        (place[one.unit], one.window): _reference_row(story.clock, one)
        for one in found
        if one.outcome == outcome_name(row)
    }
    totals = {
        "n_units": len(units),
        "n_administrations": sum(one.n_infusions for one in units),
    }
    return Answer([_reference_unit(one) for one in units], rows, totals)


def _reference_unit(unit: UnitRow) -> Fields:
    return dataclasses.asdict(unit) | {"is_interrupted": unit.interrupted}


#: Fields of the reference's rows that are called as the product's are.
_SAME = (
    "status", "grade", "baseline_value", "is_observed", "is_tested", "cut_reason", "is_worsened",
    "is_pre_existing", "n_events", "n_events_uncleaned", "person_days", "at_risk_days",
    "at_risk_days_uncleaned", "n_candidate_units", "serious_criteria", "is_treated", "measure",
    "baseline_measure",
)  # fmt: skip


def _reference_row(clock: Clock, row: ReferenceRow) -> Fields:
    told = {name: getattr(row, name) for name in _SAME}
    if row.onset is not None:
        told["onset_day"] = (row.onset.first - clock.day_0).days
        if not (row.onset.is_day or row.is_by_days):
            told["onset_at"] = row.onset.at
    return told
