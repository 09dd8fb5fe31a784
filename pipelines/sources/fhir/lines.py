"""From a delivered FHIR file, whatever its bytes are, to a table of resources as text.

NDJSON line by line; a Bundle entry by entry; a single resource. What is no resource is set aside
with its number and a reason, and costs no other.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from pipelines.base.duck import quote
from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir import document
from pipelines.sources.fhir.blocks import SCHEMA, Lines, Reading
from pipelines.sources.fhir.shape import shape_of
from pipelines.sources.fhir.suspects import RESOURCE_TYPE, decide
from pipelines.sources.rows.content import damaged, fault, open_content, reading

__all__ = ["FhirFile", "Reading", "load", "open_fhir"]


@dataclass(frozen=True)
class FhirFile:
    """A delivered file, opened far enough to know what it holds.

    Attributes:
        path: the file.
        where: how messages call it; never its name.
        shape: `ndjson`, or `json` (one document: a Bundle, an array of resources, a resource).
    """

    path: Path
    where: str
    shape: Literal["ndjson", "json"]


def open_fhir(path: Path, where: str) -> FhirFile:
    """Look at how a file begins; gzip is seen by content, not by name.

    Errors:
        DeliveryError: it is damaged, empty, an archive, a Git LFS pointer, a web page, or no file.
    """
    with reading(where), open_content(path) as stream:
        return FhirFile(path, where, shape_of(stream, where))


def load(
    con: duckdb.DuckDBPyConnection, file: FhirFile, table: str, sha256: str | None = None
) -> Reading:
    """Fill a temporary table with the resources of a file.

    Args:
        con: connection that gets the table.
        file: an opened file.
        table: name of the table: `source_row BIGINT` (1-based number of the line that is not
            blank, or of the Bundle's entry), `resource_type VARCHAR`, `resource VARCHAR` (JSON).
        sha256: hash that the content must still have; None to leave that out.

    Errors:
        DeliveryError: the file is damaged, or has changed.
    """
    found = Reading()
    _Loading(con, file, found, sha256).run(table)
    decide(con, quote(table), found)
    found.unreadable.sort()
    return found


class _Loading:
    """One run of a file's content through the database, which keeps its errors to itself."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        file: FhirFile,
        found: Reading,
        sha256: str | None,
    ) -> None:
        self._con, self._file, self._found, self._sha256 = con, file, found, sha256
        self._error: Exception | None = None

    def run(self, table: str) -> None:
        """Make the table; rows that have to be looked at have no resource type yet."""
        query = (
            f"CREATE OR REPLACE TEMP TABLE {quote(table)} AS SELECT source_row, "
            f"{RESOURCE_TYPE} AS resource_type, resource FROM delivered"
        )
        with closing(self._guarded()) as batches:
            try:
                stream = pa.RecordBatchReader.from_batches(SCHEMA, batches)
                self._con.register("delivered", stream)
                self._con.execute(query)
            except (duckdb.Error, pa.ArrowException, DeliveryError):
                # the libraries' texts can quote a resource
                where = self._file.where
                what = "A delivered file cannot be read."
                raise self._error or damaged(where, what) from None
            finally:
                self._con.unregister("delivered")

    def _guarded(self) -> Generator[pa.RecordBatch]:
        """Pass batches on; keep an error aside, since it would come back as another library's."""
        try:
            with open_content(self._file.path) as stream:
                if self._file.shape == "ndjson":
                    yield from Lines(stream, self._found).batches()
                else:
                    yield from document.batches(stream, self._found, self._file.where)
            if self._sha256 not in (None, self._found.sha256):
                what = "A delivered file changed while it was being read."
                raise damaged(self._file.where, what)
        except DeliveryError as error:
            self._error = error
            raise
        except (pa.ArrowException, OSError, EOFError, UnicodeError, zlib.error) as error:
            self._error = fault(error, self._file.where)
            raise self._error from None
        except Exception as error:
            self._error = error  # a fault of ours is not the file's
            raise
