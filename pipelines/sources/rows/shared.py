"""What every statement over the rows of one file shares: its context, codes and patients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipelines.base.duck import literal
from pipelines.sources.rows import sql
from pipelines.sources.rows.model import RowRule
from pipelines.sources.rows.targets import tellable


@dataclass(frozen=True)
class Context:
    """What is the same for every row of a delivery.

    Attributes:
        site_id, source, batch_id: as in the envelope.
        zone: zone of times whose rule names none.
        namespace: kind of patient identifier where the rule names none.
        exported_us: when the extract was written, microseconds since 1970, UTC.
    """

    site_id: str
    source: str
    batch_id: str
    zone: str
    namespace: str
    exported_us: int


def microseconds(at: datetime) -> int:
    """Return an aware instant as microseconds since 1970, exactly."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + at.microsecond


def told_code(rule: RowRule, event_type: str, column: dict[str, str]) -> tuple[str, str]:
    """Return the SQL of the code and the code system that a row tells; null where it has none."""
    rules = rule.rules(event_type)
    known = tellable(event_type)
    code, system = (
        sql.told(rules[name], column) if name in rules and name in known else "NULL::VARCHAR"
        for name in ("code", "code_system")
    )
    return code, system


def patients(rule: RowRule, column: dict[str, str], ctx: Context) -> str:
    """Return the query for `patient_text, patient_key` of each patient that `row_raw` names.

    A keyed hash is the dearest of all expressions, and patients are far fewer than rows.
    """
    told = column[rule.patient.column]
    bare = "patient_text"
    if prefix := rule.patient.strip_prefix:
        rest = f"nullif(substr(patient_text, {len(prefix) + 1}), '')"
        starts = f"starts_with(patient_text, {literal(prefix)})"
        bare = f"CASE WHEN {starts} THEN {rest} ELSE patient_text END"
    owner = f"{literal(ctx.site_id)}, {literal(rule.patient.namespace or ctx.namespace)}"
    return (
        f"SELECT patient_text, patient_key({owner}, {bare}) AS patient_key "
        f"FROM (SELECT DISTINCT {told} AS patient_text FROM row_raw)"
    )
