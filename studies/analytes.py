"""The shared vocabulary of measured concepts: units as reported, conversion, possible ranges.

A study names concepts of this vocabulary; the checks reject what no body can show, and linkage
converts between units through the same rows. Matching of units is exact, letter for letter: an
alias that is not listed is an unknown unit, flagged and ungraded, never guessed.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, cast

from pipelines.base.files import sha256_hex

UnitSystem = Literal["conventional", "si"]


@dataclass(frozen=True)
class AnalyteUnit:
    """One unit that a measured concept is reported in.

    Attributes:
        concept: such as `calcium_total`.
        unit: as the laboratory writes it; aliases have rows of their own.
        unit_system: cuts of the two systems are no conversions of each other (CTCAE).
        system_unit: the unit that the cuts of this unit system are written in.
        to_system_factor: value * factor is the value in `system_unit`.
        to_canonical_factor: value * factor + offset is the value in `canonical_unit`.
        to_canonical_offset: zero but for degrees Fahrenheit.
        canonical_unit: one unit per concept, for comparing values across systems.
        possible_low: smallest value (in `unit`) that a living body has shown, or below; inclusive.
        possible_high: the same for the greatest value; inclusive.
        note: where the factor and the bounds come from.
    """

    concept: str
    unit: str
    unit_system: UnitSystem
    system_unit: str
    to_system_factor: float
    to_canonical_factor: float
    to_canonical_offset: float
    canonical_unit: str
    possible_low: float
    possible_high: float
    note: str


def _table(name: str) -> bytes:
    return resources.files("studies").joinpath(name).read_bytes()


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_table(name).decode("utf-8"), newline="")))


@cache
def analytes() -> tuple[AnalyteUnit, ...]:
    """Return every (concept, unit) pair of the shipped vocabulary, in file order."""
    return tuple(
        AnalyteUnit(
            concept=row["concept"],
            unit=row["unit"],
            unit_system=cast("UnitSystem", row["unit_system"]),
            system_unit=row["system_unit"],
            to_system_factor=float(row["to_system_factor"]),
            to_canonical_factor=float(row["to_canonical_factor"]),
            to_canonical_offset=float(row["to_canonical_offset"]),
            canonical_unit=row["canonical_unit"],
            possible_low=float(row["possible_low"]),
            possible_high=float(row["possible_high"]),
            note=row["note"],
        )
        for row in _rows("analytes.csv")
    )


@cache
def known_units() -> frozenset[str]:
    """Return every unit known at all: for codes that no study measures."""
    return frozenset(row["unit"] for row in _rows("units.csv")) | {row.unit for row in analytes()}


@cache
def vocabulary_hash() -> str:
    """Return the SHA-256 (64 hex digits) of the vocabulary's files: part of what results depend on.

    Source: rule 1 of the design, results are a function of events, study, checks and version.
    """
    return sha256_hex([_table("analytes.csv"), b"\0", _table("units.csv")])
