"""The one statement that turns the rows of a file into candidate events of one type.

Layer by layer: what the cells say, the clock times they show, the instants these are, the typed
fields, the envelope. Every expression gives null for text it cannot read; flags say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import schemas
from pipelines.base.duck import literal, quote
from pipelines.sources.flat import sql
from pipelines.sources.flat.model import FieldRule, FileRule
from pipelines.sources.flat.targets import UNCODED, has_field, tellable

_COARSE = ("day", "month", "year")
_KEYS = {"order_key": "order", "encounter_key": "encounter"}
_CHANGED = "last_updated"


@dataclass(frozen=True)
class Context:
    """What is the same for every row of a file.

    Attributes:
        site_id, source, batch_id, sha256: as in the envelope.
        zone: zone of times whose rule names none.
        namespace: kind of patient identifier where the rule names none.
        exported_us: when the extract was written, microseconds since 1970, UTC.
    """

    site_id: str
    source: str
    batch_id: str
    sha256: str
    zone: str
    namespace: str
    exported_us: int


def microseconds(at: datetime) -> int:
    """Return an aware instant as microseconds since 1970, exactly."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + at.microsecond


def told_code(rule: FileRule, event_type: str, column: dict[str, str]) -> tuple[str, str]:
    """Return the SQL of the code and the code system that a row tells; null where it has none."""
    rules = rule.rules(event_type)
    known = tellable(event_type)
    code, system = (
        sql.told(rules[name], column) if name in rules and name in known else "NULL::VARCHAR"
        for name in ("code", "code_system")
    )
    return code, system


def candidates(rule: FileRule, event_type: str, column: dict[str, str], ctx: Context) -> str:
    """Return the query for candidate events: all columns of the type, `key_text`, `can_repeat`.

    It reads `flat_raw`, and leaves out what is excluded or listed in `flat_out`.
    """
    return _Statement(rule, event_type, column, ctx).query()


