"""`dripwatch pool`: packs of several hospitals, verified, compared and pooled into one file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from flows.console import plural
from flows.reply import Reply


def pool(folders: Sequence[Path], out: Path, keys: Path, answer: Reply) -> None:
    """Pool packs into a file; nothing of it changes unless all of them may be pooled.

    Errors:
        PackError: a pack is damaged, not from whom it says, old, or counts another way.
        StorageError: the file can't be written.
    """
    from pipelines.pooling.packs import check_alike, read_pack
    from pipelines.pooling.tables import pooled_tables
    from warehouse.pooling import LEDGER, check_new, ledger_with, read_ledger, write_pooled

    packs = [read_pack(folder, keys) for folder in folders]
    check_alike(packs)
    ledger = read_ledger(out)
    check_new(packs, ledger)
    tables = pooled_tables(packs)
    write_pooled(out, {**tables, LEDGER: ledger_with(packs, ledger)})
    page, failed = write_page(out, sorted(path.stem for path in keys.glob("*.pub")))
    headline = [row for row in tables["pooled.risk"] if row["is_headline"]]
    whole = [row for row in headline if row["stratum"] == "all"]
    answer.result = {
        "sites": [pack.site_id for pack in packs],
        "n_rows": {name: len(rows) for name, rows in tables.items()},
        "report": None if page is None else str(page),
    }
    for row in whole:
        answer.console.say(_line(row))
    masked = sum(row["n_sites_masked"] > 0 for row in headline)
    answer.message = (
        f"{plural(len(packs), 'site')} pooled into {out}; "
        f"{masked} of {plural(len(headline), 'headline row')} have masked counts."
    )
    answer.message += f" The report is {page}." if page else f" {failed}"
    answer.console.say(answer.message)


def write_page(out: Path, known: Collection[str] = ()) -> tuple[Path | None, str]:
    """Write the report beside the pooled file; whatever it fails with, the file is in place.

    Args:
        out: the pooled file.
        known: hospitals whose packs could be verified; where the file says whom a coordinator
            expects, that counts.

    Returns:
        where it is and nothing; or None and why.
    """
    page = out.with_suffix(".html")
    try:
        from warehouse.pooled_report import write_pooled_report

        return write_pooled_report(out, page, known).path, ""
    except Exception as error:  # a page must not cost what was pooled
        # No more than the class: texts of libraries quote what they were given.
        said = f"The report could not be written ({type(error).__name__}); {out} is in place."
        return None, f"{said} Pool again to write it."


def _line(row: dict[str, object]) -> str:
    where = f"{row['outcome']}, {row['window_name']}"
    sites = f"{plural(int(str(row['n_sites'])), 'site')}, {row['n_sites_masked']} masked"
    for names, words in (
        (("risk", "ci_low", "ci_high"), ""),
        (("risk_lowest", "risk_lowest", "risk_highest"), "between "),
    ):
        value, low, high = (row.get(name) for name in names)
        if isinstance(value, float) and isinstance(low, float) and isinstance(high, float):
            told = f"{value:.2%} ({low:.2%}-{high:.2%})" if not words else f"{low:.2%}-{high:.2%}"
            return f"{where}: {words}{told}; {sites}"
    return f"{where}: no number: {row.get('note')}; {sites}"
