"""The tables of a FHIR mapping: how resources of a type become rows, and rows events.

A description here is the reference that users read; keep it in their words.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipelines.base.tomlcheck import Checked
from pipelines.sources.fhir.delivery_model import ExportRule, FilesRule
from pipelines.sources.rows.model import (
    OUT_OF_SCOPE,
    Case,
    Condition,
    MappingHead,
    PatientRule,
    RowRule,
    Text,
)

#: Ways in which an element can be read; exactly one of them is given.
WAYS = (
    *("path", "concept", "medication", "reference", "quantity"),
    *("number", "ratio", "range", "items", "via"),
)


def _as_list(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    return [value] if isinstance(value, str) else value


def _as_element(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    return {"path": value} if isinstance(value, str | list) else value


Paths = Annotated[list[str], BeforeValidator(_as_list)]


class Element(Checked):
    """One or more columns read out of a resource; `"status"` is short for `{ path = "status" }`."""

    path: Paths | None = Field(
        None, description="Path of a text, or several: the first that tells something counts."
    )
    values: str | None = Field(
        None,
        description="Table under [values] that says what the texts mean (case does not count); "
        "the first text that it knows counts, texts that it lacks tell nothing.",
    )
    known: Literal["units"] | None = Field(
        None, description="`units`: the first that is a known unit counts, else the first."
    )
    all: bool = Field(default=False, description="Keep every text, for `through` of a look-up.")
    concept: str | None = Field(
        None,
        description="Path of a CodeableConcept; makes NAME, NAME_system, NAME_display and "
        "NAME_scope (the event types as which some study names the code).",
    )
    identifiers: str | None = Field(
        None,
        description="Path of a list of Identifier whose values count as codes too, after the "
        "concept's own (with concept).",
    )
    medication: str | None = Field(
        None,
        description="Name of a medication[x]: columns as of a concept, from the CodeableConcept, "
        "the Medication that is referred to, or, part by part, its ingredients.",
    )
    reference: Paths | None = Field(None, description="Path of a Reference; tells the id.")
    of: str | None = Field(
        None, description="Resource type that is referred to, or looked up (with via)."
    )
    quantity: str | None = Field(
        None, description="Path of a Quantity; makes NAME (its comparator in front) and NAME_unit."
    )
    number: str | None = Field(
        None,
        description="Path of a text that may be a number: NAME is the number with its comparator, "
        "NAME_unit the known unit behind it, NAME_text the whole text where more is told.",
    )
    ratio: str | None = Field(
        None, description="Path of a Ratio of two quantities; makes NAME and NAME_unit."
    )
    range: str | None = Field(
        None,
        description="Path of a list of reference ranges; makes NAME_low and NAME_high where "
        "exactly one is of the normal kind, in the unit of `unit_of`, and NAME_unit where the "
        "result tells none.",
    )
    unit_of: str | None = Field(None, description="Path of the Quantity (with range).")
    number_of: str | None = Field(
        None, description="Path of the text that tells the number otherwise (with range)."
    )
    items: str | None = Field(
        None, description="Path of a list that is kept as it stands: the ingredients of a drug."
    )
    via: str | None = Field(
        None, description="Element that holds the id of a resource of type `of` in the delivery."
    )
    column: str | None = Field(None, description="The element of that resource (with via).")
    needed: list[Condition] | None = Field(
        None,
        description="In a delta, a resource that refers to one which is not delivered is "
        "quarantined where all of these hold (with via; an empty list always holds), so that what "
        "was told before stands; see `settings.lookups`.",
    )
    through: str | None = Field(
        None, description="Element of it (`all = true`) that lists the id, where it is not its own."
    )


ElementRule = Annotated[Element, BeforeValidator(_as_element)]


class Choice(Checked):
    """One answer of a choice: give one of column, text."""

    when: list[Condition] = Field(
        default_factory=list, description="All must hold; none always holds."
    )
    column: str | None = Field(None, description="The column that is taken.")
    text: Text | None = Field(None, description="The text that is taken; '' for nothing.")
    day: bool = Field(default=False, description="Take the local day of a time alone.")


class Parts(Checked):
    """A list in a resource whose items are results of their own."""

    path: str = Field(description="Path of the list, such as `component`.")
    own: list[str] = Field(description="Elements that are read in each item, by the same path.")
    keep_whole: list[str] = Field(
        description="A resource with such parts is an event itself only if one of these tells."
    )


class ResourceRule(RowRule):
    """How resources of one type become events; shipped ones can be overridden key by key."""

    elements: dict[str, ElementRule] = Field(
        default_factory=dict,
        description="Columns read out of the resource. `id`, `record`, `part`, `last_updated` and "
        "`version_id` are there without being told, and `patient` from `subject`.",
    )
    parts: Parts | None = Field(None, description="Items that are results of their own.")
    choose: dict[str, list[Choice]] = Field(
        default_factory=dict,
        description="Further columns, in this order, from the first choice whose conditions hold.",
    )
    flags: dict[str, list[Condition]] = Field(
        default_factory=dict, description="Flags of the event, each raised where all hold."
    )
    reference: str | None = Field(
        None, description="What the resources are looked up for; they are no events themselves."
    )
    event: Annotated[
        list[Case],
        BeforeValidator(lambda v: [{"when": [], "event": v}] if isinstance(v, str) else v),
    ] = Field(
        default=[Case(when=[], event=OUT_OF_SCOPE)],
        description="The event type of all rows, or an ordered list of cases; the first that "
        "holds counts.",
    )
    key: list[str] = Field(
        default=["record"], min_length=1, description="Columns that name the source's record."
    )
    patient: PatientRule = Field(
        default=PatientRule(column="patient"), description="Where the patient's identifier is."
    )


class PatientPath(Checked):
    """Which of a patient's identifiers counts."""

    identifier: str = Field(
        "id",
        description="Path in Patient; where it is not `id`, references are looked up among the "
        "Patient resources of the delivery.",
    )
    namespace: str | None = Field(
        None, description="Kind of identifier; default the mapping's `namespace`."
    )
    strip_prefix: str | None = Field(
        None, description="Text taken off the front of identifiers that start with it."
    )


