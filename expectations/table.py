"""The check table: what is checked, how, and what follows from a failure."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from pipelines.base.files import sha256_hex
from pipelines.base.tomlcheck import Checked
from pipelines.ingest.facts import Severity
from studies.analytes import vocabulary_hash

Rule = Literal["told", "absent", "one_of", "between", "shaped", "not_before", "possible"]
Kahn = Literal["conformance", "completeness", "plausibility"]

#: How many columns of the judged table each rule reads.
ARITY: Mapping[Rule, int] = {
    "told": 1,
    "absent": 1,
    "one_of": 1,
    "between": 1,
    "shaped": 1,
    "not_before": 2,
    "possible": 3,
}
FILES = ("checks.toml", "doses.csv", "dose_units.csv")


class Check(Checked):
    """One line of the check table, for the event types that it names."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name; the flag of a warning.")
    types: tuple[str, ...] = Field(min_length=1, description="Event types that it judges.")
    rows: Literal["all", "content"] = Field(description="`content` leaves retractions out.")
    column: str = Field(description="The column that people are told about.")
    rule: Rule = Field(description="What is asked of the row.")
    on: tuple[str, ...] = Field(description="Columns of the judged table that the rule reads.")
    values: tuple[str, ...] = Field((), description="The value set of `one_of`.")
    low: float | None = Field(None, description="Lower bound of `between`, inclusive.")
    high: float | None = Field(None, description="Upper bound of `between`, inclusive.")
    pattern: str | None = Field(None, description="The whole value's regex, of `shaped`.")
    severity: Severity = Field(description="reject, warn or info.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Tolerated share of failing rows; None: the site's share."
    )
    category: Kahn = Field(description="Category of Kahn et al. 2016.")
    bad: dict[str, str] = Field(min_length=1, description="A sentinel row that must fail.")
    note: str = Field(min_length=1, description="Why, for people.")

    @model_validator(mode="after")
    def _rule_has_what_it_needs(self) -> Check:
        needs = {
            "one_of": bool(self.values),
            "between": self.low is not None and self.high is not None,
            # DuckDB's `~` matches the whole text, PostgreSQL's any part of it: anchors make
            # both mean the same.
            "shaped": bool(self.pattern and self.pattern[0] == "^" and self.pattern[-1] == "$"),
        }
        if len(self.on) != ARITY[self.rule] or not needs.get(self.rule, True):
            msg = f"check {self.id}: rule {self.rule} lacks its columns or parameters"
            raise ValueError(msg)
        if (self.threshold is None) != (self.severity == "reject"):
            msg = f"check {self.id}: a reject takes the site's share, others name a threshold"
            raise ValueError(msg)
        return self

    def allowed(self, event_type: str) -> tuple[str, ...]:
        """Return the value set for an event type; `{event_type}` in the table stands for it."""
        return tuple(value.replace("{event_type}", event_type) for value in self.values)


class DoseRange(NamedTuple):
    """The greatest single dose of a drug that can be anything but a slip, in mg."""

    concept: str
    possible_high_mg: float


class DoseUnit(NamedTuple):
    """A unit of mass as it is reported, and its size in mg."""

    unit: str
    mg: float


def _read(name: str) -> bytes:
    return resources.files("expectations").joinpath(name).read_bytes()


def _csv(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_read(name).decode("utf-8"), newline="")))


def parse(data: Mapping[str, Any]) -> tuple[Check, ...]:
    """Return the checks of a parsed table, groups resolved.

    Errors:
        ValueError: a check is incomplete, or one id judges one event type twice.
    """
    groups = data["groups"]
    checks = []
    for entry in data["check"]:
        types = entry["types"]
        named = groups[types] if isinstance(types, str) else types
        checks.append(Check.model_validate({**entry, "types": named}))
    pairs = [(check.id, event_type) for check in checks for event_type in check.types]
    if len(set(pairs)) < len(pairs):
        msg = "one check id judges one event type twice"
        raise ValueError(msg)
    return tuple(checks)


@cache
def checks() -> tuple[Check, ...]:
    """Return the shipped check table, in its own order."""
    return parse(tomllib.loads(_read("checks.toml").decode("utf-8")))


def checks_of(event_type: str) -> tuple[Check, ...]:
    """Return the checks that judge an event type."""
    return tuple(check for check in checks() if event_type in check.types)


@cache
def dose_ranges() -> tuple[DoseRange, ...]:
    """Return the drugs whose doses can be judged."""
    return tuple(
        DoseRange(row["concept"], float(row["possible_high_mg"])) for row in _csv("doses.csv")
    )


@cache
def dose_units() -> tuple[DoseUnit, ...]:
    """Return the units that a dose can be judged in: masses, and nothing per kilogram."""
    return tuple(DoseUnit(row["unit"], float(row["mg"])) for row in _csv("dose_units.csv"))


@cache
def checks_hash() -> str:
    """Return the SHA-256 (64 hex digits) of everything that decides what a check says.

    Source: rule 1 of the design, results are a function of events, study, checks and version.
    """
    parts = [_read(name) + b"\0" for name in FILES]
    return sha256_hex([*parts, vocabulary_hash().encode()])
