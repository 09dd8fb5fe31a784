"""The site store: a restricted DuckDB file with the current events of one hospital. A cache.

The event log is the truth. A store that is damaged, or that another version of Dripwatch made, is
put away and filled again from the log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from pipelines.base import vault
from pipelines.base.duck import attach, connect, is_encrypted, threads_for
from pipelines.base.errors import DripwatchError, KeyFileError
from pipelines.base.files import make_private
from pipelines.base.keys import load_key
from pipelines.base.site import Site
from pipelines.ingest.log import EventLog
from warehouse import (
    changes,
    deidentified,
    feeds,
    history,
    intake,
    memory,
    results,
    shards,
    touched,
)
from warehouse.batch import AppliedBatch, Batch, committed_batch
from warehouse.digest import table_digests
from warehouse.guard import (
    READERS_SECONDS,
    broken,
    guarded,
    is_broken,
    is_damage,
    lost_batches,
    patiently,
    transaction,
)
from warehouse.layout import LINKED_BATCHES, batch_ids, create_layout, layout_hash
from warehouse.models import model, models_hash
from warehouse.run import RunRecord as RunRecord  # part of what this module offers

_LAYOUT = "layout_hash"
#: The generation of the log (its folder's name) that the store was filled from.
_GENERATION = "log_generation"
_FIRST = "log"


def damaged_mark(site: Site) -> Path:
    """Return the file that is there where somebody came upon damage inside a site's store."""
    return site.store_path.with_suffix(".damaged")


