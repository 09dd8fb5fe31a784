"""How cells and quotes are written in one CSV."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from pipelines.sources.flat.model import FileRule

Flags = npt.NDArray[np.bool_]
LF, CR = 10, 13


class Grammar:
    """How cells and quotes are written in one file, as expressions over bytes."""

    def __init__(self, rule: FileRule) -> None:
        self.quote, self.escape = rule.quote.encode(), rule.escape.encode()
        self.delimiter = rule.delimiter.encode()
        self.spans = bool(rule.quote) and rule.newlines_in_cells
        d, q, e = (re.escape(sign) for sign in (self.delimiter, self.quote, self.escape))
        escaped = rb"|" + e + rb"[^\r\n]" if e else b""
        plain = rb"(?:[^\r\n" + d + e + b"]" + escaped + b")*+"
        cell, bare = plain, e + rb"[^\r\n]" if e else rb"(?!)"
        self._open = None
        if q:
            inner = rb"[^" + q + e + (b"" if self.spans else rb"\r\n") + b"]"
            inner += rb"|" + e + (rb"[\s\S]" if self.spans else rb"[^\r\n]") if e else rb"|" + q * 2
            inside = b"(?:" + inner + b")*+"
            cell = b"(?:" + q + inside + q + b"|(?!" + q + b")" + plain + b")"
            bare = b"(?:^|(?<=" + d + b"))" + q + inside + q + b"|" + bare
            half = b"(?:" + q + (b"|" + e if e else b"") + b")?"
            tail = b"(?:" + q + inside + half + b"|" + plain + (e + b"?" if e else b"") + b")"
            self._open = re.compile(b"(?:" + cell + d + b")*+" + tail + rb"\Z")
        self._record = re.compile(cell + b"(?:" + d + cell + rb")*+(?=[\r\n])")
        self._bare = re.compile(bare)
        self._escaped = re.compile(e + rb"[\s\S]" if e else rb"(?!)")

    def end(self, block: bytes, start: int) -> int | None:
        """Return where the well-formed record at a place ends (its line end); None if it is not.

        A quote in the middle of a cell is text, but only with another beside it: a lone one may be
        half of a cell that another line holds the rest of.
        """
        if not (found := self._record.match(block, start)):
            return None
        text = self._escaped.sub(b"", found[0])
        odd = bool(self.quote) and text.count(self.quote) % 2 == 1
        return None if odd else found.end()

    def is_open(self, block: bytes, start: int) -> bool:
        """Whether the block ends within the record at a place, so far well-formed."""
        return bool(self._open and self._open.match(block, start))

    def n_cells(self, record: bytes) -> int:
        """Return the number of cells of a well-formed record."""
        return self._bare.sub(b"", record).count(self.delimiter) + 1

    def misplaced(
        self, data: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64], opens: Flags
    ) -> Flags:
        """Return which quotes neither open a cell at its start nor close it at its end."""
        beside = np.where(opens, quotes - 1, quotes + 1)
        inside = (beside >= 0) & (beside < len(data))
        sign = np.where(inside, data[np.clip(beside, 0, len(data) - 1)], LF)
        fits: Flags = (sign == self.delimiter[0]) | (sign == LF) | (sign == CR)
        if not self.escape:  # a doubled quote closes and opens at once
            fits |= sign == self.quote[0]
        return ~fits
