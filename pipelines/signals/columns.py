"""Tables of signals from columns of estimates: what is no number becomes null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.signals.intervals import Floats
from pipelines.signals.key import SignalKey


def make_table(schema: pa.Schema, made: Mapping[str, Any], given: pa.Table) -> pa.Table:
    """Return a table of `schema`, each column as it was made, else as it was given.

    Args:
        schema: names and types, in order.
        made: columns by name, arrays or lists; nan and None are null.
        given: rows in the same order with all other columns.
    """
    columns = [
        _column(made[field.name] if field.name in made else given[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: Any, kind: pa.DataType) -> pa.Array[Any]:  # noqa: ANN401 - whatever makes a column
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(kind)
    # `from_pandas` makes nan what it means: no number.
    return pa.array(values, kind, from_pandas=True)


def numbers(table: pa.Table, *names: str) -> tuple[Floats, ...]:
    """Return columns of counts as numbers that can be divided."""
    return tuple(np.asarray(table[name].to_numpy(), dtype=np.float64) for name in names)


def texts(text: str | None, like: Floats) -> NDArray[np.object_]:
    """Return one text, or None, as a column as long as `like`."""
    return np.full(like.shape, text, dtype=object)


def first_note(like: Floats, *reasons: tuple[NDArray[np.bool_], str]) -> NDArray[np.object_]:
    """Return of each row the text of the first reason that holds; None where none does."""
    return np.select(
        [is_so for is_so, _ in reasons],
        [texts(said, like) for _, said in reasons],
        texts(None, like),
    )


def joined_notes(like: Floats, *reasons: tuple[NDArray[np.bool_], str]) -> NDArray[np.object_]:
    """Return of each row the texts of all reasons that hold, in order; None where none does."""
    told = texts("", like)
    for is_so, said in reasons:
        told[is_so & (told != "")] += "; "
        told[is_so] += said
    told[told == ""] = None
    return told


def sorted_by(table: pa.Table, *names: str) -> pa.Table:
    """Return the rows in the order of these columns."""
    return table.sort_by([(name, "ascending") for name in names])


def group_numbers(table: pa.Table, *names: str) -> NDArray[np.intp]:
    """Return for each row the number of its group, from 0: the rows that share these columns."""
    groups = np.zeros(table.num_rows, dtype=np.intp)
    for name in names:
        values = table[name].combine_chunks().dictionary_encode()
        codes = values.indices.to_numpy(zero_copy_only=False)
        # Numbered again each time: the product of many columns' values would not fit.
        _, groups = np.unique(groups * len(values.dictionary) + codes, return_inverse=True)
    return groups


def signal_keys(counts: pa.Table) -> pa.Array[Any]:
    """Return the key of each row of counts, as `SignalKey` writes it."""
    told: list[Any] = [counts[name] for name in SignalKey._fields]
    part = pc.binary_join_element_wise(*told[3:5], "=")
    keys: pa.Array[Any] = pc.binary_join_element_wise(
        *told[:3], part, told[5], "/"
    ).combine_chunks()
    return keys
