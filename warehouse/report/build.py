"""The page: parts put together, written in one rename, and told from the warehouse's state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.base.site import Site
from pipelines.ingest.log import EventLog
from warehouse.query import open_reader
from warehouse.report import (
    answer,
    attrition,
    completeness,
    effect,
    laboratory,
    looks,
    onset,
    published,
    strata,
    words,
)
from warehouse.report.mark import mark
from warehouse.report.page import Figure, Page, Section, StudyPart
from warehouse.report.read import Row, Source
from warehouse.report.render import Written, render, write_page
from warehouse.told import EXPORTED, Told, load_told, save_told

FILE = "index.html"


def write_report(warehouse: Path, out: Path, min_cell: int, site: Site | None = None) -> Written:
    """Write the report of a published warehouse as one file that needs no other.

    Args:
        warehouse: published file.
        out: the page; replaced whole.
        min_cell: smallest count that is shown.
        site: whose page it is: figures stay until their change may be told, and what is told is
            recorded. None: the page stands for itself, and is held against no other.

    Errors:
        NotKnownError: what the site has told last is not known; the page is as it was.
        StorageError: the warehouse cannot be read, or the page not be written.
    """
    told = (
        None if site is None else load_told(site, EventLog(site.log_root).recorded.rows(EXPORTED))
    )
    with open_reader(warehouse) as con:
        source = Source(con, min_cell, told)
        page = make_page(source)
    if site is not None and told is not None:
        page = replace(page, told=_record(site, told, source, page.state))
    docs = f"data_docs/{FILE}" if (out.parent / "data_docs" / FILE).is_file() else ""
    return write_page(out, render(page, mark(page.state, min_cell), docs))


def _record(site: Site, told: Told, source: Source, state: str) -> int:
    """Record what the page is about to tell; return the number of that state."""
    now = replace(
        told, state=state, releases=source.releases, figures=source.held.now, moved=source.moved
    )
    if now.to_json() != told.to_json():
        now = replace(now, number=told.number + 1)
        save_told(site, now)
    return now.number


def make_page(source: Source) -> Page:
    """Return what the report tells of a warehouse."""
    facts = source.facts()
    is_synthetic = facts.get("is_synthetic") == "true"
    parts = tuple(_study(source, study, place) for place, study in enumerate(source.studies()))
    whole = Section(
        "completeness",
        "How complete the records are",
        "What was not told cannot be counted: look here before believing that a risk fell.",
        (completeness.calendar(source),),
    )
    return Page(
        facts["site_id"],
        is_synthetic,
        facts["state_hash"],
        _facts(source, facts),
        parts,
        (whole,),
        closing=(
            f"Counts from 1 to {source.min_cell - 1} are not shown, nor what would tell them. The "
            "warehouse beside this page has all numbers; it stays at the hospital.",
            "A figure is told anew only when its change may be told: it can be older than the "
            "warehouse.",
        ),
    )


def _facts(source: Source, facts: dict[str, str]) -> dict[str, str]:
    (run,) = source.rows(
        "SELECT max(started_at) AS started_at FROM ops.run "
        "WHERE run_id = (SELECT value FROM ops.state WHERE name = 'published_by_run')"
    )
    return {
        "Hospital": facts["site_id"],
        "Published by the run begun": words.instant(run["started_at"]),
        "Run": facts["published_by_run"],
        "Software": f"Dripwatch {facts['software_version']}",
        "State": facts["state_hash"],
        "Smallest count shown": f"{source.min_cell}",
    }


def _study(source: Source, study: Row, place: int) -> StudyPart:
    study_id = study["study_id"]
    prefix = f"s{place + 1}"
    masked = source.risks(study)
    risks = [row for row in masked if row["is_headline"]]
    outcome = answer.main_outcome(source, study, risks)
    found = answer.answers(risks, outcome) if outcome else ()
    return StudyPart(
        prefix,
        study["title"],
        _window(source, study_id, outcome),
        found,
        answer.cards(source, study),
        tuple(_sections(source, study_id, masked, prefix)),
    )


def _window(source: Source, study_id: str, outcome: str | None) -> str:
    rows = source.rows(
        "SELECT * FROM reference.window WHERE study_id = ? AND outcome = ? "
        "ORDER BY window_name <> 'risk', window_name LIMIT 1",
        [study_id, outcome],
    )
    return words.window_words(rows[0]) if rows else ""


def _sections(source: Source, study_id: str, masked: list[Row], prefix: str) -> Iterator[Section]:
    """Yield the sections of a study, in the order of the page."""
    risks = [row for row in masked if row["is_headline"]]
    whole = [row for row in risks if row["stratum"] == "all"]
    units = {
        f"{row['outcome']}/{row['window_name']}": row["n_units"] for row in whole if row["n_units"]
    }
    is_current = all(row["is_current"] for row in whole if row["n_units"])
    patients = {row["n_patients"] for row in whole if row["n_patients"]}

    def section(name: str, title: str, *figures: Figure) -> Section:
        return Section(f"{prefix}-{name}", title, figures=figures)

    divided = [strata.by_stratum(risks, stratum, title, prefix) for stratum, title in strata.STRATA]
    yield section("risk", "Risk of each outcome", strata.all_outcomes(risks, prefix), *divided)
    yield section("onset", "When it begins", *onset.curves(source, risks, prefix))
    yield section("laboratory", "Laboratory values", *laboratory.bands(source, study_id, prefix))
    yield section("watch", "Surveillance over time", *looks.charts(source, study_id, prefix))
    yield section(
        "effect",
        "Bone density and fractures",
        *(effect.effect(source, study_id, one, patients, prefix) for one in effect.MEASURES),
    )
    compared = published.benchmark(source, study_id, masked, prefix)
    yield section("literature", "Against the literature", compared)
    flow = attrition.flow(source, study_id, units, prefix, is_current=is_current)
    yield section("flow", "Who is counted", flow)
