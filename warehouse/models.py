"""Models: one SQL file per published table, whose header is the table's only description.

The header becomes the table (names and types), its comments, the rows of `reference.dictionary` and
docs/reference/dictionary.md, so that none of them can say anything else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from pipelines.base.duck import literal, quote

_COLUMN = re.compile(r"^  (?P<name>[a-z][a-z0-9_]*) (?P<type>[A-Z]+(?:\[\])?) - (?P<text>\S.*)$")
_FIELD = re.compile(r"^(?P<name>grain|key|kind|holds): (?P<value>\S.*)$")
_TYPES = frozenset(
    {"VARCHAR", "BIGINT", "INTEGER", "DOUBLE", "BOOLEAN", "TIMESTAMP", "DATE", "VARCHAR[]"}
)

#: Columns that tell who wrote a row, not what it says.
RUN_COLUMN = "run_id"


@dataclass(frozen=True)
class Column:
    """A column of a published table: name, DuckDB type, and what it means in one sentence."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Model:
    """A published table or view.

    Attributes:
        schema: schema of the warehouse.
        name: table or view.
        kind: a view is computed when it is read, from the published tables.
        purpose: what it is for, one paragraph.
        grain: "One row per ...".
        key: the columns that no two rows share.
        holds_patients: whether `row_level = "none"` leaves it empty.
        columns: in order.
        sql: the query that fills it.
    """

    schema: str
    name: str
    kind: Literal["table", "view"]
    purpose: str
    grain: str
    key: tuple[str, ...]
    holds_patients: bool
    columns: tuple[Column, ...]
    sql: str

    @property
    def full_name(self) -> str:
        """Schema and name, as in `signals.risk`."""
        return f"{self.schema}.{self.name}"

    @property
    def comment(self) -> str:
        """Text of the table's comment; ends with the grain."""
        return f"{self.purpose} {self.grain}"

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def content_columns(self) -> tuple[str, ...]:
        """Names of the columns that say something of the world: all but `run_id`."""
        return tuple(name for name in self.column_names if name != RUN_COLUMN)

    def create_sql(self, catalog: str) -> str:
        """Return CREATE TABLE for this table in a catalog."""
        columns = ", ".join(f"{quote(column.name)} {column.type}" for column in self.columns)
        return f"CREATE TABLE {self.target(catalog)} ({columns})"

    def target(self, catalog: str) -> str:
        """Return the quoted full name in a catalog."""
        return f"{catalog}.{quote(self.schema)}.{quote(self.name)}"

    def comments_sql(self, catalog: str) -> Iterator[str]:
        """Yield COMMENT statements for the table and each column."""
        target = self.target(catalog)
        yield f"COMMENT ON {self.kind.upper()} {target} IS {literal(self.comment)}"
        for column in self.columns:
            where = f"{target}.{quote(column.name)}"
            yield f"COMMENT ON COLUMN {where} IS {literal(column.comment)}"


class ModelError(ValueError):
    """A model file does not describe its table; a fault of ours, never of a user."""


def parse(text: str, file_name: str) -> Model:
    """Parse a model file.

    Errors:
        ModelError: the header lacks a part, a column has no comment, or name and file differ.
    """
    header, _, body = text.partition("\n\n")
    lines = [line.removeprefix("--").removeprefix(" ") for line in header.splitlines()]
    if any(not line.startswith("--") for line in header.splitlines()) or not body.strip():
        raise ModelError(f"{file_name}: a comment block, an empty line and a query are needed")
    about, separator, columns = "\n".join(lines).partition("\ncolumns:\n")
    if not separator:
        raise ModelError(f"{file_name}: no `columns:`")
    title, *rest = about.splitlines()
    if f"{title}.sql" != file_name or title.count(".") != 1:
        raise ModelError(f"{file_name}: the first line must be the file's name, schema.table")
    fields = {m["name"]: m["value"] for m in map(_FIELD.match, rest) if m}
    purpose = " ".join(line for line in rest if line and not _FIELD.match(line))
    schema, name = title.split(".")
    model = Model(
        schema=schema,
        name=name,
        kind="view" if fields.get("kind") == "view" else "table",
        purpose=purpose,
        grain=fields.get("grain", ""),
        key=tuple(part.strip() for part in fields.get("key", "").split(",")),
        holds_patients=fields.get("holds") == "patients",
        columns=tuple(_column(line, file_name) for line in columns.splitlines()),
        sql=body.strip(),
    )
    _check(model, file_name)
    return model


def _column(line: str, file_name: str) -> Column:
    match = _COLUMN.match(line)
    if not match or match["type"] not in _TYPES:
        raise ModelError(f"{file_name}: not `name TYPE - meaning`: {line}")
    return Column(match["name"], match["type"], match["text"])


def _check(model: Model, file_name: str) -> None:
    if not model.purpose:
        raise ModelError(f"{file_name}: says no purpose")
    if not re.fullmatch(r"One row per .*\.", model.grain):
        raise ModelError(f"{file_name}: the grain must read `One row per ... .`")
    if unknown := set(model.key) - set(model.column_names):
        raise ModelError(f"{file_name}: key names no column: {', '.join(sorted(unknown))}")
    if len(set(model.column_names)) < len(model.columns):
        raise ModelError(f"{file_name}: a column is listed twice")


@cache
def load_models() -> tuple[Model, ...]:
    """Return all models, tables before views, each group by name."""
    return _in_folder("models")


@cache
def pooled_models() -> tuple[Model, ...]:
    """Return the models of `pooled.duckdb`, by name; none of them is in a site's warehouse."""
    return _in_folder("pooled")


def _in_folder(name: str) -> tuple[Model, ...]:
    folder = resources.files("warehouse") / name
    files = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    models = [parse(entry.read_text(encoding="utf-8"), entry.name) for entry in files]
    return tuple(sorted(models, key=lambda model: (model.kind == "view", model.full_name)))


def model(full_name: str) -> Model:
    """Return one model by `schema.table`.

    Errors:
        KeyError: there is none.
    """
    return {found.full_name: found for found in load_models()}[full_name]


def in_schemas(*schemas: str) -> tuple[Model, ...]:
    """Return the tables (not views) of some schemas."""
    return tuple(
        found for found in load_models() if found.kind == "table" and found.schema in schemas
    )


@cache
def models_hash() -> str:
    """Return the SHA-256 of all models: a changed description or query is another warehouse."""
    digest = hashlib.sha256()
    for found in load_models():
        digest.update(repr(found).encode())
    return digest.hexdigest()
