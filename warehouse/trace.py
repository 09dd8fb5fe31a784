"""From a number to its rows: what `dripwatch explain` finds in a site store, which it only reads.

A store holds keyed hashes, times, codes and values, and neither names nor texts; what is found here
is of patients all the same, and goes to whoever may read the store and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb

from pipelines.base import vault
from pipelines.base.duck import attach, connect, is_encrypted
from pipelines.base.errors import DripwatchError, ExitCode, StorageError
from pipelines.base.site import Site
from pipelines.linkage.kernel import sql_files
from pipelines.signals.key import SignalKey
from warehouse.guard import guarded
from warehouse.layout import LINKED_BATCHES, batch_ids, layout_hash

Row = dict[str, Any]

_COUNTS_FILE = "13_counts.sql"


class UnknownKeyError(DripwatchError):
    """A key that names nothing, or more than one thing; it is not repeated, lest it be an id."""

    exit_code = ExitCode.USAGE


@contextmanager
def reading(site: Site) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attach a site's store as `store`, for reading.

    Errors:
        StorageError: there is none, or another version made it.
        LockedError: a run is writing to it.
    """
    path = site.store_path
    if not path.is_file():
        raise StorageError(
            "There is no site store yet.",
            where=str(path),
            remedy="Make it: `dripwatch refresh --config site.toml`.",
        )
    with (
        guarded("explaining a number", path),
        connect(memory_limit=site.resources.memory_limit, temp_dir=site.spill) as con,
    ):
        if vault.encrypts(path) and not is_encrypted(path):
            raise StorageError(
                "The site store is not encrypted, and site.toml says that it is.",
                where=str(path),
                remedy="Refresh once: it is made anew from the log.",
            )
        attach(con, path, "store", read_only=True)
        known = con.execute("SELECT value FROM store.ops.state WHERE name = 'layout_hash'")
        if known.fetchone() != (layout_hash(),):
            raise StorageError(
                "Another version of Dripwatch made the site store.",
                where=str(path),
                remedy="Refresh once with this version: `dripwatch refresh --config site.toml`.",
            )
        yield con


def refuse_unlinked(con: duckdb.DuckDBPyConnection) -> None:
    """Refuse a store whose results were made from other records than it holds now.

    A run that was stopped between the two leaves it so: a result would be explained by a version
    of a record that it was not made from.

    Args:
        con: see `reading`.

    Errors:
        StorageError: nothing is linked yet, or not from all that the store holds.
    """
    told = con.execute(
        "SELECT value FROM store.ops.state WHERE name = $name", {"name": LINKED_BATCHES}
    ).fetchone()
    held = batch_ids(con, "store.ops.batch")
    linked = json.loads(told[0]) if told else None
    if linked == held:
        return
    raise StorageError(
        "Nothing is linked yet in this site store."
        if linked is None
        else "The site store holds records that its results were not made from: they are linked "
        f"from {len(set(linked) & set(held))} of {len(held)} batches.",
        where="site store",
        remedy="Refresh, then ask again: `dripwatch refresh --config site.toml`. The last run was "
        "stopped before its end; the published warehouse still answers.",
    )


def rows_of(
    con: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None
) -> list[Row]:
    """Return the rows of a query as dictionaries."""
    found = con.execute(sql, dict(values or {}))
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def trace_signal(
    con: duckdb.DuckDBPyConnection, text: str, *, limit: int, offset: int = 0
) -> dict[str, Any]:
    """Return what a row of `signals.risk` says, how it is defined, and the units behind it.

    The units are found by the SQL that counted them (`13_counts`), run again over the linked rows;
    `is_recounted` tells whether it comes to the same numbers.

    Args:
        con: see `reading`.
        text: the signal's key.
        limit: units to return, those with the event first.
        offset: units to skip.

    Errors:
        UnknownKeyError: there is no such signal.
        StorageError: see `refuse_unlinked`.
    """
    refuse_unlinked(con)
    key = SignalKey.parse(text)
    told = rows_of(
        con, "SELECT * FROM store.signals.risk WHERE signal_key = $key", {"key": str(key)}
    )
    if key is None or not told:
        raise _unknown_signal(con, key)
    about = key._asdict()
    _count_again(con, about)
    counted = rows_of(
        con,
        """SELECT n_units, n_events FROM out_counts
        WHERE stratum = $stratum AND stratum_value = $value AND denominator = $denominator""",
        _stratum(key),
    )
    return {
        "signal_key": str(key),
        **about,
        "definition": _definition(con, about),
        "numbers": told[0],
        "is_recounted": [(one["n_units"], one["n_events"]) for one in counted]
        == [(told[0]["n_units"], told[0]["n_events"])],
        "statuses": rows_of(con, _STATUSES, _stratum(key)),
        "units": rows_of(con, _UNITS, {**_stratum(key), "limit": limit, "offset": offset}),
        "n_units": told[0]["n_units"],
    }


