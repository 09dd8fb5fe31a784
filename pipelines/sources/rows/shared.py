"""What every statement over the rows of one file shares: its context, codes and patients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipelines.base.duck import literal
from pipelines.sources.rows import sql
from pipelines.sources.rows.model import RowRule
from pipelines.sources.rows.targets import tellable

#: Fields that name something else of the same source.
_OTHERS = {"order_key": "order", "encounter_key": "encounter"}


@dataclass(frozen=True)
class Context:
    """What is the same for every row of a delivery.

    Attributes:
        site_id, source, batch_id: as in the envelope.
        zone: zone of times whose rule names none.
        namespace: kind of patient identifier where the rule names none.
        exported_us: when the extract was written, microseconds since 1970, UTC.
        keeps_ids: the site keeps a map of patients' identifiers (`[privacy] idmap`).
    """

    site_id: str
    source: str
    batch_id: str
    zone: str
    namespace: str
    exported_us: int
    keeps_ids: bool = False


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


def is_one_type(rule: RowRule) -> bool:
    """Return whether rows can become events of one type only."""
    return len(rule.event_types) < 2


def record_key(site_id: str, source: str, event_type: str, key_text: str) -> str:
    """Return the SQL of a record's key.

    Args:
        site_id: site.
        source: source.
        event_type: what it is a record of.
        key_text: SQL of the parts of the source's own key, each as `key_part` writes it.
    """
    owner = "".join(f"key_part({literal(part)}) || " for part in (site_id, source, event_type))
    return f"hmac_key('6:record,' || {owner} {key_text})"


def patients(rule: RowRule, column: dict[str, str], ctx: Context) -> str:
    """Return the query for `patient_text, patient_key` of each patient that `row_raw` names.

    A keyed hash is the dearest of all expressions, and patients are far fewer than rows.
    """
    told = column[rule.patient.column]
    return (
        f"SELECT patient_text, {keyed(rule, ctx, 'patient_text')} AS patient_key "
        f"FROM (SELECT DISTINCT {told} AS patient_text FROM row_raw)"
    )


def named_patients(rule: RowRule, ctx: Context) -> str:
    """Return the query for `namespace, id, k` (the key) of each patient of `row_patient`."""
    namespace = literal(rule.patient.namespace or ctx.namespace)
    return (
        f"SELECT {namespace} AS namespace, {_bare(rule, 'patient_text')} AS id, patient_key AS k "
        "FROM row_patient WHERE patient_key IS NOT NULL"
    )


def keyed(rule: RowRule, ctx: Context, text: str) -> str:
    """Return the SQL of the key of the patient whom a text names, null where it names none."""
    owner = f"{literal(ctx.site_id)}, {literal(rule.patient.namespace or ctx.namespace)}"
    return f"patient_key({owner}, {_bare(rule, text)})"


def _bare(rule: RowRule, text: str) -> str:
    prefix = rule.patient.strip_prefix
    if not prefix:
        return text
    rest = f"nullif(substr({text}, {len(prefix) + 1}), '')"
    return f"CASE WHEN starts_with({text}, {literal(prefix)}) THEN {rest} ELSE {text} END"


def named_key(name: str, text: str, rule: RowRule, ctx: Context) -> str | None:
    """Return the SQL of the key, or keys, of what a field names by a text; None if it is none.

    Other patients are named as the row's own is. Several stand one a line and become a sorted
    list; where none is told it is null, as if the field were not there.
    """
    if kind := _OTHERS.get(name):
        return f"other_key({literal(ctx.site_id)}, {literal(ctx.source)}, {literal(kind)}, {text})"
    if name == "replaced_by_key":
        return keyed(rule, ctx, text)
    if name != "replaces_keys":
        return None
    each = f"list_transform(string_split({text}, chr(10)), lambda v: {keyed(rule, ctx, 'v')})"
    known = f"list_sort(list_filter(list_distinct({each}), lambda v: v IS NOT NULL))"
    return f"list_transform([{known}], lambda k: CASE WHEN len(k) > 0 THEN k END)[1]"
