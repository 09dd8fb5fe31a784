"""The data dictionary: the models' own words, as rows and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import pyarrow as pa

from warehouse.models import Model, load_models
from warehouse.terms import TERMS

_INTRO = """\
# Data dictionary of the published warehouse

Generated from `warehouse/models/*.sql`; change it there and run `make docs`. The same text is in
the file itself, as comments (`select * from duckdb_columns()`) and as `reference.dictionary`.

Instants (`*_at`) are UTC, dates (`*_date`) are local to the hospital unless the column says UTC,
`n_*` are counts, and null means that it is not known or does not apply.
"""

_SCHEMAS = {
    "analysis": "Views for common questions.",
    "linkage": 'Rows of patients: filled only where site.toml says `row_level = "internal"`.',
    "ops": "What ran, what it read, what it has to announce.",
    "quality": "What was rejected, what is missing, and that every row is accounted for.",
    "reference": "The studies' definitions and this dictionary.",
    "signals": "Counts and the statistics made from them, of published outcomes.",
}


_ROW: tuple[tuple[str, pa.DataType], ...] = (
    ("schema_name", pa.string()),
    ("table_name", pa.string()),
    ("column_position", pa.int64()),
    ("column_name", pa.string()),
    ("data_type", pa.string()),
    ("description", pa.string()),
)


def dictionary_rows() -> pa.Table:
    """Return the rows of `reference.dictionary`: one per table or view and one per column."""
    rows = [row for model in load_models() for row in _rows_of(model)]
    columns = zip(*rows, strict=True)
    return pa.table(
        {name: pa.array(column, kind) for (name, kind), column in zip(_ROW, columns, strict=True)}
    )


def _rows_of(model: Model) -> list[tuple[str, str, int, str | None, str, str]]:
    head = (model.schema, model.name)
    return [
        (*head, 0, None, model.kind, model.comment),
        *(
            (*head, position, column.name, column.type, column.comment)
            for position, column in enumerate(model.columns, start=1)
        ),
    ]


def dictionary_page() -> str:
    """Return docs/reference/dictionary.md."""
    parts = [_INTRO]
    by_schema = sorted(load_models(), key=lambda model: (model.schema, model.name))
    for schema, models in groupby(by_schema, key=lambda model: model.schema):
        parts.append(f"## {schema}\n\n{_SCHEMAS[schema]}\n")
        parts.extend(_section(model) for model in models)
    return "\n".join([*parts, *_words()])


def _words() -> Iterator[str]:
    """Yield the page's last part: values of columns, spelled out."""
    yield "## Words\n\nValues of columns, spelled out; the file has them in `reference.term`.\n"
    for kind, terms in groupby(TERMS, key=lambda term: term.kind):
        yield f"### {kind}\n\n| value | meaning |\n|---|---|"
        yield from (f"| `{term.term}` | {term.meaning} |" for term in terms)
        yield ""


def _section(model: Model) -> str:
    kind = " (view)" if model.kind == "view" else ""
    lines = [
        f"### {model.full_name}{kind}",
        "",
        model.purpose,
        "",
        f"{model.grain} Key: {', '.join(f'`{name}`' for name in model.key)}.",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
        *(
            f"| `{c.name}` | {c.type} | {c.comment.replace('|', chr(92) + '|')} |"
            for c in model.columns
        ),
        "",
    ]
    return "\n".join(lines)
