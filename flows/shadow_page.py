"""A study beside the running one, as tables: for the console and for a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flows.console import plural
from flows.run import as_markdown
from studies.surveillance import pair_hash

if TYPE_CHECKING:
    from flows.shadow import Shadow
    from studies.diff import Change
    from warehouse.compare import RiskPair

#: Title, header (`>`: numbers) and rows.
Part = tuple[str, list[str], list[list[str]]]


def console_parts(found: Shadow) -> Iterator[Part]:
    """Yield the tables for the console; numbers only of invented patients."""
    yield from _definitions(found)
    yield from _to_deliver(found)
    if found.site.site.synthetic:
        yield from _numbers(found)


def page(found: Shadow) -> str:
    """Return the whole comparison in Markdown; it holds counts, unmasked, and stays at the site."""
    synthetic = "SYNTHETIC: invented patients. " if found.site.site.synthetic else ""
    lines = [
        f"# {found.new.id} {found.new.model.study.version} beside {found.running.id} "
        f"{found.running.model.study.version}",
        "",
        f"{synthetic}Site {found.site.site.id}, {plural(found.n_batches, 'batch', 'batches')}"
        f"{f' exported up to {found.as_of}' if found.as_of else ''}; both were linked from them "
        f"by the same version. {len(found.different):,} of "
        f"{plural(len(found.signals), 'signal')} differ.",
        "",
        "Counts are not masked: this page stays where it is.",
    ]
    if found.definitions.is_empty:
        lines += ["", "The two definitions are the same."]
    for title, header, rows in (
        *_definitions(found),
        *_to_deliver(found),
        *_numbers(found),
        *_signals("Signals of strata that differ", _of_strata(found)),
    ):
        lines += ["", f"## {title}", "", *as_markdown((header, [_escaped(row) for row in rows]))]
    lines += ["", "Every denominator is in the file of the same name that ends in `.csv`."]
    lines += ["", f"Study hashes: running `{found.running.study_hash}`,"]
    lines += [f"new `{found.new.study_hash}`."]
    return "\n".join(lines) + "\n"


def _escaped(row: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in row]


def _definitions(found: Shadow) -> Iterator[Part]:
    told = found.definitions
    watched = found.running.model.surveillance.pair
    running = {pair_hash(found.running, one) for one in watched}
    header = ["setting", "running", "new"]
    for title, changes in (("Settings", told.settings), ("Windows", told.windows)):
        if changes:
            yield title, header, [_change(one) for one in changes]
    rows = [
        [which, row["concept"], row["event_type"], f"{row['code_system']} {row['code']}",
         row["match"], row["label"]]
        for which, some in (("added", told.codes.added), ("removed", told.codes.removed))
        for row in some
    ]  # fmt: skip
    if rows:
        yield "Codes", ["", "concept", "event type", "code", "match", "label"], rows
    limits = [
        [one.table, which, ", ".join(value for value in row.values() if value)]
        for one in told.limits
        for which, some in (("added", one.added), ("removed", one.removed))
        for row in some
    ]
    if limits:
        yield "Limits", ["table", "", "row"], limits
    published = [
        [which, row["measure"], f"{row['outcome']}/{row['window']}",
         f"{row['stratum']}={row['stratum_value']}", row["value"] or "-",
         f"{row['low']} to {row['high']}" if row["low"] else "-"]
        for which, some in (("added", told.published.added), ("removed", told.published.removed))
        for row in some
    ]  # fmt: skip
    anew = [
        [one.outcome, one.window, one.watched]
        for one in found.new.model.surveillance.pair
        if pair_hash(found.new, one) not in running
    ]
    if anew:
        yield "Surveillance that would begin anew", ["outcome", "window", "watched"], anew
    if published:
        header = ["", "measure", "outcome", "stratum", "as printed", "stands for"]
        yield "Published numbers", header, published
    if told.n_relabelled:
        yield "Codes with another label or source", [">codes"], [[f"{told.n_relabelled:,}"]]


def _change(one: Change) -> list[str]:
    name = one.path if one.kind == "changed" else f"{one.path} ({one.kind})"
    return [name, _shown(one.old), _shown(one.new)]


def _shown(value: Any) -> str:  # noqa: ANN401 - a JSON value
    """Return a setting's value as one reads it; a whole table is named by its place alone."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return "there"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _to_deliver(found: Shadow) -> Iterator[Part]:
    left = found.left_out
    if left.codes:
        rows = [
            [one.concept, one.event_type, f"{one.code_system} {one.code}", one.match]
            for one in left.codes
        ]
        yield "Codes that were never in scope", ["concept", "event type", "code", "match"], rows
    if left.batches:
        yield (
            "Needs to be delivered again: rows with such codes were left out",
            [">batches", ">rows"],
            [[f"{len(left.batches):,}", f"{left.n_rows:,}"]],
        )


def _numbers(found: Shadow) -> Iterator[Part]:
    steps = [[step, f"{old:,}", f"{new:,}"] for step, old, new in found.steps]
    if steps:
        yield "From records to units", ["step", ">running", ">new"], steps
    undivided = [one for one in found.signals if one.is_headline and one.stratum == "all"]
    yield from _signals("Signals of all units", undivided)


def _of_strata(found: Shadow) -> list[RiskPair]:
    return [one for one in found.different if one.is_headline and one.stratum != "all"]


def _signals(title: str, pairs: Sequence[RiskPair]) -> Iterator[Part]:
    header = ["outcome", "window", "stratum", ">running", ">new"]
    rows = [
        [one.outcome, one.window_name, _stratum(one), _counted(one.old), _counted(one.new)]
        for one in pairs
    ]
    if pairs:
        yield title, header, rows


def _stratum(one: RiskPair) -> str:
    return "all" if one.stratum == "all" else f"{one.stratum}={one.stratum_value}"


def _counted(numbers: dict[str, Any] | None) -> str:
    """Return events, units and risk as the summary of a night writes them."""
    if numbers is None:
        return "-"
    counts = f"{numbers['n_events']:,}/{numbers['n_units']:,}"
    return counts if numbers["risk"] is None else f"{counts} = {100 * numbers['risk']:.1f} %"


def as_csv(found: Shadow) -> str:
    """Return every row of the comparison, with intervals, as CSV; unmasked, as the page is."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    key = ("outcome", "window_name", "stratum", "stratum_value", "denominator", "is_headline")
    names = ("n_events", "n_units", "n_patients", "risk", "ci_low", "ci_high")
    writer.writerow([*key, *(f"{which}_{name}" for which in ("running", "new") for name in names)])
    for one in found.signals:
        numbers = [(side or {}).get(name) for side in (one.old, one.new) for name in names]
        writer.writerow([*(getattr(one, name) for name in key), *numbers])
    return text.getvalue()