class _Statement:
    def __init__(
        self, rule: FileRule, event_type: str, column: dict[str, str], ctx: Context
    ) -> None:
        self.rule, self.type, self.column, self.ctx = rule, event_type, column, ctx
        self.kinds = tellable(event_type)
        self.rules = {n: r for n, r in rule.rules(event_type).items() if n in self.kinds}
        self.times = {n: r for n, r in self.rules.items() if self.kinds[n] in ("TIMESTAMP", "DATE")}
        if rule.last_updated:
            changed = rule.last_updated
            self.times[_CHANGED] = FieldRule(
                column=changed.column, format=changed.format, zone=changed.zone
            )

    def query(self) -> str:
        layers = [self._told(), self._clocks(), self._placed(), self._typed(), self._enveloped()]
        query = layers[0]
        for layer in layers[1:]:
            query = f"SELECT {layer} FROM ({query})"
        names = ", ".join(
            quote(f.name) for f in schemas.fields(self.type) if f.name != "record_key"
        )
        hashed = self._content_hash()
        return (
            f"SELECT {names}, key_text, can_repeat "
            f"FROM (SELECT *, {hashed} AS content_hash FROM ({query}))"
        )

    def _told(self) -> str:
        """What the cells say: text, with the mapping's words for them."""
        rules = {**self.rules, **{n: r for n, r in self.times.items() if n == _CHANGED}}
        told = [f"{sql.told(r, self.column)} AS {_t(n)}" for n, r in rules.items()]
        patient = self.column[self.rule.patient.column]
        if prefix := self.rule.patient.strip_prefix:
            bare = f"nullif(substr({patient}, {len(prefix) + 1}), '')"
            starts = f"starts_with({patient}, {literal(prefix)})"
            patient = f"CASE WHEN {starts} THEN {bare} ELSE {patient} END"
        version = self.column[self.rule.version.column] if self.rule.version else "NULL::VARCHAR"
        parts = " || ".join(f"key_part({self.column[name]})" for name in self.rule.key)
        fixed = [
            f"{parts} AS key_text",
            f"{patient} AS patient_text",
            f"{version} AS version_text",
            f"{self._operation()} AS operation",
        ]
        code, system = told_code(self.rule, self.type, self.column)
        inside = (
            ""
            if self.type in UNCODED
            else f" AND NOT EXISTS (SELECT 1 FROM flat_out o WHERE o.code = {code} "
            f"AND o.code_system = {system})"
        )
        return (
            f"SELECT source_row, {', '.join(fixed + told)} FROM flat_raw "
            f"WHERE route = {literal(self.type)} AND excluded IS NULL{inside}"
        )

    def _operation(self) -> str:
        if not (rule := self.rule.operation):
            return "'upsert'"
        meant = sql.mapped(self.column[rule.column], dict(rule.values), rule.default)
        return f"coalesce({meant}, {literal(rule.default)})"

    def _clocks(self) -> str:
        """Clock times as shown, how exact, and the offset where one is told."""
        found = ["*"]
        for name, rule in self.times.items():
            text, pattern = _t(name), rule.format or "iso"
            kind = sql.time_kind(text, pattern, rule.precision or "auto")
            local = sql.in_calendar(sql.local_time(text, pattern))
            if rule.precision in _COARSE:
                local = f"date_trunc({literal(rule.precision)}, {local})"
            offset = sql.offset_minutes(sql.offset_text(text, pattern))
            minutes = "NULL::INTEGER" if rule.precision in _COARSE else offset
            found += [
                f"{kind} AS {_q('kind', name)}",
                f"{local} AS {_q('local', name)}",
                f"{minutes} AS {_q('minutes', name)}",
            ]
        return ", ".join(found)

    def _zone(self, name: str) -> str:
        rule = self.times.get(name)
        return literal((rule.zone if rule else None) or self.ctx.zone)

    def _placed(self) -> str:
        """Clock times as UTC instants, with what was odd about them."""
        found = ["*"]
        for name in self.times:
            if self.kinds.get(name) == "DATE":
                continue
            local, minutes, zone = _q("local", name), _q("minutes", name), self._zone(name)
            utc = sql.in_calendar(sql.utc(local, minutes, zone))
            if name == "ended_at" and "occurred_at" in self.times:
                utc = self._end(utc)
            exact = f"{minutes} IS NULL AND {_q('kind', name)} = 'instant'"
            found += [
                f"{utc} AS {_q('utc', name)}",
                f"CASE WHEN {exact} THEN local_time_flag({local}, {zone}) END AS {_q('odd', name)}",
            ]
        return ", ".join(found)

    def _end(self, utc: str) -> str:
        """An ambiguous end before its start was the second of the two hours."""
        local, minutes, zone = _q("local", "ended_at"), _q("minutes", "ended_at"), "ended_at"
        begin = sql.utc(
            _q("local", "occurred_at"), _q("minutes", "occurred_at"), self._zone("occurred_at")
        )
        second = f"local_to_utc({local}, {self._zone(zone)}, 1)"
        return (
            f"CASE WHEN {minutes} IS NULL AND {utc} < {begin} AND {second} >= {begin} "
            f"THEN {second} ELSE {utc} END"
        )

    def _typed(self) -> str:
        """The type's own fields."""
        found = ["*"]
        for name, kind in self.kinds.items():
            found.append(f"{self._field(name, kind)} AS {quote(name)}")
        if has_field(self.type, "end_precision"):
            ended = (
                f"CASE WHEN {_q('utc', 'ended_at')} IS NOT NULL THEN {_q('kind', 'ended_at')} END"
            )
            found.append(
                f"{ended if 'ended_at' in self.times else 'NULL::VARCHAR'} AS end_precision"
            )
        patient = (
            f"patient_key({literal(self.ctx.site_id)}, "
            f"{literal(self.rule.patient.namespace or self.ctx.namespace)}, patient_text)"
        )
        found.append(f"{patient} AS patient_key")
        return ", ".join(found)

    def _field(self, name: str, kind: str) -> str:
        if name == "value_text":
            return self._value_text()
        if name == "comparator":
            return self._comparator()
        if name not in self.rules:
            return f"NULL::{kind}"
        rule, text = self.rules[name], _t(name)
        if name in _KEYS:
            owner = f"{literal(self.ctx.site_id)}, {literal(self.ctx.source)}"
            return f"other_key({owner}, {literal(_KEYS[name])}, {text})"
        if kind == "TIMESTAMP":
            return _q("utc", name)
        if kind == "DATE":
            exact = f"{_q('kind', name)} IN ('instant', 'day')"
            return f"CASE WHEN {exact} THEN CAST({_q('local', name)} AS DATE) END"
        if kind == "BOOLEAN":
            return sql.boolean(text)
        if kind in ("DOUBLE", "INTEGER", "BIGINT"):
            return self._number(name, kind, rule)
        return text

    def _number(self, name: str, kind: str, rule: FieldRule) -> str:
        text = _t(name)
        if name == "value" and "comparator" in self.kinds:
            text = sql.without_comparator(text)
        number = sql.number(text, rule.decimal or ".", rule.thousands)
        return number if kind == "DOUBLE" else sql.whole(number, kind)

    def _value_text(self) -> str:
        told = _t("value_text") if "value_text" in self.rules else "NULL::VARCHAR"
        if "value" not in self.rules:
            return told
        kept = f"CASE WHEN {self._field('value', 'DOUBLE')} IS NULL THEN {_t('value')} END"
        return f"coalesce({told}, {kept})"

    def _comparator(self) -> str:
        told = _t("comparator") if "comparator" in self.rules else "NULL::VARCHAR"
        if "value" not in self.rules:
            return told
        number = self._field("value", "DOUBLE")
        found = f"CASE WHEN {number} IS NOT NULL THEN {sql.comparator(_t('value'))} END"
        return f"coalesce({told}, {found})"

    def _enveloped(self) -> str:
        """Everything else that an event of any type says."""
        ctx = self.ctx
        exported = f"make_timestamp({ctx.exported_us}::BIGINT)"
        changed = _q("utc", _CHANGED) if _CHANGED in self.times else "NULL::TIMESTAMP"
        number = sql.whole_text("version_text")
        when = _q("utc", "occurred_at")
        precision = (
            f"CASE WHEN {when} IS NOT NULL THEN {_q('kind', 'occurred_at')} END"
            if "occurred_at" in self.times
            else "NULL::VARCHAR"
        )
        return ", ".join(
            [
                "*",
                f"{literal(ctx.site_id)} AS site_id",
                f"{literal(ctx.source)} AS source",
                f"{literal(self.type)} AS event_type",
                f"coalesce({number}, epoch_us({changed}), {ctx.exported_us}::BIGINT) AS version",
                f"coalesce({changed}, {exported}) AS recorded_at",
                f"{precision} AS time_precision",
                f"{self._zone('occurred_at')} AS zone",
                f"{self._flags()} AS flags",
                f"{literal(ctx.batch_id)} AS batch_id",
                f"{literal(ctx.sha256)} AS source_file_sha",
                f"{str(self.rule.occurrence).lower()} AS can_repeat",
            ]
        )

    def _flags(self) -> str:
        raised = [_q("odd", n) for n in self.times if self.kinds.get(n) != "DATE"]
        for name, kind in self.kinds.items():
            if name in self.rules and kind != "VARCHAR":
                lost = f"{_t(name)} IS NOT NULL AND {quote(name)} IS NULL"
                raised.append(f"CASE WHEN {lost} THEN {literal(_lost_flag(name, kind))} END")
        if _CHANGED in self.times:
            lost = f"{_t(_CHANGED)} IS NOT NULL AND {_q('utc', _CHANGED)} IS NULL"
            raised.append(f"CASE WHEN {lost} THEN 'bad_value' END")
        lost = f"version_text IS NOT NULL AND {sql.whole_text('version_text')} IS NULL"
        raised.append(f"CASE WHEN {lost} THEN 'bad_value' END")
        if self.type == "InfusionRecorded":
            absent = f"{_t('ended_at')} IS NULL" if "ended_at" in self.rules else "true"
            raised.append(f"CASE WHEN {absent} THEN 'end_missing' END")
        return f"list_sort(list_distinct([{', '.join(raised)}]::VARCHAR[]))"

    def _content_hash(self) -> str:
        clinical = [f for f in schemas.fields(self.type) if f.name not in schemas.ENVELOPE]
        shared = {"occurred_at": "TIMESTAMP", "time_precision": "VARCHAR", "zone": "VARCHAR"}
        shared |= {"patient_key": "VARCHAR", "operation": "VARCHAR"}
        kinds = shared | {f.name: f.duckdb_type for f in clinical}
        return sql.hashed({n: sql.as_text(n, kinds[n]) for n in sorted(kinds)})


def _lost_flag(name: str, kind: str) -> str:
    if name == "occurred_at":
        return "bad_time"
    if name == "ended_at":
        return "bad_end_time"
    return "bad_number" if kind in ("DOUBLE", "INTEGER", "BIGINT") else "bad_value"


def _t(name: str) -> str:
    """Name of a field's told text; a dot, so that no field is called so."""
    return _q("told", name)


def _q(layer: str, name: str) -> str:
    return quote(f"{layer}.{name}")