def _stratum(key: SignalKey) -> dict[str, str]:
    return {
        "stratum": key.stratum,
        "value": key.stratum_value,
        "denominator": key.denominator,
    }


_STATUSES = """
SELECT status, count(*) AS n_units,
       count(*) FILTER (unit_id IN (SELECT unit_id FROM denominator_unit WHERE d = $denominator))
           AS n_in_denominator
FROM out_unit_outcome
SEMI JOIN (FROM unit_stratum WHERE stratum = $stratum AND stratum_value = $value) AS s
    USING (unit_id)
GROUP BY status ORDER BY status <> 'event', status
"""

_UNITS = """
SELECT u.unit_id, o.status
FROM denominator_unit AS u
JOIN out_unit_outcome AS o USING (unit_id)
SEMI JOIN (FROM unit_stratum WHERE stratum = $stratum AND stratum_value = $value) AS s
    USING (unit_id)
WHERE u.d = $denominator
ORDER BY NOT u.is_event, u.unit_id LIMIT $limit OFFSET $offset
"""


def _count_again(con: duckdb.DuckDBPyConnection, about: Mapping[str, str]) -> None:
    """Run the SQL that counts over the rows of one study, outcome and window."""
    study = {"study_id": about["study_id"]}
    only = {name: about[name] for name in ("study_id", "outcome", "window_name")}
    con.execute(
        "CREATE TEMP TABLE out_course AS FROM store.linkage.course WHERE study_id = $study_id",
        study,
    )
    con.execute(
        """CREATE TEMP TABLE out_unit_outcome AS
        SELECT *, round(person_days * 86400e6)::BIGINT AS person_us FROM store.linkage.unit_outcome
        WHERE study_id = $study_id AND outcome = $outcome AND window_name = $window_name""",
        only,
    )
    con.execute(
        """CREATE TEMP TABLE study_outcome AS
        SELECT outcome, kind FROM store.reference.outcome WHERE study_id = $study_id""",
        study,
    )
    ((settings,),) = con.execute(
        "SELECT settings_json FROM store.reference.study WHERE study_id = $study_id", study
    ).fetchall()
    strata = json.loads(settings)["strata"]
    con.execute("CREATE TEMP TABLE stratum_wanted (stratum VARCHAR)")
    con.executemany("INSERT INTO stratum_wanted VALUES (?)", [(one,) for one in strata["by"]])
    con.execute("CREATE TEMP TABLE two_way (first VARCHAR, second VARCHAR)")
    if strata["two_way"]:
        con.executemany("INSERT INTO two_way VALUES (?, ?)", strata["two_way"])
    con.execute(dict(sql_files())[_COUNTS_FILE])


def _definition(con: duckdb.DuckDBPyConnection, about: Mapping[str, str]) -> dict[str, Any]:
    """Return study, outcome and window as they were in force when the rows were linked."""
    (found,) = rows_of(
        con,
        """SELECT s.title, s.version, s.study_hash, o.label, o.kind, o.definition, w.start_anchor,
            w.start_offset_hours, w.end_anchor, w.end_offset_hours, w.overlap, w.resolution
        FROM store.reference.study AS s
        JOIN store.reference.outcome AS o USING (study_id)
        JOIN store.reference.window AS w USING (study_id, outcome)
        WHERE s.study_id = $study_id AND o.outcome = $outcome AND w.window_name = $window_name""",
        {name: about[name] for name in ("study_id", "outcome", "window_name")},
    )
    return {**found, "definition": json.loads(found["definition"])}


def _unknown_signal(con: duckdb.DuckDBPyConnection, key: SignalKey | None) -> UnknownKeyError:
    """Return an error that names a key that would do, where the store has one."""
    near = con.execute(
        """SELECT signal_key FROM store.signals.risk
        ORDER BY study_id = $study DESC, outcome = $outcome DESC, is_headline DESC,
            stratum = 'all' DESC, signal_key LIMIT 1""",
        {"study": key.study_id if key else None, "outcome": key.outcome if key else None},
    ).fetchone()
    return UnknownKeyError(
        "No risk of this site has this key.",
        remedy="Copy one from the warehouse: `select signal_key from signals.risk`"
        + (f". One is `{near[0]}`." if near else "; so far there is none."),
    )
