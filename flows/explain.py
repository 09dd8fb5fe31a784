"""`dripwatch explain`: from a number to its units, links, rules and checks, down to file and row.

What is printed is of patients and comes from the restricted store: it is an answer to somebody who
may read that store, goes to standard output alone, and nothing of it is kept or logged
(docs/decisions/092).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import plural, printable
from flows.explain_lines import Row, signal_lines, unit_lines
from flows.lock import holder, lock_path
from flows.reply import Reply, UsageError, may_name
from pipelines.base.errors import ConfigError, LockedError
from pipelines.base.site import Site, load_site

if TYPE_CHECKING:
    import duckdb


def explain(
    config: Path,
    answer: Reply,
    *,
    unit: str | None,
    signal: str | None,
    outcome: str | None = None,
    limit: int = 20,
    offset: int = 0,
) -> None:
    """Explain a unit or a signal of a site.

    Errors:
        UsageError: not exactly one of unit and signal was named.
        UnknownKeyError: the site has no such unit, signal or outcome.
        StorageError, LockedError: the store cannot be read, or a refresh is under way.
    """
    if (unit is None) == (signal is None) or (outcome is not None and unit is None):
        raise UsageError(
            "Name one thing to explain.",
            remedy="Write `--unit KEY` (with `--outcome NAME`, if you like) or `--signal KEY`.",
        )
    from warehouse.trace import reading, trace_signal
    from warehouse.trace_unit import trace_unit

    site = load_site(config)
    may_name(site)
    _refuse_beside_a_run(site)
    with reading(site) as con:
        edited = edited_studies(site, con)
        if signal is not None:
            found = trace_signal(con, signal, limit=limit, offset=offset)
            found["published"] = _published(site, found["signal_key"])
            lines = signal_lines(found, limit, offset)
        else:
            found = trace_unit(con, unit or "", outcome)
            lines = unit_lines(found)
    about = {"site_id": site.site.id, "is_synthetic": site.site.synthetic, "edited_studies": edited}
    answer.result = _plain({**about, **found})
    answer.message = _summary(found)
    heading = [_warning(site)]
    heading += [f"NOTE: the study {name} was edited since; refresh." for name in edited]
    if not answer.as_json:
        answer.console.say("\n".join(printable(line) for line in [*heading, "", *lines]))


def _refuse_beside_a_run(site: Site) -> None:
    """Leave the store to a run: whoever reads it shuts the writer out."""
    if (who := holder(lock_path(site))) is not None:
        raise LockedError(
            f"A refresh of this site is under way: {who}.",
            where=str(lock_path(site)),
            remedy="Explain once it has ended; until then `dripwatch sql` answers from the "
            "published warehouse.",
        )


def edited_studies(site: Site, con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the site's studies that are not as they were when its rows were linked."""
    from studies.load import load_study

    known = dict(con.execute("SELECT study_id, study_hash FROM store.reference.study").fetchall())
    edited = []
    for name in site.site.studies:
        try:
            study = load_study(name, site.root)
        except ConfigError:
            edited.append(name)
            continue
        if known.get(study.id) != study.study_hash:
            edited.append(study.id)
    return edited


def _warning(site: Site) -> str:
    if site.site.synthetic:
        return f"SYNTHETIC: invented patients of site {site.site.id}. Times are UTC."
    return (
        f"Rows of patients from the restricted store of site {site.site.id}: they stay there. "
        "Times are UTC."
    )


def _published(site: Site, key: str) -> dict[str, Any] | None:
    """Return the row as analysts see it; None where there is no warehouse or no such row in it."""
    from warehouse.query import open_reader

    if not site.warehouse.is_file():
        return None
    with open_reader(site.warehouse) as con:
        row = con.execute(
            "SELECT n_units, n_events, risk FROM signals.risk WHERE signal_key = ?", [key]
        ).fetchone()
    return dict(zip(("n_units", "n_events", "risk"), row, strict=True)) if row else None


def _plain(value: Any) -> Any:  # noqa: ANN401 - rows of any table
    """Return rows as JSON-ready values."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def _summary(found: Row) -> str:
    """Return one sentence about what was explained, without any key."""
    if "units" in found:
        return f"A signal over {plural(found['n_units'], 'unit')}."
    return f"A unit of {plural(len(found['infusions']), 'infusion')}."
