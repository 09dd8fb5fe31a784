"""What names of columns and files say, and which of them may be told."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

#: Names that are of things, not of people.
_THINGS = re.compile(r"(test|drug|item|unit|analyte|medication|concept|code|generic|brand)_?name")
_TELLABLE = re.compile(r"[^\W\d_][\w .()/%#-]{0,39}")


@cache
def _words(kind: str) -> tuple[str, ...]:
    """Return the words of a kind: header, file, patient, private."""
    return tuple(str(_vocabulary()[kind]).split())


@cache
def _vocabulary() -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("names.toml").read_text("utf-8"))


@cache
def _roles() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((role, re.compile(text)) for role, text in _vocabulary()["roles"].items())


@cache
def _private() -> re.Pattern[str]:
    return re.compile(f"(^|_)({'|'.join(_words('private'))})(_|$)")


def folded(name: str) -> str:
    """Return a name in lower case with `_` between its words."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^0-9a-zäöüß]+", "_", split.lower()).strip("_")


def role_of(name: str) -> str:
    """Return what a column seems to be for, by its name alone; empty if unclear."""
    text = folded(name)
    if text in _words("patient"):
        return "patient"
    return next((role for role, pattern in _roles() if pattern.search(text)), "")


def patient_rank(name: str) -> int:
    """Return how well a name fits a patient's identifier; 0 is best."""
    text = folded(name)
    return _words("patient").index(text) if text in _words("patient") else len(_words("patient"))


def is_private(name: str) -> bool:
    """Whether a column of that name may hold names, addresses or free text."""
    text = _THINGS.sub("", folded(name))
    return bool(_private().search(text))


def is_header(cells: Sequence[str]) -> bool:
    """Whether a first record looks like names of columns and not like a patient's row."""
    if any(not _looks_like_name(cell) for cell in cells) or len(set(cells)) < len(cells):
        return False
    words = {word for cell in cells for word in folded(cell).split("_")}
    known = words & set(_words("header"))
    return len(known) >= (2 if len(cells) > 2 else 1)


def _looks_like_name(cell: str) -> bool:
    return (
        bool(cell)
        and not re.search(r"\d{4,}|\d[-./:]\d", cell)
        and bool(re.search(r"[^\W\d]", cell))
        and len(cell) <= 80
    )


def shown_names(header: Sequence[str], *, is_believed: bool) -> list[str]:
    """Return how each column is called: by its name, or by its number where that may be data."""
    return [
        name
        if is_believed and _TELLABLE.fullmatch(name) and not re.search(r"\d{4,}", name)
        else f"column {n}"
        for n, name in enumerate(header, start=1)
    ]


def file_pattern(name: str) -> str:
    """Return a glob for a file name that keeps its known words alone.

    `labs_2026-01-06_Smith.csv.gz` gives `labs*.csv.gz`.
    """
    parts = re.findall(r"[A-Za-z]+|[^A-Za-z]+", name)
    kept = []
    for part in parts:
        if part.lower() in _words("file") or re.fullmatch(r"[._-]", part):
            kept.append(part)
        else:
            kept.append("*")
    text = re.sub(r"[_-]*\*[*_-]*", "*", "".join(kept))
    return re.sub(r"\*(\.\*)*(?=\.)", "*", text)