class Settings(Checked):
    """What exports leave open and the hospital knows."""

    point_time: Literal["start", "end"] = Field(
        "start",
        description="Which end of an administration a single dateTime means; with `end` the "
        "administration has an end, and no start but this.",
    )
    undated_conditions: Literal["encounter_start", "encounter_end", "undated"] = Field(
        "encounter_start",
        description="What dates a Condition without a date of its own: a day of its encounter "
        "(flagged dated_by_encounter), or nothing.",
    )
    not_given: list[Text] = Field(
        default_factory=list,
        description="Codes or texts of method and status reason that say a dose was not given.",
    )
    lookups: Literal["required", "if_delivered"] = Field(
        "required",
        description="Whether a delta must hold the specimens and encounters whose times its "
        "resources take; with `if_delivered` they are read without them.",
    )
    version: Literal["lastUpdated", "versionId"] = Field(
        "lastUpdated",
        description="What orders versions of a resource; `versionId` only where it is a number "
        "that grows.",
    )


class FhirMapping(MappingHead):
    """The whole of a FHIR mapping file, over the shipped rules."""

    delivery: ExportRule
    files: FilesRule = FilesRule()
    patient: PatientPath = PatientPath()
    settings: Settings = Settings()
    systems: dict[str, str] = Field(
        default_factory=dict,
        description="Code system's URI -> the short token that studies use, most trusted first; "
        "the shipped ones follow.",
    )
    values: dict[str, dict[str, Text]] = Field(
        default_factory=dict,
        description="Tables of words: what a code or text means. Shipped ones can be added to.",
    )
    resource: dict[str, ResourceRule] = Field(
        default_factory=dict, description="One table per resource type, over the shipped rules."
    )
