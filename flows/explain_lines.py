"""What `dripwatch explain` found, as lines for people: a signal's units, a unit's rows.

Names of files and codes are a source's own words: whoever prints these lines makes them printable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from flows.console import plural

Row = Mapping[str, Any]

DENOMINATORS = {
    "all": "closed, eligible units at risk; censored ones count as without event",
    "complete": "closed, eligible units at risk that are not censored",
    "observed": "of the complete, those that anybody looked at",
    "tested": "of the complete, those with a usable result in the window",
    "tested_with_baseline": "of the tested, those with a baseline",
    "determined": "of the complete, those whose composite is known",
}


def signal_lines(found: Row, limit: int, offset: int) -> Iterator[str]:
    """Yield a signal's definition, its numbers and its units; see `warehouse.trace`."""
    told, by, numbers = found["definition"], found, found["numbers"]
    yield f"SIGNAL {found['signal_key']}"
    yield f"  study        {by['study_id']}, version {told['version']}: {told['title']}"
    yield f"               study hash {told['study_hash']}"
    yield f"  outcome      {by['outcome']}: {told['label']} (kind {told['kind']})"
    yield f"  window       {by['window_name']}: {_window(told)}"
    yield f"               overlap {told['overlap']}, resolution {told['resolution']}"
    yield f"  stratum      {by['stratum']} = {by['stratum_value']}"
    yield f"  denominator  {by['denominator']}: {DENOMINATORS.get(by['denominator'], '')}"
    yield f"  numbers      {_numbers(numbers)}"
    yield f"               {_agreement(found)}"
    yield ""
    yield "  Units of the stratum by status, and those of them in the denominator:"
    for row in found["statuses"]:
        yield f"    {row['status']:<20}{row['n_units']:>8,}{row['n_in_denominator']:>8,}"
    yield ""
    shown = found["units"]
    if shown:
        yield f"  Units {offset + 1:,} to {offset + len(shown):,} of {found['n_units']:,}:"
    else:
        yield f"  No unit after the first {offset:,}: there are {found['n_units']:,}."
    for row in shown:
        yield f"    {row['unit_id']}  {row['status']}"
    if offset + len(shown) < found["n_units"]:
        yield f"  More: `--offset {offset + limit}`. One of them: `dripwatch explain --unit KEY`."


def _window(told: Row) -> str:
    ends = []
    for side in ("start", "end"):
        hours = told[f"{side}_offset_hours"]
        offset = f" {'+' if hours > 0 else '-'} {abs(hours):g} h" if hours else ""
        ends.append(f"{told[f'{side}_anchor']} of the unit{offset}")
    return " to ".join(ends)


def _numbers(row: Row) -> str:
    base = f"{row['n_events']:,} of {row['n_units']:,} units in {row['n_patients']:,} patients"
    if row["risk"] is None:
        return base
    low, high = row["ci_low"], row["ci_high"]
    interval = (
        "" if low is None else f" (95 % interval {low:.1%} to {high:.1%}, {row['ci_method']})"
    )
    return f"{base}: {row['risk']:.1%}{interval}"


def _agreement(found: Row) -> str:
    again = "equal" if found["is_recounted"] else "NOT EQUAL; report it"
    published, numbers = found["published"], found["numbers"]
    if published is None:
        seen = "not in the published warehouse"
    elif (published["n_units"], published["n_events"]) == (
        numbers["n_units"],
        numbers["n_events"],
    ):
        seen = "equal in the published warehouse"
    else:
        seen = "other than in the published warehouse: refresh"
    return f"counted again from the linked rows: {again}; {seen}"


# A unit ------------------------------------------------------------------------------------------

_STRATA = ("drug", "indication_type", "ordinal_in_record", "is_naive", "setting", "age_months",
           "age_band", "sex", "evidence", "premedicated", "co_infusion",
           "calendar_quarter")  # fmt: skip


def unit_lines(found: Row) -> Iterator[str]:
    """Yield a unit's infusions, outcomes and records; see `warehouse.trace_unit`."""
    yield f"UNIT {found['unit_id']}"
    for course in found["courses"]:
        yield f"  study      {course['study_id']}"
        yield f"  patient    {course['patient_key']}"
        yield f"  time       {_at(course['started_at'])} to {_at(course['ended_at'])}"
        yield f"             index date {course['index_date']}, {_end(course)}"
        reason = course["ineligible_reason"]
        yield f"  eligible   {'yes' if course['is_eligible'] else f'no: {reason}'}"
        yield from _wrapped("  strata     ", [f"{one}={_text(course[one])}" for one in _STRATA])
        yield from _flags("  flags      ", course)
    for infusion in found["infusions"]:
        yield ""
        yield f"INFUSION {infusion['infusion_key']}"
        yield (
            f"  {_at(infusion['started_at'])} to {_at(infusion['ended_at'])}, {infusion['drug']}, "
            f"{infusion['evidence']}, {infusion['status']}, {infusion['route']}"
        )
        yield from _flags("  flags      ", infusion)
        for record in infusion["records"]:
            yield from _record_lines(record)
    for one in found["outcomes"]:
        yield ""
        yield from _outcome_lines(one)


