"""The bytes of an NDJSON file as Arrow batches of numbered lines, whatever the bytes are.

Line ends are found with numpy, lines become Arrow strings by their offsets; a Python object exists
only for a line with broken bytes. A line longer than `LONGEST` is passed over, never kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.sources.fhir.marks import suspects

#: The longest line that is read, in bytes.
LONGEST = 8 << 20
#: Bytes that are looked at together.
CHUNK = 4 << 20
#: Characters of an unreadable record that the quarantine keeps.
RAW = 100_000
_FIELDS: list[pa.Field[Any]] = [
    pa.field("source_row", pa.int64()),
    pa.field("resource", pa.string()),
    # whether it has to be looked at one by one
    pa.field("is_suspect", pa.bool_()),
]
SCHEMA = pa.schema(_FIELDS)

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t"
_LF, _CR = b"\n\r"


@dataclass
class Reading:
    """What is known of a file after it was read to its end.

    Attributes:
        n_rows: records, unreadable ones included; blank lines are none.
        unreadable: number, reason and text (its start) of each record that is no resource.
        sha256: hash of the decompressed content as it was read.
    """

    n_rows: int = 0
    unreadable: list[tuple[int, str, str]] = field(default_factory=list)
    sha256: str = ""

    def set_aside(self, row: int, reason: str, raw: bytes | str) -> None:
        """Keep a record that is no resource out of the table."""
        text = raw[: 4 * RAW].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
        # a database's text may end at a NUL
        self.unreadable.append((row, reason, text[:RAW].replace("\0", "\ufffd")))


class Lines:
    """Numbered lines of a stream, block by block."""

    def __init__(self, stream: IO[bytes], found: Reading) -> None:
        self._stream, self._found = stream, found
        self._digest = hashlib.sha256()
        self._pending = b""
        self._is_started = self._is_ended = False
        # within a line that is too long: whether anything but blanks was in it so far
        self._skipped: bool | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of `SCHEMA`; `found` is complete after the last."""
        while not self._is_ended:
            block = self._whole_lines()
            if block:
                yield self._batch(block)
            if len(self._pending) > LONGEST:
                self._skipped = False
                self._skip(self._pending)
                self._pending = b""
        self._found.sha256 = self._digest.hexdigest()

    def _whole_lines(self) -> bytes:
        """Return the next whole lines; the rest waits for its end."""
        chunk = self._stream.read(CHUNK)
        self._digest.update(chunk)
        self._is_ended = not chunk
        if self._skipped is not None:
            chunk = self._skip(chunk)
        block = self._pending + chunk
        if not self._is_started and (self._is_ended or len(block) >= len(_BOM)):
            self._is_started = True
            block = block.removeprefix(_BOM)
        done = len(block) if self._is_ended else _last_line(block)
        self._pending = block[done:]
        return block[:done]

    def _skip(self, chunk: bytes) -> bytes:
        """Pass over what belongs to a line that is too long; return what comes after it."""
        ends = [at for sign in (b"\n", b"\r") if (at := chunk.find(sign)) >= 0]
        part = chunk[: min(ends, default=len(chunk))]
        if not self._skipped and part.strip(_BLANKS):
            self._skipped = True
            self._found.n_rows += 1
            self._found.set_aside(self._found.n_rows, "too_long", part.strip(_BLANKS)[:200])
        if not ends:
            return b""
        self._skipped = None
        return chunk[min(ends) + 1 :]

    def _batch(self, block: bytes) -> pa.RecordBatch:
        data = np.frombuffer(block, np.uint8)
        starts, ends = _bounds(block, data)
        is_record = _are_records(data, starts, ends)
        rows = self._found.n_rows + np.cumsum(is_record)
        self._found.n_rows = int(rows[-1])
        is_long = ends - starts > LONGEST
        for at in np.flatnonzero(is_long & is_record).tolist():
            self._found.set_aside(int(rows[at]), "too_long", block[starts[at] :][:200])
        kept = np.flatnonzero(is_record & ~is_long)
        lines = _cut(block, starts, ends).take(2 * kept)
        return self._as_text(rows[kept], lines, suspects(block, starts[kept], ends[kept]))

    def _as_text(
        self,
        rows: npt.NDArray[np.int64],
        lines: pa.Array[Any],
        is_suspect: npt.NDArray[np.bool_],
    ) -> pa.RecordBatch:
        try:
            texts = lines.cast(pa.string())
        except pa.ArrowInvalid:
            is_text = np.array([_is_utf8(line.as_buffer()) for line in lines], dtype=bool)
            for at in np.flatnonzero(~is_text).tolist():
                self._found.set_aside(int(rows[at]), "unreadable_record", lines[at].as_py())
            rows, texts = rows[is_text], lines.filter(pa.array(is_text)).cast(pa.string())
            is_suspect = is_suspect[is_text]
        columns: list[pa.Array[Any]] = [pa.array(rows), texts, pa.array(is_suspect)]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _last_line(block: bytes) -> int:
    return max(block.rfind(b"\n"), block.rfind(b"\r")) + 1


def _bounds(
    block: bytes, data: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return start and end of each line, the line end left out."""
    is_end = data == _LF
    if b"\r" in block:
        is_end |= data == _CR
    ends = np.flatnonzero(is_end)
    if not len(ends) or ends[-1] != len(block) - 1:
        ends = np.append(ends, len(block))
    return np.append(0, ends[:-1] + 1), ends


def _are_records(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether each line holds anything but blanks."""
    is_record = ends > starts
    is_padded = is_record & np.isin(data[starts], list(_BLANKS))
    if is_padded.any():
        is_sign = ~np.isin(data, list(b" \t\r\n"))
        is_record &= np.add.reduceat(is_sign, starts, dtype=np.int64) > 0
    return is_record


def _cut(block: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.Array[Any]:
    """Return lines and line ends by turns, as Arrow bytes that share the block's memory."""
    offsets = np.empty(2 * len(starts) + 1, dtype=np.int32)
    offsets[:-1:2], offsets[1::2], offsets[-1] = starts, ends, len(block)
    buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.binary(), 2 * len(starts), buffers)


def _is_utf8(line: pa.Buffer) -> bool:
    try:
        str(memoryview(line), "utf-8")
    except UnicodeDecodeError:
        return False
    return True
