"""Records of a CSV kept apart before a parser sees them.

Parsers are lenient with quotes: one that is never closed swallows the records after it, and text
after a closing one is glued to the cell. Either gives a patient another's value. So each line is
held to the rule first; one that breaks it is replaced by a stand-in that no parser can read, and
is so quarantined under its own number. Lines are looked at as columns; a Python object exists only
for suspicious ones.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
from pathlib import Path

import numpy as np

from pipelines.base.errors import DeliveryError
from pipelines.sources.flat.grammar import CR, LF, Grammar
from pipelines.sources.flat.model import FileRule
from pipelines.sources.flat.texts import is_utf8
from pipelines.sources.rows.content import Utf8Content, damaged, reading

#: The longest record that can be read, in bytes.
LONGEST = 8 << 20
#: Bytes that are looked at together.
_CHUNK = 4 << 20
_BOM = b"\xef\xbb\xbf"


class WholeRecords(io.RawIOBase):
    """A CSV's content in which every record that breaks the rule of quotes has a stand-in.

    Attributes:
        error: what stopped it; kept, since a parser may pass it on as another.
    """

    def __init__(
        self,
        content: Utf8Content,
        rule: FileRule,
        where: str,
        n_columns: int | None = None,
        longest: int = LONGEST,
    ) -> None:
        super().__init__()
        self._content, self._rule, self._where = content, rule, where
        self._n_columns, self._longest = n_columns, longest
        self._grammar = Grammar(rule)
        # no file can hold it by chance or on purpose
        self._token = secrets.token_hex(12)
        self._aside: list[bytes] = []
        self._pending = self._ready = b""
        self._started = self._ended = False
        self.error: DeliveryError | None = None

    def original(self, text: str) -> str | None:
        """Return the record that a stand-in stands for; None for any other text."""
        found = re.search(f"{self._token}:([0-9]+)", text)
        return self._aside[int(found[1])].decode("utf-8", "replace") if found else None

    def readable(self) -> bool:
        """Return True: pyarrow asks."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # any buffer
        """Fill a buffer with the next bytes; 0 at the end."""
        while not self._ready and not self._ended:
            self._fetch()
        taken = self._ready[: len(buffer)]
        self._ready = self._ready[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _fetch(self) -> None:
        chunk = self._content.read(_CHUNK)
        self._ended = not chunk
        self._pending += chunk
        if not self._started and (self._ended or len(self._pending) >= len(_BOM)):
            self._started = True
            self._pending = self._pending.removeprefix(_BOM)
        is_cut = self._ended and bool(self._pending) and self._pending[-1] not in b"\r\n"
        if is_cut:
            self._pending += b"\n"
        is_cut = is_cut and not self._rule.last_line_may_lack_newline
        done = self._spanning(is_cut) if self._grammar.spans else self._lines(is_cut)
        self._pending = self._pending[done:]
        if len(self._pending) > self._longest:
            mb = self._longest >> 20
            raise self._stop(f"A record is longer than {mb} MB (a quote that is never closed?).")

    def _stop(self, what: str) -> DeliveryError:
        self.error = damaged(self._where, what)
        return self.error

    def _stand_in(self, record: bytes) -> bytes:
        self._aside.append(record)
        cells = self._grammar.delimiter if self._n_columns == 1 else b""
        return f"{self._token}:{len(self._aside) - 1}".encode() + cells

    def _is_sound(self, block: bytes, start: int, end: int) -> bool:
        """Whether the record at a place ends where it should, and a parser can hand it over."""
        if self._grammar.end(block, start) != end:
            return False
        record = block[start:end]
        # a record with broken bytes and too few cells cannot be handed over as text
        return (
            is_utf8(record)
            or self._n_columns is None
            or self._grammar.n_cells(record) == self._n_columns
        )

    def _lines(self, is_cut: bool) -> int:  # noqa: FBT001 - private
        """Pass on the whole lines that are there; return how many bytes they are."""
        done = max(self._pending.rfind(b"\n"), self._pending.rfind(b"\r")) + 1
        block = self._pending[:done]
        parts, passed = [], 0
        for start, end in self._suspects(block, is_cut):
            if (is_cut and end == done - 1) or not self._is_sound(block, start, end):
                parts += [block[passed:start], self._stand_in(block[start:end])]
                passed = end
        self._ready = b"".join([*parts, block[passed:]])
        return done

    def _suspects(self, block: bytes, is_cut: bool) -> list[tuple[int, int]]:  # noqa: FBT001
        """Return start and end of each line that has to be looked at."""
        quote, escape = self._grammar.quote, self._grammar.escape
        has_quote, has_escape = bool(quote) and quote in block, bool(escape) and escape in block
        is_text = is_utf8(block)
        if not (has_quote or has_escape or is_cut) and is_text:
            return []
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero((data == LF) | (data == CR))
        starts = np.append(0, ends[:-1] + 1)
        odd = np.zeros(len(ends), dtype=bool)
        if has_quote:
            quotes = np.flatnonzero(data == quote[0])
            line = np.searchsorted(ends, quotes)
            counts = np.bincount(line, minlength=len(ends))
            nth = np.arange(len(quotes)) - np.repeat(np.cumsum(counts) - counts, counts)
            odd |= counts % 2 == 1
            odd[line[self._grammar.misplaced(data, quotes, nth % 2 == 0)]] = True
        if has_escape:
            odd[np.searchsorted(ends, np.flatnonzero(data == escape[0]))] = True
        if not is_text:
            odd[np.searchsorted(ends, np.flatnonzero(data >= 0x80))] = True  # not ASCII
        if is_cut:
            odd[-1] = True
        return list(zip(starts[odd].tolist(), ends[odd].tolist(), strict=True))

    def _spanning(self, is_cut: bool) -> int:  # noqa: FBT001 - private
        """Do as `_lines` where a quoted cell may hold line ends."""
        block = self._pending
        done = None if is_cut else self._well_formed(block)
        if done is None:
            return self._one_by_one(block, is_cut)
        if self._ended and done < len(block):
            raise self._stop("A quote of a delivered file is never closed.")
        self._ready = block[:done]
        return done

    def _well_formed(self, block: bytes) -> int | None:
        """Return where the last whole record ends; None where records need a closer look."""
        escape = self._grammar.escape
        if (escape and escape in block) or not is_utf8(block[: _last_line(block)]):
            return None
        data = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(data == self._grammar.quote[0])
        if self._grammar.misplaced(data, quotes, np.arange(len(quotes)) % 2 == 0).any():
            return None
        ends = np.flatnonzero((data == LF) | (data == CR))
        closed = ends[np.searchsorted(quotes, ends) % 2 == 0]
        return int(closed[-1]) + 1 if len(closed) else 0

    def _one_by_one(self, block: bytes, is_cut: bool) -> int:  # noqa: FBT001 - private
        parts, start, last = [], 0, _last_line(block)
        while start < last:
            end = self._grammar.end(block, start)
            if end is None and self._grammar.is_open(block, start):
                if self._ended:
                    raise self._stop("A quote of a delivered file is never closed.")
                break
            stop = _line_end(block, start) if end is None else end
            sound = self._is_sound(block, start, stop) and not (is_cut and stop == len(block) - 1)
            record = block[start:stop]
            parts += [record if sound else self._stand_in(record), block[stop : stop + 1]]
            start = stop + 1
        self._ready = b"".join(parts)
        return start


def _last_line(block: bytes) -> int:
    return max(block.rfind(b"\n"), block.rfind(b"\r")) + 1


def _line_end(block: bytes, start: int) -> int:
    found = [at for sign in (b"\n", b"\r") if (at := block.find(sign, start)) >= 0]
    return min(found)


def read_header(path: Path, rule: FileRule, where: str) -> tuple[list[str], int]:
    """Return a CSV's column names, and how many records (blank lines too) come before its rows.

    Errors:
        DeliveryError: the file is damaged, empty, or its first record is no header.
    """
    if not rule.header:
        return rule.columns, 0
    with reading(where), Utf8Content(path, rule.encoding) as content:
        whole = WholeRecords(content, rule, where)
        text = io.TextIOWrapper(
            io.BufferedReader(whole), encoding="utf-8", errors="replace", newline=""
        )
        records = csv.reader(
            text,
            delimiter=rule.delimiter,
            quotechar=rule.quote or None,
            escapechar=rule.escape or None,
            doublequote=not rule.escape,
            quoting=csv.QUOTE_MINIMAL if rule.quote else csv.QUOTE_NONE,
        )
        what = "The first record of a delivered file is no header, or is cut off."
        try:
            for blanks, record in enumerate(records):
                if record and whole.original(record[0]) is None:
                    return [name.strip() for name in record], blanks + 1
                if record:
                    raise damaged(where, what)
        except csv.Error:
            raise damaged(where, what) from None
    raise damaged(where, "A delivered file is empty: it has not even a header.")
