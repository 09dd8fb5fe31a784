"""The one statement that turns the rows of a file into candidate events of one type.

Layer by layer: what the cells say, the clock times they show, the instants these are, the typed
fields, the envelope. Every expression gives null for text it cannot read; flags say so.
"""

from __future__ import annotations

import schemas
from pipelines.base.duck import literal, quote
from pipelines.sources.rows import sql
from pipelines.sources.rows.model import FieldRule, RowRule
from pipelines.sources.rows.shared import Context, named_key, told_code
from pipelines.sources.rows.targets import UNCODED, has_field, tellable

_COARSE = ("day", "month", "year")
_NUMBERS = ("DOUBLE", "INTEGER", "BIGINT")
_CHANGED = "last_updated"


def candidates(rule: RowRule, event_type: str, column: dict[str, str], ctx: Context) -> str:
    """Return the query for candidate events: all columns of the type, `key_text`, `can_repeat`.

    It reads `row_raw` and `row_patient`, and leaves out what is excluded or in `row_out`.
    """
    return _Statement(rule, event_type, column, ctx).query()


class _Statement:
    def __init__(
        self, rule: RowRule, event_type: str, column: dict[str, str], ctx: Context
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
        # a layer for each step: DuckDB computes a repeated expression anew wherever it stands
        steps = (self._shapes, self._read, self._placed, self._ended, self._typed, self._derived)
        query = self._told()
        for step in (*steps, self._enveloped):
            query = f"SELECT {', '.join(['*', *step()])} FROM ({query})"
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
        version = self.column[self.rule.version.column] if self.rule.version else "NULL::VARCHAR"
        parts = " || ".join(f"key_part({self.column[name]})" for name in self.rule.key)
        fixed = [
            f"{parts} AS key_text",
            "p.patient_key",
            f"{version} AS version_text",
            f"{self._operation()} AS operation",
        ]
        code, system = told_code(self.rule, self.type, self.column)
        inside = (
            ""
            if self.type in UNCODED
            else f" AND NOT EXISTS (SELECT 1 FROM row_out o WHERE o.code = {code} "
            f"AND o.code_system = {system})"
        )
        return (
            "SELECT source_file_sha, source_row, source_part, resource_text, noted, "
            f"{', '.join(fixed + told)} "
            "FROM row_raw LEFT JOIN row_patient p "
            f"ON p.patient_text = {self.column[self.rule.patient.column]} "
            f"WHERE route = {literal(self.type)} AND excluded IS NULL{inside}"
        )

    def _operation(self) -> str:
        if not (rule := self.rule.operation):
            return "'upsert'"
        meant = sql.mapped(self.column[rule.column], dict(rule.values), rule.default)
        return f"coalesce({meant}, {literal(rule.default)})"

    def _shapes(self) -> list[str]:
        """How times are written, and numbers without their comparator."""
        found = []
        for name, rule in self.times.items():
            text, pattern = _t(name), rule.format or "iso"
            found += [
                f"{sql.time_kind(text, pattern, 'auto')} AS {_q('shape', name)}",
                f"{sql.offset_text(text, pattern)} AS {_q('offset', name)}",
            ]
        if self._has_comparator():
            found.append(f"{sql.without_comparator(_t('value'))} AS {_q('body', 'value')}")
        return found

    def _has_comparator(self) -> bool:
        return "value" in self.rules and "comparator" in self.kinds

    def _read(self) -> list[str]:
        """Clock times as shown, how exact they are, the offset where one is told; numbers."""
        found = []
        for name, rule in self.times.items():
            text, pattern, shape = _t(name), rule.format or "iso", _q("shape", name)
            clock = sql.clock(text, pattern, shape, _q("offset", name))
            if rule.precision in _COARSE:
                clock = f"date_trunc({literal(rule.precision)}, {clock})"
            fixed = rule.precision not in (None, "auto")
            kind = f"CASE WHEN {shape} IS NOT NULL THEN {literal(rule.precision or '')} END"
            offset = sql.offset_minutes(_q("offset", name))
            has_offset = rule.precision not in _COARSE and "%z" not in pattern
            minutes = "0" if "%z" in pattern else offset if has_offset else "NULL::INTEGER"
            found += [
                f"{clock} AS {_q('local', name)}",
                f"{kind if fixed else shape} AS {_q('kind', name)}",
                f"CASE WHEN {shape} = 'instant' THEN {minutes} END AS {_q('minutes', name)}",
            ]
        for name, rule in self.rules.items():
            if self.kinds[name] in _NUMBERS:
                text = _q("body", name) if name == "value" and self._has_comparator() else _t(name)
                number = sql.any_number(text, rule.decimal or ".", rule.thousands)
                found.append(f"{number} AS {_q('number', name)}")
        return found

    def _zone(self, name: str) -> str:
        rule = self.times.get(name)
        return literal((rule.zone if rule else None) or self.ctx.zone)

    def _placed(self) -> list[str]:
        """Clock times as UTC instants, with what was odd about them; finite numbers."""
        found = []
        for name in self.times:
            local, minutes, zone = _q("local", name), _q("minutes", name), self._zone(name)
            exact = f"{minutes} IS NULL AND {_q('kind', name)} = 'instant'"
            if self.kinds.get(name) != "DATE":
                found += [
                    f"{sql.utc(local, minutes, zone)} AS {_q('placed', name)}",
                    f"CASE WHEN {exact} THEN local_time_flag({local}, {zone}) END "
                    f"AS {_q('odd', name)}",
                ]
        for name in self.rules:
            if self.kinds[name] in _NUMBERS:
                found.append(f"{sql.finite(_q('number', name))} AS {_q('finite', name)}")
        return found

    def _ended(self) -> list[str]:
        """Instants within the calendar; an ambiguous end before its start is the second hour."""
        found = []
        for name in self.times:
            if self.kinds.get(name) == "DATE":
                continue
            placed = _q("placed", name)
            if name == "ended_at" and "occurred_at" in self.times:
                begin = _q("placed", "occurred_at")
                second = f"local_to_utc({_q('local', name)}, {self._zone(name)}, 1)"
                early = f"{_q('minutes', name)} IS NULL AND {placed} < {begin}"
                placed = (
                    f"CASE WHEN {early} THEN CASE WHEN {second} >= {begin} THEN {second} "
                    f"ELSE {placed} END ELSE {placed} END"
                )
            found.append(f"{placed} AS {_q('utc', name)}")
        return found

    def _typed(self) -> list[str]:
        """The type's own fields, as far as each follows from its own cell."""
        return [
            f"{self._field(name, kind)} AS {quote(name)}"
            for name, kind in self.kinds.items()
            if name not in ("value_text", "comparator")
        ]

    def _field(self, name: str, kind: str) -> str:
        if name not in self.rules:
            return f"NULL::{kind}"
        text = _t(name)
        if key := named_key(name, text, self.rule, self.ctx):
            return key
        if kind == "TIMESTAMP":
            return sql.in_calendar(_q("utc", name))
        if kind == "DATE":
            exact = f"{_q('kind', name)} IN ('instant', 'day')"
            local = sql.in_calendar(_q("local", name))
            return f"CASE WHEN {exact} THEN CAST({local} AS DATE) END"
        if kind == "BOOLEAN":
            return sql.boolean(text)
        if kind in _NUMBERS:
            number = _q("finite", name)
            return number if kind == "DOUBLE" else sql.whole(number, kind)
        return text

    def _derived(self) -> list[str]:
        """Fields that follow from another one."""
        found = []
        for name in ("value_text", "comparator"):
            if name in self.kinds:
                told = _t(name) if name in self.rules else "NULL::VARCHAR"
                found.append(f"coalesce({told}, {self._from_value(name)}) AS {quote(name)}")
        if has_field(self.type, "end_precision"):
            known = "ended_at" in self.times
            kind = f"CASE WHEN ended_at IS NOT NULL THEN {_q('kind', 'ended_at')} END"
            found.append(f"{kind if known else 'NULL::VARCHAR'} AS end_precision")
        return found

    def _from_value(self, name: str) -> str:
        if "value" not in self.rules:
            return "NULL::VARCHAR"
        if name == "value_text":
            return f"CASE WHEN value IS NULL THEN {_t('value')} END"
        return f"CASE WHEN value IS NOT NULL THEN {sql.comparator(_t('value'))} END"

    def _enveloped(self) -> list[str]:
        """Everything else that an event of any type says."""
        ctx = self.ctx
        owner = f"{literal(ctx.site_id)}, {literal(ctx.source)}"
        exported = f"make_timestamp({ctx.exported_us}::BIGINT)"
        known = _CHANGED in self.times
        changed = "NULL::TIMESTAMP"
        if known:
            changed = sql.believed(sql.in_calendar(_q("utc", _CHANGED)), ctx.exported_us)
        number = sql.whole_text("version_text")
        kind = _q("kind", "occurred_at") if "occurred_at" in self.times else "NULL::VARCHAR"
        return [
            f"{literal(ctx.site_id)} AS site_id",
            f"{literal(ctx.source)} AS source",
            f"{literal(self.type)} AS event_type",
            f"{self._version(number, changed)} AS version",
            f"coalesce({changed}, {exported}) AS recorded_at",
            f"CASE WHEN occurred_at IS NOT NULL THEN {kind} END AS time_precision",
            f"{self._zone('occurred_at')} AS zone",
            f"{self._flags()} AS flags",
            f"{literal(ctx.batch_id)} AS batch_id",
            f"CASE WHEN resource_text IS NOT NULL THEN other_key({owner}, 'resource', "
            "resource_text) END AS resource_key",
            f"{str(self.rule.occurrence).lower()} AS can_repeat",
        ]

    def _version(self, number: str, changed: str) -> str:
        """The number, where the mapping tells of one; else the last change, else the export.

        Numbers and times are two scales, and the export is later than any change: a stand-in for
        what cannot be read would outrank the true versions for ever, so such a row has none.
        """
        if self.rule.version:
            return number
        told = f"coalesce(epoch_us({changed}), {self.ctx.exported_us}::BIGINT)"
        if _CHANGED not in self.times:
            return told
        return f"CASE WHEN {_t(_CHANGED)} IS NULL OR {changed} IS NOT NULL THEN {told} END"

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
        own = f"[{', '.join(raised)}]::VARCHAR[]"
        return f"list_sort(list_distinct(list_concat({own}, coalesce(noted, []))))"

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
    return "bad_number" if kind in _NUMBERS else "bad_value"


def _t(name: str) -> str:
    """Name of a field's told text; a dot, so that no field is called so."""
    return _q("told", name)


def _q(layer: str, name: str) -> str:
    return quote(f"{layer}.{name}")
