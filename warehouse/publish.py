"""Publishing: the warehouse is built beside the old file and takes its place in one rename.

Readers keep the file that they opened; whoever opens next gets the new one, whole.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.base.duck import attach, connect, database_key, is_encrypted, quote
from pipelines.base.files import replace_durably
from pipelines.base.site import Site
from pipelines.base.sitekey import SiteKey
from pipelines.ingest.forgotten import Forgotten
from warehouse import deidentified, memory
from warehouse.changes import Change, tell
from warehouse.dictionary import dictionary_rows
from warehouse.guard import guarded, transaction
from warehouse.models import Model, load_models, models_hash
from warehouse.store import RunRecord, Store
from warehouse.terms import TERMS

#: Owner and group may read; the file can hold rows of patients.
MODE = 0o640

#: Fact of a published file: the generation of the log that it was made from.
GENERATION = "log_generation"

_PREFIX = ".dripwatch-publish-"


@dataclass(frozen=True)
class Publication:
    """A warehouse that was put in place.

    Attributes:
        path: its file.
        state_hash: hash of its state.
        n_rows: rows per table.
        changes: what it shows differently from the file that was there before.
    """

    path: Path
    state_hash: str
    n_rows: dict[str, int]
    changes: tuple[Change, ...] = ()


def publish(
    store: Store,
    site: Site,
    run_id: str,
    closing: RunRecord | None = None,
    key: SiteKey | None = None,
) -> Publication:
    """Build the warehouse from the store and swap it in.

    Killed at any moment it leaves the old file or the new one in place, both whole, and at most a
    private folder beside it that the next publication removes.

    Args:
        store: open store; its `ops.run` row of `run_id` (if there is one) gets the state hash.
        site: names the file and says whether rows of patients are published.
        run_id: the run that publishes.
        closing: the run's row as readers shall see it; the store's own row is not touched, so that
            a run that is killed here is not told to have ended. None: as it is in the store.
        key: the site's; needed where rows are de-identified, which are numbered under it.

    Errors:
        StorageError: the file cannot be built or replaced; the old one is untouched.
    """
    target = site.warehouse
    store.keep_feeds()
    state = store.state_hash()
    with guarded("publishing the warehouse", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=target.parent))  # 0700
        try:
            built = folder / target.name
            facts = _facts(site, state, run_id)
            told = [] if _lacks_somebody(site) else tell(store.con, target, run_id, facts)
            store.con.execute("UPDATE ops.run SET state_hash = ? WHERE run_id = ?", [state, run_id])
            closing_run = closing.row(state) if closing else None
            n_rows = _build(store.con, built, site, facts, closing_run, key)
            built.chmod(MODE)
            replace_durably(built, target)
            memory.settle(store.con)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Publication(target, state, n_rows, tuple(told))


def publish_if_needed(
    store: Store,
    site: Site,
    run_id: str,
    closing: RunRecord | None = None,
    key: SiteKey | None = None,
) -> Publication | None:
    """Publish unless the file in place already shows the store's state; None where it does."""
    remove_leftovers(site.warehouse.parent)  # one that was killed may have left nothing else to do
    is_as_asked = is_encrypted(site.warehouse) == site.privacy.encrypt_published
    if is_as_asked and published_state(site.warehouse) == store.state_hash():
        with guarded("settling what was published", store.path):
            memory.settle(store.con)  # where a crash kept the run that published from it
        return None
    return publish(store, site, run_id, closing, key)


def published_state(path: Path) -> str | None:
    """Return the state hash that a published file carries; None where there is no readable one."""
    return _published_fact(path, "state_hash")


def _published_fact(path: Path, name: str) -> str | None:
    if not path.is_file():
        return None
    try:
        with connect(threads=1) as con:
            attach(con, path, "published", read_only=True)
            row = con.execute(
                "SELECT value FROM published.ops.state WHERE name = ?", [name]
            ).fetchone()
    except duckdb.Error:
        return None
    return row[0] if row else None


def _lacks_somebody(site: Site) -> bool:
    """Return whether somebody may have been forgotten since the file in place was published.

    What differs between the two would be that patient.
    """
    if not Forgotten(site.log_root).marks():
        return False
    return _published_fact(site.warehouse, GENERATION) != site.log_root.name


def remove_leftovers(folder: Path) -> list[str]:
    """Remove what killed publications left beside the warehouse; return the names.

    The caller holds the site store, so no other publication of this site is at work.
    """
    found = [path for path in folder.glob(_PREFIX + "*") if path.is_dir()]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in found)


