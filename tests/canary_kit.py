"""Identifiers that occur nowhere else, planted in a delivery, and every form of them."""

from __future__ import annotations

import base64
import random
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

#: A temperature of one patient that no other has, and no statistic comes to.
UNIQUE_VALUE = 38.123457


def canaries(n: int = 50) -> list[str]:
    """Numbers of 12 digits, equal in every run."""
    source = random.Random("canaries")  # noqa: S311 - no secret
    return [str(source.randrange(10**11, 10**12)) for _ in range(n)]


def forms(text: str) -> set[bytes]:
    """A text as ASCII, UTF-16 and base64 at each of three offsets; a number also as float64.

    Of base64, the digits that hang on what stands before and after are left off (RFC 4648).
    """
    plain = text.encode()
    found = {plain, text.encode("utf-16-le"), text.encode("utf-16-be")}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + plain)
        found.add(coded[(offset * 8 + 5) // 6 : (offset + len(plain)) * 8 // 6])
    return found | {struct.pack("<d", float(text))}


def finder(texts: Iterable[str]) -> Callable[[bytes], bool]:
    """Whether a piece of content holds any form of any of the texts."""
    every = sorted({form for text in texts for form in forms(text)})
    return re.compile(b"|".join(map(re.escape, every))).search  # type: ignore[return-value]


def plant(deliveries: Path, planted: list[str]) -> None:
    """Put canaries in place of patients' and records' ids; a temperature is the unique value."""
    rest = iter(planted)
    patients: dict[str, str] = {}
    for path in sorted(deliveries.glob("*/*.csv")):
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        names = head.split(",")
        at = names.index("patient_id")
        told = [head]
        for number, line in enumerate(lines):
            cells = line.split(",")
            if len(cells) == len(names):
                if cells[at] not in patients and (new := next(rest, None)):
                    patients[cells[at]] = new
                cells[at] = patients.get(cells[at], cells[at])
                if number < 3 and (new := next(rest, None)):
                    cells[0] = new
                if path.name == "vitals.csv" and number == 0:
                    cells[names.index("value")] = str(UNIQUE_VALUE)
            told.append(",".join(cells))
        path.write_text("\n".join(told) + "\n", encoding="utf-8")
    # What is left stands in rows that nobody can read.
    path = min(deliveries.glob("*/labs.csv"))
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(f'torn,"{one}\n' if n == 0 else f"{one}\n" for n, one in enumerate(rest))