class Store:
    """The site store, open for one writer; a context manager.

    Whoever reads the file shuts the writer out, so opening waits: a reader must not cost a night.

    Args:
        site: whose store.
        wait_seconds: how long to wait for readers.
        say: told once that somebody is waited for.

    Attributes:
        rebuilt_because: why the store was begun anew on opening; None where it was not.
    """

    def __init__(
        self,
        site: Site,
        *,
        wait_seconds: float = READERS_SECONDS,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.site = site
        self.path = site.store_path
        self._waiting = (wait_seconds, say)
        self.rebuilt_because: str | None = None
        self._con: duckdb.DuckDBPyConnection | None = None

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The connection, with the store attached as `store` and in use."""
        if self._con is None:
            msg = "the store is not open; use it in a `with` statement"
            raise RuntimeError(msg)
        return self._con

    def __enter__(self) -> Store:
        make_private(self.path.parent)
        make_private(self.site.spill)
        if reason := self._open_or_say_why_not():
            self.rebuild()
            self.rebuilt_because = reason
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close()
        if not is_broken(error):
            return
        # Whoever opens it next begins it anew; in this run, an empty one would be taken as it is.
        with guarded("noting that the site store is damaged", self.path):
            damaged_mark(self.site).touch(mode=0o600)
        if not isinstance(error, DripwatchError):
            raise broken("reading the site store", str(self.path)) from None

    def close(self) -> None:
        """Release the file; harmless where it is closed."""
        if self._con is not None:
            self._con.close()
            self._con = None

    def rebuild(self) -> None:
        """Begin an empty store; `apply_missing` then fills it from the log.

        What only the store knew is gone: which run wrote which row.
        """
        with guarded("making the site store", self.path):
            if self._con is not None:
                history.save(self._con, self.site)
            self.close()
            for leftover in (self.path, self.path.with_name(self.path.name + ".wal")):
                leftover.unlink(missing_ok=True)
            self._attach()
            with transaction(self.con):
                create_layout(self.con)
                history.restore(self.con, self.site)
                self.set_state(_LAYOUT, layout_hash())
                self.set_state(_GENERATION, self.site.log_root.name)
            changes.restore(self.con, self.site.warehouse)
            damaged_mark(self.site).unlink(missing_ok=True)

    def _attach(self) -> None:
        self.close()
        self._con = connect(
            memory_limit=self.site.resources.memory_limit, temp_dir=self.site.spill, threads=1
        )
        attach(self._con, self.path, "store")
        self._take_threads_for(0)
        self.path.chmod(0o600)
        self._con.execute("USE store")
        # No result depends on the order of rows; keeping it costs memory and one of two threads.
        self._con.execute("SET preserve_insertion_order = false")

    def _take_threads_for(self, n_more: int) -> None:
        """Work with more than one thread where the store's rows and so many more need them."""
        query = "SELECT coalesce(sum(estimated_size), 0)::BIGINT FROM duckdb_tables()"
        row = self.con.execute(query).fetchone()
        if row and threads_for(row[0] + n_more) is None:
            self.con.execute("RESET threads")

    def _open_or_say_why_not(self) -> str | None:
        if not self.path.exists():
            self.rebuild()
            return None
        if damaged_mark(self.site).exists():
            return "a part of it was not what was written"
        with guarded("opening the site store", self.path):
            try:
                patiently(self._attach, *self._waiting)
                known = self.get_state(_LAYOUT)
                filled_from = self.get_state(_GENERATION) or _FIRST
            except KeyFileError:
                self.close()
                if not EventLog(self.site.log_root).is_under(
                    load_key(self.site), self.site.site.id
                ):
                    raise
                return "it could not be read"  # its header is damaged, and looks like this
            except duckdb.Error as error:
                self.close()
                if is_damage(error):
                    return "it could not be read"
                raise
        if is_encrypted(self.path) != vault.encrypts(self.path):
            return "site.toml has another word on encryption"
        if known != layout_hash():
            return "another version of Dripwatch made it"
        # Batches keep their ids from one generation to the next, so nothing else would tell.
        if filled_from != self.site.log_root.name:
            return "the log has a new generation"
        return None

    def get_state(self, name: str) -> str | None:
        """Return a fact of `ops.state`, None where it was never set."""
        row = self.con.execute("SELECT value FROM ops.state WHERE name = ?", [name]).fetchone()
        return row[0] if row else None

    def set_state(self, name: str, value: str) -> None:
        """Set a fact of `ops.state`."""
        self.con.execute("INSERT OR REPLACE INTO ops.state VALUES (?, ?)", [name, value])

    def state_hash(self) -> str:
        """Return a hash of everything that a publication shows, but for runs.

        Equal whatever the order in which batches came.
        """
        digests = self.con.execute(
            "SELECT name, value FROM ops.state WHERE starts_with(name, ?) ORDER BY name",
            [results.DIGEST],
        ).fetchall()
        parts = {
            "models": models_hash(),
            "site": self.site.site.id,
            "row_level": self.site.site.row_level,
            "synthetic": self.site.site.synthetic,
            "feeds": feeds.state_key(self.site, self.batch_ids()),
            "digests": digests,
        }
        if self.site.site.row_level == "deidentified":
            privacy = self.site.privacy
            parts["rows"] = [deidentified.rules_hash(), privacy.row_columns, privacy.min_cell]
        if self.site.log_root.name != _FIRST:
            parts["generation"] = self.site.log_root.name
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    # Batches -------------------------------------------------------------------------------

    def batch_ids(self) -> list[str]:
        """Return the batches that the store holds, sorted."""
        return batch_ids(self.con)

    def apply(self, batches: Sequence[Batch], run_id: str | None = None) -> list[AppliedBatch]:
        """Apply the batches that the store lacks, each in a transaction of its own.

        Errors:
            LogError, ReconciliationError: the batch at fault left nothing; those before it stay.
            StorageError: the store cannot be written.
        """
        known = set(self.batch_ids())
        applied = []
        self._take_threads_for(
            sum(batch.rows.n_read for batch in batches if batch.batch_id not in known)
        )
        for batch in batches:
            if batch.batch_id in known:
                continue
            with guarded(f"applying batch {batch.batch_id}", self.path), transaction(self.con):
                applied.append(intake.apply_batch(self.con, batch, run_id))
            known.add(batch.batch_id)
        return applied

    def apply_missing(self, log: EventLog, run_id: str | None = None) -> list[AppliedBatch]:
        """Apply the committed batches that the store lacks; this is all there is to recovery.

        Where a mended mapping, a wider scope or a new parser has read files again, the earlier
        reading no longer counts, and the store is filled anew from the log.

        Errors:
            LogError: a batch of the log is damaged; those before it (by export) stay applied. Or
                a batch that the store holds is gone from the log, and nothing replaces it.
            ReconciliationError, StorageError: see `apply`.
        """
        manifests = log.in_force()
        gone = set(self.batch_ids()) - {manifest.batch_id for manifest in manifests}
        if lost := gone - log.replaced():
            raise lost_batches(log.root, sorted(lost))
        if gone:
            self.rebuild()  # it holds readings that a later one replaced
        return self.apply([committed_batch(log, manifest) for manifest in manifests], run_id)

    def data_through(self) -> dict[str, datetime]:
        """Return up to when windows take each event type as complete; see `warehouse.feeds`."""
        self.keep_feeds()
        return feeds.complete_through(self.con)

    def declared_through(self) -> dict[str, datetime]:
        """Return the same by the sources' own word, whether they are quiet or not."""
        self.keep_feeds()
        return feeds.declared_through(self.con)

    def keep_feeds(self) -> None:
        """Count anew what feeds deliver per day, where events or settings have changed."""
        with guarded("counting what feeds deliver", self.path), transaction(self.con):
            feeds.keep_feeds(self.con, self.site, self.batch_ids())

    def export_shards(self, folder: Path, n_buckets: int, only: Path | None = None) -> list[Path]:
        """Write current events as Parquet, one folder per bucket of patients; see `shards`.

        Errors:
            StorageError: the shards cannot be written.
        """
        with guarded("exporting shards", folder):
            return shards.export_shards(self.con, folder, n_buckets, only)

    # Results -------------------------------------------------------------------------------

    def load_linkage(
        self,
        tables: Mapping[str, Sequence[Path]],
        run_id: str,
        relinked: touched.Relinked | None = None,
    ) -> list[results.LoadedTable]:
        """Make linkage and signals equal to Parquet files, in one transaction.

        Args:
            tables: `schema.table` to its files; a table that is not named stays as it is.
            run_id: written on rows that are new or changed; others keep theirs.
            relinked: the patients whose rows of linkage the files hold; None for everybody.

        Errors:
            ValueError: columns or keys are not those of the table's model.
            StorageError: a file cannot be read, or the store cannot be written.
        """
        with guarded("loading linkage", self.path), transaction(self.con):
            memory.keep_before(self.con, touched.begin(self.con, relinked))
            loaded = touched.load(self.con, tables, run_id, relinked)
            self.set_state(LINKED_BATCHES, json.dumps(self.batch_ids()))
        return loaded

    def load_reference(
        self, tables: Mapping[str, Sequence[Mapping[str, object]]]
    ) -> list[results.LoadedTable]:
        """Make `reference.*` equal to the studies' tables, in one transaction.

        Args:
            tables: `reference.study`, `.outcome`, `.window`, `.codelist` (or without the schema)
                to rows.

        Errors:
            ValueError: columns or keys are not those of the table's model.
        """
        loaded = []
        with guarded("loading the studies", self.path), transaction(self.con):
            for name, rows in sorted(tables.items()):
                full_name = name if "." in name else f"reference.{name}"
                results.stage_rows(self.con, model(full_name), rows)
                loaded.append(results.replace_content(self.con, model(full_name), None))
        return loaded

    def state_digests(self) -> dict[str, str]:
        """Return the digest of each table of linkage and signals, as `digest` computes it."""
        return table_digests(self.con, "store")

    # Runs ----------------------------------------------------------------------------------

    def catch_up_runs(self) -> None:
        """Make the rows of the latest runs equal to the log of runs; see `history`.

        Errors:
            StorageError: the log of runs cannot be read, or the store not be written.
        """
        with guarded("reading the log of runs", self.path), transaction(self.con):
            history.catch_up(self.con, self.site)

    def record_run(self, run: RunRecord, result: Mapping[str, Any] | None = None) -> None:
        """Write or overwrite a run's row, in the log of runs first; see `history`.

        Errors:
            StorageError: the log of runs or the store cannot be written.
        """
        with guarded("recording the run", self.path), transaction(self.con):
            history.record_run(self.con, self.site, run, result)
