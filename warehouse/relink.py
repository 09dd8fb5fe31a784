"""Linking the touched patients of a store, and what everybody's sums are then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.base.files import make_private
from pipelines.linkage.kernel import LinkageInput
from pipelines.linkage.recount import Before, recount, signal_tables
from pipelines.signals.counts import COUNT_TABLES
from warehouse.shards import export_linked
from warehouse.store import Store
from warehouse.touched import Touched

if TYPE_CHECKING:
    from pipelines.linkage.transform import LinkageResult

Linkage = Callable[[list[Path], list[LinkageInput], Path], "LinkageResult"]


def relink(
    store: Store,
    touched: Touched,
    given: Sequence[LinkageInput],
    *,
    n_buckets: int,
    folder: Path,
    run_linkage: Linkage,
) -> LinkageResult:
    """Link the touched; rows of the result are theirs, counts and risks everybody's.

    Args:
        store: whose events; it is closed before linkage begins.
        touched: who is linked.
        given: one entry per study, with what the rest of the store was linked under.
        n_buckets: 1 to 1024.
        folder: private folder for shards and results.
        run_linkage: links shards; `pipelines.linkage.transform.run_linkage`.

    Errors:
        StorageError: a file cannot be written.
        LinkageError: a bucket failed; nothing may be loaded.
    """
    given, out = list(given), folder / "out"
    if touched.is_everybody:
        shards = store.export_shards(folder / "in", n_buckets)
        store.close()
        return run_linkage(shards, given, make_private(out))
    shards = store.export_shards(folder / "in", n_buckets, touched.file)
    before = Before(
        *export_linked(store.con, folder / "before", n_buckets, touched.file, list(COUNT_TABLES))
    )
    store.close()
    linked = run_linkage(shards, given, make_private(out))
    counts = {name: linked.tables[name][0] for name in COUNT_TABLES}
    merged = recount(before, counts, given, out)
    tables = signal_tables(merged, out, [one.study for one in given])
    return replace(linked, tables={**linked.tables, **tables})
