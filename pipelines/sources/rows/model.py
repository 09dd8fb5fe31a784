"""What every mapping says: how rows of named text columns become events.

A description here is the reference that users read; keep it in their words.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipelines.base.tomlcheck import Checked

#: Event "type" of rows that are counted and left out on purpose.
OUT_OF_SCOPE = "out_of_scope"

Precision = Literal["auto", "instant", "day", "month", "year"]


def as_text(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    """Return what users wrote as the text of it: 3, true, a day."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value


def _as_cases(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    return [{"when": [], "event": value}] if isinstance(value, str) else value


def _as_source(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    text = as_text(value)
    return {"literal": text} if isinstance(text, str) else value


Text = Annotated[str, BeforeValidator(as_text)]


class Condition(Checked):
    """A test of one column of a row; give exactly one of the operators."""

    column: str = Field(description="Column that is tested.")
    equals: Text | None = Field(None, description="The cell is this text.")
    in_: list[Text] | None = Field(None, alias="in", description="The cell is one of these.")
    not_in: list[Text] | None = Field(
        None, description="The cell is none of these; an empty cell passes."
    )
    is_null: Literal[True] | None = Field(None, description="The cell is empty.")
    not_null: Literal[True] | None = Field(None, description="The cell is not empty.")
    matches: str | None = Field(
        None, description="The whole cell matches this regular expression (RE2 syntax)."
    )
    reason: str | None = Field(
        None, description="Name under which rows that fail are counted (in `where`)."
    )


class Case(Checked):
    """Which rows become which event."""

    when: list[Condition] = Field(description="All must hold; an empty list always holds.")
    event: str = Field(description="Event type, or out_of_scope.")


class FieldRule(Checked):
    """Where one field of an event comes from; give one of column, columns, constant."""

    column: str | None = Field(None, description="Column that holds it.")
    columns: list[str] | None = Field(
        None,
        description="Columns joined by a space, empty ones left out: a date and a time, say.",
    )
    constant: Text | None = Field(None, description="The same text for every row.")
    values: dict[str, Text] | None = Field(
        None,
        description="What a cell's text stands for; '' stands for nothing. Other texts are kept.",
    )
    default: Text | None = Field(
        None, description="What texts stand for that `values` does not list."
    )
    if_missing: Text | None = Field(None, description="What an empty cell stands for.")
    format: str | None = Field(
        None,
        description="How times and dates are written: `iso` (the default; offsets are honoured), "
        "or a strptime pattern such as `%d.%m.%Y %H:%M`.",
    )
    zone: str | None = Field(
        None, description="IANA zone of a time without offset; default the mapping's, the site's."
    )
    precision: Precision | None = Field(
        None, description="How exact a time is; `auto` (the default) judges by how it is written."
    )
    decimal: Literal[".", ","] | None = Field(None, description="Decimal sign of numbers.")
    thousands: Literal[".", ",", " ", "'"] | None = Field(
        None, description="Sign between thousands; by default there must be none."
    )


class PatientRule(Checked):
    """Where the patient's identifier is."""

    column: str = Field(description="Column that holds the identifier.")
    namespace: str | None = Field(
        None, description="Kind of identifier; default the mapping's `namespace`."
    )
    strip_prefix: str | None = Field(
        None, description="Text taken off the front of identifiers that start with it."
    )


class VersionRule(Checked):
    """The source's own version of a record, a whole number."""

    column: str = Field(description="Column that holds it.")


class TimeRule(Checked):
    """When the source last changed a record."""

    column: str = Field(description="Column that holds it.")
    format: str = Field("iso", description="`iso` or a strptime pattern.")
    zone: str | None = Field(None, description="IANA zone of times without offset.")


class OperationRule(Checked):
    """Which rows take a record back."""

    column: str = Field(description="Column that says so.")
    values: dict[str, Literal["upsert", "retract"]] = Field(
        description="What its texts mean, such as { deleted = 'retract' }."
    )
    default: Literal["upsert", "retract"] = Field(
        "upsert", description="What other texts and empty cells mean."
    )


class Override(Checked):
    """Fields that differ for one event type of a file with several."""

    fields: dict[str, FieldRule] = Field(description="Field by field, over the file's own.")


class RowRule(Checked):
    """How the rows of one shape become events."""

    event: Annotated[list[Case], BeforeValidator(_as_cases)] = Field(
        min_length=1,
        description="The event type of all rows, or an ordered list of cases; the first that "
        "holds counts, and rows of no case are quarantined as unknown_event_type.",
    )
    where: list[Condition] = Field(
        default_factory=list,
        description="All must hold; other rows are out of scope, counted by reason.",
    )
    key: list[str] = Field(
        min_length=1, description="Columns that together name the source's record."
    )
    occurrence: bool = Field(
        default=False,
        description="Whether a key can really repeat; the nth is then a record of its own.",
    )
    version: VersionRule | None = Field(
        None,
        description="The record's version number; rows without one are quarantined.",
    )
    last_updated: TimeRule | None = Field(
        None, description="The record's last change, its version where there is no number."
    )
    operation: OperationRule | None = Field(None, description="Which rows take a record back.")
    patient: PatientRule = Field(description="Where the patient's identifier is.")
    fields: dict[str, FieldRule] = Field(
        default_factory=dict, description="Where each field of the events comes from."
    )
    PatientRegistered: Override | None = Field(None, description="Fields of this type alone.")
    InfusionRecorded: Override | None = Field(None, description="Fields of this type alone.")
    MedicationGiven: Override | None = Field(None, description="Fields of this type alone.")
    AdverseEventReported: Override | None = Field(None, description="Fields of this type alone.")
    DiagnosisRecorded: Override | None = Field(None, description="Fields of this type alone.")
    LabResulted: Override | None = Field(None, description="Fields of this type alone.")
    VitalSignMeasured: Override | None = Field(None, description="Fields of this type alone.")
    BoneDensityMeasured: Override | None = Field(None, description="Fields of this type alone.")
    EncounterOccurred: Override | None = Field(None, description="Fields of this type alone.")

    @property
    def event_types(self) -> tuple[str, ...]:
        """The event types its rows can become, in the order of the cases."""
        return tuple(dict.fromkeys(c.event for c in self.event if c.event != OUT_OF_SCOPE))

    def override(self, event_type: str) -> dict[str, FieldRule]:
        """Return the fields that are told for this type alone."""
        own: Override | None = getattr(self, event_type, None)
        return own.fields if own else {}

    def rules(self, event_type: str) -> dict[str, FieldRule]:
        """Return the rule in force for each told field; the type's own win."""
        return {**self.fields, **self.override(event_type)}


class ToldTime(Checked):
    """Where a delivery's time is told in the ways that every kind of source knows."""

    literal: str | None = Field(None, description="The time itself.")
    zone: str | None = Field(None, description="IANA zone of times without offset.")
    sidecar: str | None = Field(
        None, description="TOML file in the delivery that tells it under the same key."
    )


class TimeSource(ToldTime):
    """Where a delivery's time is told; give one of literal, column, sidecar."""

    column: str | None = Field(None, description="Column whose latest time counts.")
    file: str | None = Field(None, description="The [[file]] that has the column.")
    format: str = Field("iso", description="`iso` or a strptime pattern (with column).")


Source = Annotated[TimeSource, BeforeValidator(_as_source)]


class DeliveryRule(Checked):
    """What a delivery is and up to when it is complete."""

    kind: Literal["snapshot", "delta"] = Field(
        description="`snapshot`: each delivery tells everything; `delta`: what is new."
    )
    exported_at: Source = Field(description="When the source system wrote the extract.")
    data_through: dict[str, Source] = Field(
        description="Up to when its records are complete, per event type or as `default`."
    )


class MappingHead(Checked):
    """What a mapping of any kind of source says first: whose patients, which clocks."""

    namespace: str = Field(
        min_length=1,
        description="Kind of patient identifier; sources that share it share their patients.",
    )
    zone: str | None = Field(None, description="IANA zone of its clocks; default the site's.")
    revision: int = Field(
        1,
        ge=1,
        description="Raise it to have deliveries read again: when going back to an older mapping.",
    )
