"""A study as the small tables that the linkage SQL reads."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import duckdb

from pipelines.base.duck import insert
from pipelines.linkage.lab_tables import lab_tables
from studies.analytes import analytes
from studies.load import Study
from studies.outcomes import (
    CompositeOutcome,
    Episodic,
    FeverOutcome,
    GradeOutcome,
    LabOutcome,
    Outcome,
    RatioOutcome,
    ThresholdOutcome,
    VitalLimitOutcome,
    WindowTable,
)

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

Rows = list[tuple[Any, ...]]


class Table(NamedTuple):
    """Columns with their DuckDB types, and the rows."""

    columns: str
    rows: Rows


def _us(amount: float | None, unit_us: int) -> int | None:
    return None if amount is None else round(amount * unit_us)


def _whole_days(hours: float) -> int:
    """Return hours as days of the day resolution: ceil(h / 24), so that 72 h are days 0 to 3."""
    return math.ceil(hours / 24)


def _setting(study: Study, *, patients_implied: bool) -> Table:
    model = study.model
    age = model.eligibility.max_age_years
    columns = """
        study_id VARCHAR, resolution VARCHAR, unit VARCHAR, evidence VARCHAR[], routes VARCHAR[],
        bag_gap_us BIGINT, max_infusion_us BIGINT, cover_us BIGINT, grace_us BIGINT,
        patients_implied BOOLEAN, max_age_months DOUBLE, requires_indication BOOLEAN,
        naive_lookback_us BIGINT, contact_grace_us BIGINT, restart_us BIGINT,
        life_threatening_grade INTEGER, stay_excess_us BIGINT, treatment_gap_us BIGINT,
        treatment_gap_days INTEGER, treatment_lookback_us BIGINT, treatment_lookback_days INTEGER,
        premedication_us BIGINT, premedication_days INTEGER, co_infusion_us BIGINT,
        seen_after_us BIGINT, seen_after_days INTEGER"""
    row = (
        study.id,
        model.study.resolution,
        model.study.unit,
        list(model.study.evidence),
        list(model.study.routes),
        _us(model.administration.bag_gap_hours, HOUR_US),
        _us(model.administration.max_infusion_hours, HOUR_US),
        _us(model.administration.cover_days, DAY_US),
        _us(model.administration.baseline_grace_minutes, HOUR_US // 60),
        patients_implied,
        None if age is None else age * 12,
        model.eligibility.requires_indication,
        _us(model.naive.lookback_days, DAY_US),
        _us(model.follow_up.contact_grace_days, DAY_US),
        _us(model.administration.restart_hours, HOUR_US),
        model.serious.life_threatening_grade,
        _us(model.serious.stay_excess_hours, HOUR_US),
        _us(model.treatment.gap_hours, HOUR_US),
        _whole_days(model.treatment.gap_hours),
        _us(model.treatment.lookback_hours, HOUR_US),
        _whole_days(model.treatment.lookback_hours),
        _us(model.strata.premedication_hours, HOUR_US),
        _whole_days(model.strata.premedication_hours),
        _us(model.strata.co_infusion_hours, HOUR_US),
        _us(model.follow_up.seen_after_hours, HOUR_US),
        _whole_days(model.follow_up.seen_after_hours),
    )
    return Table(columns, [row])


def _outcome_row(study: Study, one: Outcome) -> tuple[Any, ...]:
    classes = sorted({drug.drug_class for drug in study.model.drug})
    factor = threshold = operator = ratio = min_rise = None
    if isinstance(one, ThresholdOutcome):
        factor = _to_canonical(one.concept, one.unit)
        threshold, operator = round(one.value * factor[0] + factor[1], 9), one.operator
    if isinstance(one, RatioOutcome):
        ratio = one.ratio
    if isinstance(one, RatioOutcome | GradeOutcome):
        min_rise = one.reporting_resolution and round(2 * one.reporting_resolution, 9)
    return (
        one.name,
        one.kind,
        one.publish,
        list(one.drug_classes) or classes,
        one.same_day,
        getattr(one, "concept", None),
        one.min_grade if isinstance(one, FeverOutcome | GradeOutcome) else 1,
        _gap_us(one),
        _us(one.assume_resolved_days, DAY_US) if isinstance(one, Episodic) else None,
        _us(one.baseline_days, DAY_US) if isinstance(one, LabOutcome) else None,
        operator,
        threshold,
        ratio,
        min_rise,
        _us(one.confirm_minutes, HOUR_US // 60) if isinstance(one, VitalLimitOutcome) else None,
        _us(one.settle_minutes, HOUR_US // 60) if isinstance(one, VitalLimitOutcome) else None,
        1 + one.rise_percent / 100 if isinstance(one, VitalLimitOutcome) else None,
        one.overlap,
        ",".join(sorted(one.drug_classes or classes)) if one.overlap_across_classes else None,
        _us(one.clean_window_days, DAY_US) if isinstance(one, Episodic) else None,
        isinstance(one, Episodic) and one.missing_start == "emergent",
    )


def _gap_us(one: Outcome) -> int | None:
    """Return the gap within one event; null: every record is an event of its own."""
    if not isinstance(one, Episodic) or one.same_episode_gap_hours == "none":
        return None
    return _us(one.same_episode_gap_hours, HOUR_US)


_OUTCOME_COLUMNS = """
    outcome VARCHAR, kind VARCHAR, is_published BOOLEAN, drug_classes VARCHAR[], same_day VARCHAR,
    concept VARCHAR, min_grade INTEGER, gap_us BIGINT, resolved_us BIGINT, baseline_us BIGINT,
    operator VARCHAR, threshold DOUBLE, ratio DOUBLE, min_rise DOUBLE, confirm_us BIGINT,
    settle_us BIGINT, rise_factor DOUBLE, overlap VARCHAR, circle VARCHAR, clean_us BIGINT,
    has_emergent BOOLEAN"""


def _to_canonical(concept: str, unit: str) -> tuple[float, float]:
    return next(
        (row.to_canonical_factor, row.to_canonical_offset)
        for row in analytes()
        if row.concept == concept and row.unit == unit
    )


def _window_row(outcome: str, window: WindowTable) -> tuple[Any, ...]:
    return (
        outcome,
        window.name,
        window.start_anchor,
        _us(window.start_offset_hours, HOUR_US),
        _whole_days(window.start_offset_hours),
        window.end_anchor,
        _us(window.end_offset_hours, HOUR_US),
        _whole_days(window.end_offset_hours),
    )


def _reads(study: Study) -> Rows:
    """One row per simple outcome and event type; required where nothing else could show it."""
    rows: Rows = []
    for one in study.model.outcome:
        if isinstance(one, CompositeOutcome):
            continue
        for event_type in study.reads(one):
            lag = study.model.follow_up.settle_lag_hours.get(event_type, 0)
            is_required = event_type in {"InfusionRecorded", "LabResulted", "VitalSignMeasured"}
            rows.append((one.name, event_type, _us(lag, HOUR_US), is_required))
    return rows


def _never_events(study: Study) -> Rows:
    model = study.model
    listed = [name for group in model.indication for name in group.concepts]
    return [(name,) for name in dict.fromkeys(listed + model.eligibility.never_event_concepts)]


def _composites(study: Study) -> Rows:
    level: dict[str, int] = {}
    rows: Rows = []
    for one in study.model.outcome:
        if not isinstance(one, CompositeOutcome):
            level[one.name] = 0
            continue
        level[one.name] = 1 + max(level[name] for group in one.of for name in group)
        rows += [
            (one.name, level[one.name], one.at_least, index, name)
            for index, group in enumerate(one.of)
            for name in group
        ]
    return rows


def _limits(study: Study, attribute: str, columns: tuple[str, ...]) -> Rows:
    rows: Rows = []
    for one in study.model.outcome:
        if name := getattr(one, attribute, None):
            rows += [(one.name, *(row[c] for c in columns)) for row in study.limits[name]]
    return rows


def study_tables(study: Study, *, patients_implied: bool) -> dict[str, Table]:
    """Return every table of the study by name, ready to be loaded (DuckDB types, plain rows)."""
    model = study.model
    episodic = [one for one in model.outcome if isinstance(one, Episodic)]
    concept = "concept VARCHAR"
    return {
        "setting": _setting(study, patients_implied=patients_implied),
        "concept_map": Table(
            "event_type VARCHAR, code_system VARCHAR, code VARCHAR, match VARCHAR, concept VARCHAR",
            [tuple(row) for row in study.concept_rows()],
        ),
        "study_drug": Table(
            "concept VARCHAR, drug VARCHAR, drug_class VARCHAR, course_gap_us BIGINT",
            [
                (d.concept, d.name, d.drug_class, _us(d.course_gap_hours, HOUR_US))
                for d in model.drug
            ],
        ),
        "study_outcome": Table(_OUTCOME_COLUMNS, [_outcome_row(study, o) for o in model.outcome]),
        "outcome_window": Table(
            """outcome VARCHAR, window_name VARCHAR, start_anchor VARCHAR, start_us BIGINT,
            start_days INTEGER, end_anchor VARCHAR, end_us BIGINT, end_days INTEGER""",
            [_window_row(o.name, window) for o in model.outcome for window in o.window],
        ),
        "outcome_report": Table(
            "outcome VARCHAR, concept VARCHAR, is_chronic BOOLEAN",
            [(o.name, c, c in o.chronic_concepts) for o in episodic for c in o.report_concepts],
        ),
        "outcome_reads": Table(
            "outcome VARCHAR, event_type VARCHAR, lag_us BIGINT, is_required BOOLEAN", _reads(study)
        ),
        "composite": Table(
            """outcome VARCHAR, level INTEGER, at_least INTEGER, group_index INTEGER,
            component VARCHAR""",
            _composites(study),
        ),
        "indication": Table(
            "precedence INTEGER, indication_type VARCHAR, concept VARCHAR",
            [(i, g.type, name) for i, g in enumerate(model.indication) for name in g.concepts],
        ),
        "excluded_concept": Table(concept, [(n,) for n in model.eligibility.excluded_concepts]),
        "never_event_concept": Table(concept, _never_events(study)),
        "outcome_remedy": Table(
            "outcome VARCHAR, concept VARCHAR",
            [(o.name, name) for o in model.outcome for name in o.remedy_concepts],
        ),
        "serious_concept": Table(
            "criterion VARCHAR, concept VARCHAR",
            [
                *(("disability", name) for name in model.serious.disability_concepts),
                *(("important", name) for name in model.serious.important_concepts),
            ],
        ),
        "expected_stay": Table(
            "setting VARCHAR, stay_us BIGINT",
            [(k, _us(hours, HOUR_US)) for k, hours in model.serious.expected_stay_hours.items()],
        ),
        "prior_concept": Table(concept, [(n,) for n in model.naive.prior_concepts]),
        "premedication_concept": Table(
            concept, [(n,) for n in model.strata.premedication_concepts]
        ),
        "co_infusion_concept": Table(concept, [(n,) for n in model.strata.co_infusion_concepts]),
        "age_band": Table(
            "label VARCHAR, from_months INTEGER, until_months INTEGER",
            [(b.label, b.from_months, b.until_months) for b in model.strata.age_band],
        ),
        "stratum_wanted": Table("stratum VARCHAR", [(name,) for name in model.strata.by]),
        "two_way": Table("first VARCHAR, second VARCHAR", list(model.strata.two_way)),
        **{name: Table(*table) for name, table in lab_tables(study).items()},
        "vital_limit_table": Table(
            "outcome VARCHAR, from_months INTEGER, until_months INTEGER, high DOUBLE",
            _limits(study, "limits", ("from_months", "until_months", "high")),
        ),
        "analyte": Table(
            """concept VARCHAR, unit VARCHAR, unit_system VARCHAR, system_unit VARCHAR,
            to_system_factor DOUBLE, to_canonical_factor DOUBLE, to_canonical_offset DOUBLE,
            canonical_unit VARCHAR""",
            [
                (
                    a.concept,
                    a.unit,
                    a.unit_system,
                    a.system_unit,
                    a.to_system_factor,
                    a.to_canonical_factor,
                    a.to_canonical_offset,
                    a.canonical_unit,
                )
                for a in analytes()
            ],
        ),
    }


def load_tables(con: duckdb.DuckDBPyConnection, tables: dict[str, Table]) -> None:
    """Create and fill the tables in a connection."""
    for name, table in tables.items():
        con.execute(f"CREATE TABLE {name} ({table.columns})")
        insert(con, name, table.rows)
