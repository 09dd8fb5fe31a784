"""LinkInfusions: the linkage of all patients as a Beam transform over paths of shards.

Elements are paths, never records: a bucket's rows stay inside the DuckDB database of one DoFn call,
and only counts, which merge, go through a shuffle. Importing this module imports Beam.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.base import parquet
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.storage import refused_by_system, storage_error
from pipelines.linkage.kernel import KEPT, OUTPUTS, LinkageInput, LinkedBucket, link_bucket
from pipelines.linkage.recount import signal_tables
from pipelines.signals.counts import COUNT_TABLES, merge_counts

_ATTRITION_FIELDS: dict[str, pa.DataType] = {
    "study_id": pa.string(),
    "site_id": pa.string(),
    "step_number": pa.int64(),
    "step": pa.string(),
    "n": pa.int64(),
}
ATTRITION_SCHEMA = pa.schema(_ATTRITION_FIELDS)
ATTRITION = "linkage.attrition"
#: What merges over buckets: tables of counts, and the attrition, whose last column is a count.
_SCHEMAS = {name: table.schema for name, table in COUNT_TABLES.items()} | {
    ATTRITION: ATTRITION_SCHEMA
}
_N_KEYS = {name: len(table.keys) for name, table in COUNT_TABLES.items()} | {
    ATTRITION: len(ATTRITION_SCHEMA) - 1
}

_FAILED = "failed-"

Key = tuple[str | int | None, ...]
Sums = tuple[int | None, ...]
Merged = dict[Key, Sums]


class LinkageError(DripwatchError):
    """A bucket of patients could not be linked."""

    exit_code = ExitCode.INTERNAL


@dataclass(frozen=True)
class Work:
    """One study on one shard of patients; `out` is the folder of its Parquet files."""

    given: LinkageInput
    shard: str
    out: str


@dataclass(frozen=True)
class LinkageResult:
    """What linkage gave of the patients it was given.

    Attributes:
        tables: Parquet files by warehouse table, `signals.*` included.
        kept: Parquet files of what the store keeps for the next night (`kernel.KEPT`), by table.
        n_buckets: buckets that were linked.
        n_units: units of all studies.
    """

    tables: dict[str, list[Path]]
    kept: dict[str, list[Path]]
    n_buckets: int
    n_units: int


def _link(work: Work) -> LinkedBucket:
    out = Path(work.out)
    out.mkdir(parents=True, exist_ok=True)
    return link_bucket(Path(work.shard), work.given, out)


class _LinkBucket(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """One work item in, its counts and attrition out; linked rows go to Parquet."""

    def process(self, work: Work) -> Iterator[Any]:
        try:
            linked = _link(work)
        except Exception as error:
            kind, refused = type(error).__name__, refused_by_system(error)
            failed = (kind, work.given.study.id, work.shard, refused)
            yield beam.pvalue.TaggedOutput("failed", failed)
            return
        counted = {**linked.counts, ATTRITION: linked.attrition}
        for name, n_keys in _N_KEYS.items():
            rows = [(row[:n_keys], row[n_keys:]) for row in counted[name]]
            yield beam.pvalue.TaggedOutput("counts", (name, rows))
        yield linked.files


class MergeCounts(beam.CombineFn):  # type: ignore[misc] # Beam is untyped
    """Merge rows of counts, (key, sums) each: rows with equal keys become one.

    An element is all rows of a bucket: a row as an element costs more than counting it did.
    """

    def create_accumulator(self) -> Merged:
        """Return no rows."""
        return {}

    def add_input(self, merged: Merged, rows: Iterable[tuple[Key, Sums]]) -> Merged:
        """Add the rows of a bucket."""
        for key, sums in rows:
            merged[key] = merge_counts((merged[key], sums)) if key in merged else sums
        return merged

    def merge_accumulators(self, accumulators: Iterable[Merged]) -> Merged:
        """Add up what several workers have merged."""
        first: Merged = {}
        for merged in accumulators:
            self.add_input(first, merged.items())
        return first

    def extract_output(self, merged: Merged) -> Merged:
        """Return the rows by key."""
        return merged


class LinkInfusions(beam.PTransform):  # type: ignore[misc] # Beam is untyped
    """Link every work item and merge what merges.

    Input: a PCollection of `Work`. Output: `files` (one mapping of table to path an item),
    `counts` ((name of a table of counts or `linkage.attrition`, {key: sums}), merged) and `failed`
    ((kind of error, study, shard, errno or None) an item that could not be linked).
    """

    def expand(self, works: Any) -> dict[str, Any]:  # noqa: ANN401 - a PCollection
        """Build the transform (called by Beam)."""
        linked = works | "Link" >> beam.ParDo(_LinkBucket()).with_outputs(
            "counts", "failed", main="files"
        )
        return {
            "files": linked.files,
            "failed": linked.failed,
            "counts": linked.counts | "MergeCounts" >> beam.CombinePerKey(MergeCounts()),
        }


def _write_table(rows: Iterable[tuple[Any, ...]], path: str, schema: pa.Schema) -> None:
    ordered = sorted(rows, key=lambda row: tuple(map(str, row)))
    columns = list(zip(*ordered, strict=True)) or [()] * len(schema)
    arrays = [
        pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)
    ]
    parquet.write(pa.Table.from_arrays(arrays, schema=schema), Path(path))


def _counts_path(folder: str, name: str) -> Path:
    return Path(folder) / f"{name}.parquet"


def _write_counts(named: tuple[str, Merged], folder: str) -> str:
    name, merged = named
    rows = [(*key, *sums) for key, sums in merged.items()]
    _write_table(rows, str(_counts_path(folder, name)), _SCHEMAS[name])
    return name


def _write_failed(failed: tuple[str, str, str, int | None], folder: str) -> str:
    """Write one failure: gathering them is twelve more steps, a tenth of linking a small bucket."""
    _, study, shard, _ = failed
    path = Path(folder) / f"{_FAILED}{study}-{Path(shard).name}.json"
    path.write_text(json.dumps(failed), encoding="utf-8")
    return str(path)


def _raise_failed(folder: Path) -> None:
    files = folder.glob(f"{_FAILED}*.json")
    failed = sorted((json.loads(file.read_text(encoding="utf-8")) for file in files), key=str)
    if not failed:
        return
    kind, study, shard, refused = failed[0]
    if refused is not None:
        raise storage_error(refused, "linking patients", f"study {study}, {Path(shard).name}")
    raise LinkageError(
        f"Linking {len(failed)} buckets of patients failed ({kind}).",
        where=f"study {study}, {Path(shard).name}",
        remedy="Free memory or disk and run again; if it fails again, report it."
        if any(word in kind for word in ("Memory", "IO", "OSError"))
        else "Report it with this text and the study; it holds no patient's data.",
        next_run="The last published warehouse stays; the next run links again.",
    )


def run_linkage(shards: list[Path], given: list[LinkageInput], out: Path) -> LinkageResult:
    """Link all shards under all studies with Beam's in-process runner.

    Args:
        shards: folders of `<EventType>.parquet`, whole patients each.
        given: one entry per study.
        out: folder for the results; must be private, it holds rows of patients.

    Errors:
        StorageError: the disk failed under a bucket.
        LinkageError: a bucket failed; nothing of the run may be loaded.
    """
    out.mkdir(parents=True, exist_ok=True)
    works = [
        Work(one, str(shard), str(out / one.study.id / shard.name))
        for one in given
        for shard in shards
    ]
    # By name: the switching DirectRunner would first try to download another runner.
    options = PipelineOptions(["--no_pipeline_type_check"])
    with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
        linked = pipeline | beam.Create(works, reshuffle=False) | "LinkInfusions" >> LinkInfusions()
        _ = linked["counts"] | "CountFiles" >> beam.Map(_write_counts, str(out))
        _ = linked["failed"] | "FailedFiles" >> beam.Map(_write_failed, str(out))
    _raise_failed(out)
    for name in _SCHEMAS if not works else ():
        _write_counts((name, {}), str(out))
    tables = _files(works, OUTPUTS)
    tables[ATTRITION] = [_counts_path(str(out), ATTRITION)]
    studies = [one.study for one in given]
    tables |= signal_tables({n: _counts_path(str(out), n) for n in COUNT_TABLES}, out, studies)
    n_units = sum(parquet.n_rows(path) for path in tables["linkage.course"])
    return LinkageResult(tables, _files(works, KEPT), len(shards), n_units)


def _files(works: list[Work], tables: Iterable[str]) -> dict[str, list[Path]]:
    return {
        table: sorted(Path(work.out) / f"{table}.parquet" for work in works) for table in tables
    }
