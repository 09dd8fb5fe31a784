"""The page of a pooled file: parts put together; a function of the file and of who is known."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

from warehouse.pooled_report import forests, hospitals, looks, others, ratios, risks
from warehouse.pooled_report.read import Pooled, main_window
from warehouse.query import open_reader
from warehouse.report import words
from warehouse.report.page import Page, Section, StudyPart
from warehouse.report.read import Row
from warehouse.report.render import Written, render, write_page

_METHOD = (
    "Risk: binomial-normal model on the events and units that each hospital's are worth given that "
    "infusions cluster in children (adaptive Gauss-Hermite quadrature); the risk of the middle "
    "hospital, so that a large one does not decide alone. Zero events: Clopper-Pearson. One "
    "hospital keeps its own row.",
    "Ratio: mean of the log ratios, each cluster-robust, by restricted maximum likelihood; with "
    "three hospitals or more Hartung and Knapp's interval. I² is the share of the variance that "
    "lies between hospitals, tau² that variance. Fewer than three hospitals: no prediction.",
    "Masked counts: estimated twice, with the fewest and the most events that each hospital that "
    "masks can have. A range is what the number can be; where in it the truth lies, nothing says.",
    "Not here: what hospitals do differently, whom they treat, and outcomes that nobody looked "
    "for. A child who was treated at two hospitals is two children.",
    "Figures were told by packs that each site signed; hospitals tell a figure anew only when its "
    "change may be told, so figures of one page can be of different nights.",
)
_CLOSING = (
    "Masked counts stand in no file that was pooled: each hospital left them out before it signed "
    "its pack.",
)


def write_pooled_report(pooled: Path, out: Path, known: Collection[str] = ()) -> Written:
    """Write the report of a pooled file as one file that needs no other.

    Args:
        pooled: file that `write_pooled` made.
        out: the page; replaced whole.
        known: hospitals whose packs could be verified: of those without one the page says so.

    Errors:
        StorageError: the file cannot be read, or the page not be written.
    """
    with open_reader(pooled) as con:
        page = make_page(Pooled(con), known)
    return write_page(out, render(page, f"pooled {page.state}"))


def make_page(file: Pooled, known: Collection[str] = ()) -> Page:
    """Return what the report tells of a pooled file."""
    n = words.many(len(file.hospitals), "hospital")
    parts = tuple(_study(file, study, place, known) for place, study in enumerate(file.studies()))
    versions = file.rows("SELECT DISTINCT software_version AS v FROM pooled.pack WHERE is_pooled")
    return Page(
        f"{n} pooled",
        any(one.is_synthetic for one in file.hospitals.values()),
        _state(file),
        {
            "Hospitals": words.listed(list(file.hospitals)),
            "Software": words.listed([f"Dripwatch {row['v']}" for row in versions]),
        },
        parts,
        (
            Section(
                "hospitals",
                "Who is in it",
                "Look here before believing that a risk rose or fell, or that hospitals differ.",
                (hospitals.table(file),),
            ),
            Section(
                "masked",
                "What is masked and why",
                "Hospitals leave out counts from 1 to their threshold less one, and whatever "
                "would tell of one. Masked is not zero.",
                (hospitals.masked(file),),
            ),
            Section("method", "Method and limits", words=_METHOD),
        ),
        closing=_CLOSING,
        invented="invented patients, no hospitals",
    )


def _state(file: Pooled) -> str:
    """Return a hash of the packs that were pooled: all that the file was made of."""
    told = [row["pack_sha"] for row in file.rows(_PACKS)]
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:16]


_PACKS = "SELECT pack_sha FROM pooled.pack WHERE is_pooled ORDER BY site_id"


def _study(file: Pooled, study: Row, place: int, known: Collection[str]) -> StudyPart:
    prefix = f"s{place + 1}"
    found = risks.rows(file, study)
    main = next((row for row in found if row["is_main"]), None)
    window = ""
    if main is not None:
        outcome = file.outcomes(study)[main["outcome"]]
        name = main_window(outcome)
        window = words.window_words(next(one for one in outcome["window"] if one["name"] == name))
    return StudyPart(
        prefix,
        study["title"],
        window,
        risks.answers(file, found),
        hospitals.cards(file, known),
        (*_sections(file, found, prefix), *_looks(file, study, prefix)),
        words="Counts of several hospitals, pooled without their patients.",
    )


def _sections(file: Pooled, found: list[Row], prefix: str) -> Iterator[Section]:
    """Yield the sections of a study, in the order of the page."""
    yield Section(f"{prefix}-risk", "Pooled risks", figures=(risks.pooled(found, prefix),))
    plots = tuple(forests.forests(file, found, prefix))
    yield Section(f"{prefix}-forest", "Hospital by hospital", figures=plots)
    plots = tuple(ratios.first_and_later(file, found, prefix))
    yield Section(
        f"{prefix}-ratio",
        "First and later infusions",
        "" if plots else "No hospital tells first and later infusions of an outcome.",
        plots,
    )
    without = others.without_each(file, found, prefix)
    yield Section(f"{prefix}-one-out", "Does one hospital make the result?", figures=(without,))
    compared = others.against(file, found, prefix)
    yield Section(f"{prefix}-sites", "Hospitals compared", figures=(compared,))


def _looks(file: Pooled, study: Row, prefix: str) -> Iterator[Section]:
    """Yield the section of looks, where a coordinator takes any."""
    figure = looks.looks(file, study, prefix)
    if figure is not None:
        yield Section(f"{prefix}-watch", "Surveillance of all hospitals", figures=(figure,))
