"""What a FHIR mapping says about deliveries: `[delivery]` and `[files]`.

A description here is the reference that users read; keep it in their words.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipelines.base.tomlcheck import Checked
from pipelines.sources.rows.model import ToldTime, as_text


def _as_source(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    text = as_text(value)
    if text == "manifest":
        return {"manifest": True}
    return {"literal": text} if isinstance(text, str) else value


class ExportTime(ToldTime):
    """Where an export's time is told; give one of manifest, literal, sidecar, resource."""

    manifest: bool = Field(
        default=False,
        description='`transactionTime` of the export\'s manifest.json; "manifest" is short for it.',
    )
    resource: str | None = Field(
        None, description="Resource type whose latest time counts, with `element`."
    )
    element: str | None = Field(
        None, description="Path of the time in it, such as effectiveDateTime or meta.lastUpdated."
    )


ExportSource = Annotated[ExportTime, BeforeValidator(_as_source)]


class ExportRule(Checked):
    """What an export is and up to when it is complete."""

    kind: Literal["snapshot", "delta", "manifest"] = Field(
        description="`snapshot`: each export tells everything; `delta`: what is new; `manifest`: "
        "a delta where the manifest's request has `_since`, else a snapshot; a request without "
        "parameters (asked for by POST) stops the run."
    )
    exported_at: ExportSource = Field(description="When the server wrote the export.")
    data_through: dict[str, ExportSource] = Field(
        description="Up to when its records are complete, per event type or as `default`."
    )
    delivers: list[str] = Field(
        default_factory=list,
        description="What every export is complete for: resource types such as Observation, or "
        "event types such as VitalSignMeasured. By default `_type` of the manifest's request, "
        "else the types in its `output`, else those in the files.",
    )
    accept_errors: bool = Field(
        default=False,
        description="Whether an export whose manifest reports errors, so that something may be "
        "missing from it, is read all the same.",
    )


class FilesRule(Checked):
    """Which files of a delivery are no data."""

    ignore: list[str] = Field(
        default_factory=list,
        description='Globs of file names that are left unread, such as "*.md"; how many there '
        "are is told in every run.",
    )
