"""Cells as text: what is no text is set aside, padding is taken off."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.flat.model import FileRule


def trimmed(column: pa.Array[Any]) -> pa.Array[Any]:
    """Return texts without the blanks that hospital systems pad cells with."""
    if not pa.types.is_string(column.type):
        return column
    return pc.utf8_trim_whitespace(column)


def as_text(
    batch: pa.RecordBatch,
    rows: npt.NDArray[np.int64],
    rule: FileRule,
    unreadable: list[tuple[int, str]],
) -> pa.RecordBatch:
    """Return a batch of bytes as text; rows with broken bytes are set aside."""
    names = ["source_row", *batch.schema.names]
    try:
        texts = [column.cast(pa.string()) for column in batch.columns]
    except pa.ArrowInvalid:
        broken = _broken_rows(batch)
        for index in broken:
            raw = rule.delimiter.join(
                (column[index].as_py() or b"").decode("utf-8", "replace")
                for column in batch.columns
            )
            unreadable.append((int(rows[index]), raw))
        whole = np.ones(batch.num_rows, dtype=bool)
        whole[broken] = False
        rows = rows[whole]
        kept = batch.filter(pa.array(whole))
        texts = [column.cast(pa.string()) for column in kept.columns]
    return pa.RecordBatch.from_arrays([pa.array(rows), *map(trimmed, texts)], names=names)


def _broken_rows(batch: pa.RecordBatch) -> list[int]:
    broken = set()
    for column in batch.columns:
        try:
            column.cast(pa.string())
        except pa.ArrowInvalid:
            broken |= {i for i, cell in enumerate(column.to_pylist()) if not is_utf8(cell)}
    return sorted(broken)


def is_utf8(cell: bytes | None) -> bool:
    """Whether bytes are UTF-8."""
    try:
        (cell or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
