"""Which lines of JSON have to be looked at one by one, found by numpy over many lines at once.

DuckDB's parser forgives what the standard does not: a key twice in an object (the first counts), a
trailing comma, `NaN`, any depth. All of these show in the signs outside of strings, so quotes and
brackets are all that is looked at. A mark is a suspicion: no line that is wrong in one of these
ways goes without, and few lines that are sound get one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.sources.fhir.strict import DEEPEST

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

#: Bytes that are looked at together: what fits into a processor's cache goes twice as fast.
PART = 1 << 19
_QUOTE, _BACKSLASH, _COLON, _COMMA = b'"\\:,'
_OPEN, _CLOSE = b"[]"
_FOLD = 0xDF  # makes { of [ and } of ]: 0x7B & 0xDF = 0x5B
_CURLY = 0x20
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
_PAD = b"\n" * 16


def suspects(block: bytes, starts: Ints, ends: Ints) -> Flags:
    """Return for each line whether it may have a key twice, be too deep, or be no strict JSON.

    Args:
        block: bytes.
        starts: where each line begins, in order.
        ends: where each line ends, before the next begins. DuckDB has to take a line for valid
            JSON before a missing mark means anything.
    """
    marks = np.zeros(len(starts), dtype=bool)
    first = 0
    while first < len(starts):
        last = max(int(np.searchsorted(ends, starts[first] + PART)), first + 1)
        base = int(starts[first])
        part = block[base : ends[last - 1]] + _PAD
        lines = starts[first:last] - base, ends[first:last] - base
        marks[first:last] = _Part(part, *lines).marks
        first = last
    return marks


class _Part:
    """Some lines: their signs outside of strings, in order.

    Attributes:
        marks: whether each line is suspect.
    """

    def __init__(self, block: bytes, starts: Ints, ends: Ints) -> None:
        self._data = np.frombuffer(block, np.uint8)
        self._starts, self._ends = starts, ends
        self.marks = np.zeros(len(starts), dtype=bool)
        has_escapes = b"\\" in block
        self._find_signs(has_escapes=has_escapes)
        for _ in range(2):  # brackets that do not match show only where all quotes do
            broken = self._broken_lines()
            if not broken.any():
                break
            # quotes that do not match would turn the next lines inside out
            self._data = self._data.copy()
            for at in np.flatnonzero(broken).tolist():
                self._data[starts[at] : ends[at]] = ord(" ")
            self._find_signs(has_escapes=has_escapes)
            self.marks |= broken
        self._mark_depth()
        self._mark_commas()
        self._mark_words()
        self._mark_keys(has_escapes=has_escapes)
        if has_escapes:
            self._mark_nul(block)

    def _find_signs(self, *, has_escapes: bool) -> None:
        """Find every quote, and every bracket outside of strings."""
        data = self._data
        folded = data & _FOLD
        is_sign = (data == _QUOTE) | (folded == _OPEN) | (folded == _CLOSE)
        at = np.flatnonzero(is_sign)
        is_quote = data[at] == _QUOTE
        if has_escapes:
            is_real = ~(is_quote & self._is_escaped(at))
            at, is_quote = at[is_real], is_quote[is_real]
        is_inside = (np.cumsum(is_quote, dtype=np.int32) & 1).astype(bool)
        is_outside = is_quote | ~is_inside
        if not is_outside.all():
            at, is_quote = at[is_outside], is_quote[is_outside]
            is_inside = is_inside[is_outside]
        self._at, self._is_quote, self._is_start = at, is_quote, is_quote & is_inside
        sign = data[at] & _FOLD
        self._is_open = ~is_quote & (sign == _OPEN)
        self._is_close = ~is_quote & (sign == _CLOSE)
        self._depth = np.cumsum(self._is_open.astype(np.int32) - self._is_close)

    def _is_escaped(self, at: Ints) -> Flags:
        """Whether an odd number of backslashes is before each place."""
        found = np.zeros(len(at), dtype=bool)
        left = np.flatnonzero((at > 0) & (self._data[at - 1] == _BACKSLASH))
        back = 1
        while len(left):
            found[left] = back % 2 == 1
            back += 1
            place = at[left] - back
            left = left[(place >= 0) & (self._data[place] == _BACKSLASH)]
        return found

    def _broken_lines(self) -> Flags:
        """Whether quotes or brackets of each line do not match; the parser refuses such a line."""
        bounds = np.append(self._starts, self._ends[-1])
        quotes = np.searchsorted(self._at[self._is_quote], bounds)
        depth = np.append(0, self._depth)[np.searchsorted(self._at, bounds)]
        broken: Flags = (np.diff(quotes) % 2 == 1) | (np.diff(depth) != 0)
        return broken

    def _mark_depth(self) -> None:
        deep = self._depth > DEEPEST
        if deep.any():
            self._mark(self._at[deep])

    def _mark_commas(self) -> None:
        """Mark `,}` and `,]`."""
        before = self._stepped(self._at[self._is_close] - 1, -1)
        self._mark(before[self._data[before] == _COMMA])

    def _mark_words(self) -> None:
        """Mark `nan` and `inf` outside of strings, in any case."""
        low = self._data | 0x20
        second = low[1:-1]
        is_nan = (second == ord("a")) & (low[:-2] == ord("n")) & (low[2:] == ord("n"))
        is_inf = (second == ord("n")) & (low[:-2] == ord("i")) & (low[2:] == ord("f"))
        words = np.flatnonzero(is_nan | is_inf)
        if len(words):
            quotes = self._at[self._is_quote]
            self._mark(words[np.searchsorted(quotes, words) % 2 == 0])

    def _mark_nul(self, block: bytes) -> None:
        at = block.find(b"\\u0000")
        while at >= 0:
            self._mark(np.array([at]))
            line = int(np.searchsorted(self._ends, at, side="right"))
            at = block.find(b"\\u0000", int(self._ends[line])) if line < len(self._ends) else -1

    def _mark_keys(self, *, has_escapes: bool) -> None:
        """Mark objects in which two keys have one hash."""
        start = np.flatnonzero(self._is_start)
        first, last = self._at[start], self._at[start + 1]
        is_key = self._data[self._stepped(last + 1, 1)] == _COLON
        start, first, last = start[is_key], first[is_key], last[is_key]
        if not len(start):
            return
        if has_escapes:
            escapes = np.flatnonzero(self._data == _BACKSLASH)
            n = np.searchsorted(first, escapes) - 1
            self._mark(escapes[(n >= 0) & (escapes < last[n])])
        keyed = self._hashes(first + 1, last) + self._objects(start) * _ODD[2]
        ordered = np.sort(keyed)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            self._mark(first[np.isin(keyed, twice)])

    def _objects(self, keys: Ints) -> Words:
        """Return a number for the object that each key is in.

        It is the last one that was opened at the key's depth: in order of depth, then of place, a
        key's object is the number of brackets opened so far.
        """
        is_used = self._is_open.copy()
        is_used[keys] = True
        used = np.flatnonzero(is_used)
        order = np.argsort(np.clip(self._depth[used], 0, 255).astype(np.uint8), kind="stable")
        opened = np.empty(len(used), dtype=np.uint64)
        opened[order] = np.cumsum(self._is_open[used[order]])
        told: Words = opened[~self._is_open[used]]
        return told

    def _hashes(self, first: Ints, last: Ints) -> Words:
        """Return a hash of each key: its length, its first and its last eight bytes.

        Two keys that differ in between alone are taken for one, which costs a look.
        """
        length = last - first
        head, tail = self._words(first), self._words(np.maximum(last - 8, first))
        short = np.clip(8 * (8 - length), 0, 63).astype(np.uint64)
        keep = np.where(length == 0, np.uint64(0), ~np.uint64(0)) >> short
        mixed: Words = (head & keep) * _ODD[0] + length.astype(np.uint64)
        mixed ^= (tail & keep) * _ODD[1]
        return mixed

    def _words(self, at: Ints) -> Words:
        """Return the eight bytes from each place on, as a number."""
        words = np.ndarray((len(self._data) - 7,), "V8", self._data, strides=(1,))
        return words[at].view("<u8")

    def _stepped(self, at: Ints, step: int) -> Ints:
        """Return the places, moved on over blanks."""
        left = np.flatnonzero(np.isin(self._data[at], (32, 9, 10, 13)))
        while len(left):
            at[left] += step
            place = at[left]
            inside = (place >= 0) & (place < len(self._data) - 1)
            left = left[inside & np.isin(self._data[np.where(inside, place, 0)], (32, 9, 10, 13))]
        return np.clip(at, 0, len(self._data) - 1)

    def _mark(self, at: Ints) -> None:
        """Mark the lines of places."""
        if len(at):
            lines = np.searchsorted(self._ends, at, side="right")
            self.marks[lines[lines < len(self.marks)]] = True