def _facts(site: Site, state: str, run_id: str) -> dict[str, str]:
    return {
        "site_id": site.site.id,
        "state_hash": state,
        "software_version": metadata.version("dripwatch"),
        "models_hash": models_hash(),
        "row_level": site.site.row_level,
        "is_synthetic": str(site.site.synthetic).lower(),
        "published_by_run": run_id,
        "settings": json.dumps(settings_of(site)),
        GENERATION: site.log_root.name,
    }


def settings_of(site: Site) -> dict[str, object]:
    """Return the settings that results depend on, besides the studies."""
    own = site.site
    return {
        "zone": own.zone,
        "scope": own.scope,
        "patients": own.patients,
        "feeds": site.feeds.model_dump(mode="json"),
    }


def _build(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    site: Site,
    facts: dict[str, str],
    closing_run: dict[str, object] | None,
    key: SiteKey | None,
) -> dict[str, int]:
    """Fill a new database file from the attached store; closed and checkpointed on return."""
    secret = site.privacy.encrypt_published
    reader_key = database_key(site.warehouse, "published") if secret else ""
    attach(con, path, "published", options=storage_version(), key=reader_key)
    try:
        with transaction(con):
            told = deidentified.judge(con, site)
            with _own_rows(con, facts, closing_run, told), deidentified.numbered(con, told, key):
                n_rows = _run_models(con, told)
        con.execute("CHECKPOINT published")
    except BaseException:
        with suppress(duckdb.Error):  # what it failed with is what must be told
            _detach(con)
        raise
    _detach(con)
    return n_rows


def _detach(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("USE store")
    con.execute("DETACH published")


def storage_version() -> str:
    """Return what ATTACH is told to make a file that every client of analysts opens."""
    # Files of DuckDB 2 do not open in the 1.5 clients that analysts have, unless asked to.
    return "STORAGE_VERSION 'v1.5.0'" if int(duckdb.__version__.split(".")[0]) >= 2 else ""


@contextmanager
def _own_rows(
    con: duckdb.DuckDBPyConnection,
    facts: dict[str, str],
    closing_run: dict[str, object] | None,
    told: deidentified.PublishedRows,
) -> Iterator[None]:
    """Let models read what is not in the store: the dictionary, the file's facts, how it ends."""
    names = pa.table({"name": list(facts), "value": list(facts.values())})
    con.register("dictionary_rows", dictionary_rows())
    con.register("file_facts", names)
    con.register("rows_told", told.table())
    con.register("term_rows", pa.Table.from_pylist([term._asdict() for term in TERMS]))
    con.execute("CREATE OR REPLACE TEMP TABLE closing_run AS FROM store.ops.run LIMIT 0")
    if closing_run:
        marks = ", ".join(f"${name}" for name in closing_run)
        con.execute(
            f"INSERT INTO temp.closing_run ({', '.join(closing_run)}) VALUES ({marks})", closing_run
        )
    try:
        yield
    finally:
        con.unregister("dictionary_rows")
        con.unregister("file_facts")
        con.unregister("rows_told")
        con.unregister("term_rows")
        with suppress(duckdb.Error):  # refused in a transaction that has failed
            con.execute("DROP TABLE IF EXISTS temp.closing_run")


def _run_models(con: duckdb.DuckDBPyConnection, told: deidentified.PublishedRows) -> dict[str, int]:
    models = load_models()
    for schema in sorted({model.schema for model in models}):
        con.execute(f"CREATE SCHEMA published.{quote(schema)}")
    # Views name tables without a catalog, so that the file can be attached under any name.
    con.execute("USE published")
    n_rows = {}
    for model in models:
        if model.kind == "view":
            con.execute(f"CREATE VIEW {quote(model.schema)}.{quote(model.name)} AS {model.sql}")
        else:
            n_rows[model.full_name] = _fill(con, model, told)
        con.execute("; ".join(model.comments_sql("published")))
    return n_rows


def _fill(con: duckdb.DuckDBPyConnection, model: Model, told: deidentified.PublishedRows) -> int:
    con.execute(model.create_sql("published"))
    query: str | None = model.sql
    if model.holds_patients and told.row_level != "internal":
        query = deidentified.rows_sql(model, told) if told.is_told else None
    if query is None:
        return 0
    row = con.execute(f"INSERT INTO {model.target('published')} BY NAME {query}").fetchone()
    return int(row[0]) if row else 0