def _end(course: Row) -> str:
    end, reason = course["follow_up_ended_at"], course["follow_up_end_reason"]
    return f"followed up to {_at(end)} ({reason})" if end else "follow-up has not ended"


def _outcome_lines(one: Row) -> Iterator[str]:
    hidden = "" if one["is_published"] else " (not published)"
    name = f"{one['study_id']}/{one['outcome']}/{one['window_name']}"
    yield f"OUTCOME {name}: {one['status']}{hidden}"
    cut = f"cut {_at(one['cut_at'])} by {one['cut_reason']}" if one["cut_reason"] else "not cut"
    closed = "closed" if one["is_closed"] else "open"
    window = f"{_at(one['window_start_at'])} to {_at(one['window_end_at'])}"
    yield f"  window     {window}, {cut}, {closed}"
    if one["at_risk_days"] is not None:
        events = plural(one["n_events"] or 0, "event")
        yield f"  at risk    {one['at_risk_days']:.2f} days, {events}"
    if one["onset_at"] is not None:
        grade = "" if one["grade"] is None else f", grade {one['grade']}"
        yield f"  onset      {_at(one['onset_at'])} (known by the {one['onset_precision']}){grade}"
    for name in ("baseline", "worst"):
        if one[f"{name}_value"] is not None:
            yield (
                f"  {name:<11}{one[f'{name}_value']:g} {one[f'{name}_unit']} "
                f"at {_at(one[f'{name}_at'])}"
            )
    members = [f"{name}: {status}" for name, status in one["components"].items()]
    yield from _wrapped("  components ", members)
    why = [name for name in ("is_worsened", "is_pre_existing", "is_serious", "is_treated")
           if one[name]]  # fmt: skip
    why += [f"serious: {name}" for name in one["serious_criteria"] or ()]
    why += [f"graded as {one['measure']}"] if one["measure"] else []
    yield from _wrapped("  also       ", why)
    yield from _flags("  flags      ", one)
    for link in one["evidence"]:
        verdict = "; counts" if link["is_counted"] else f"; does not count: {link['reason']}"
        told = "" if link["reason"] == link["role"] else verdict
        yield f"  {link['role']:<11}{link['rule']}{told}"
        if link["record"]:
            yield from _record_lines(link["record"])


def _record_lines(record: Row) -> Iterator[str]:
    yield f"    {record['event_type']} {record['record_key']}"
    said = [_at(record["occurred_at"])] if record.get("occurred_at") else []
    said += [f"{record['code_system']} {record['code']}"] if record.get("code") else []
    for value, unit in (("value", "unit"), ("dose_value", "dose_unit")):
        if record.get(value) is not None:
            said.append(f"{record[value]:g} {record.get(unit) or ''}".rstrip())
    said += [str(record[name]) for name in ("evidence", "status") if record.get(name)]
    yield f"      {', '.join(said)}"
    yield from _place_lines(record["place"])
    failed = record.get("flags") or ()
    yield f"      checks and flags: {', '.join(failed) or 'none'}"
    for bad in record["quarantined"]:
        where = f"data row {bad['source_row']} of {bad['file_name'] or bad['source_file_sha']}"
        yield f"      another version was rejected ({', '.join(bad['check_ids'])}): {where}"


def _place_lines(place: Row) -> Iterator[str]:
    part = f", part {place['source_part']}" if place["source_part"] is not None else ""
    name = place["file_name"] or "a file whose name is not known"
    yield f"      data row {place['source_row']}{part} of {name} (source {place['source']})"
    yield f"      file {place['source_file_sha']}"
    yield f"      batch {place['batch_id']}"


def _flags(head: str, row: Row) -> Iterator[str]:
    yield from _wrapped(head, list(row["flags"] or ()))


def _wrapped(head: str, words: list[str]) -> Iterator[str]:
    import textwrap

    if words:
        inner = " " * len(head)
        yield from textwrap.wrap(", ".join(words), 80, initial_indent=head, subsequent_indent=inner)


def _at(instant: datetime | None) -> str:
    return "?" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


def _text(value: Any) -> str:  # noqa: ANN401 - a cell
    return (
        "unknown"
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
