"""`dripwatch profile`: what is in an extract, before anybody writes a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.console import plural
from flows.init import write_new
from flows.reply import Reply, UsageError
from pipelines.base.errors import DeliveryError
from pipelines.base.site import PrivacyTable, load_site

if TYPE_CHECKING:
    from pipelines.sources.profile.report import Codes, Count, Profile, Table
    from studies.load import Study

_LABEL = 26
_MODE = 0o644


def show_profile(
    extract: Path,
    answer: Reply,
    *,
    config: Path | None,
    min_cell: int | None,
    studies: Sequence[str],
    top: int,
    mapping_out: Path | None,
) -> None:
    """Print what is in an extract; write the suggested mapping if a file is named.

    Args:
        extract: file or folder.
        answer: gets the profile as its result.
        config: a site whose threshold and studies count; None for the defaults.
        min_cell: smallest count that is told; where a site is given too, the greater counts.
        studies: names or folders of studies whose codes count as known; empty for the site's,
            else for all shipped ones.
        top: values told per column and code system.
        mapping_out: file for the suggested mapping; it must not be there yet.

    Errors:
        DeliveryError: a file could not be read; what could be is printed all the same.
        UsageError: the file for the mapping is there already.
    """
    from pipelines.sources.profile.extract import profile

    threshold, known = _settings(config, min_cell, studies)
    with answer.console.step("profile") as step:
        found = profile(extract, known, min_cell=threshold, top=top, advance=step.advance)
    answer.result = found.to_json()
    answer.message = f"{plural(found.n_files, 'file')} profiled."
    _print(found, answer)
    if mapping_out is not None:
        answer.result["mappings_written"] = _write(found, mapping_out, answer)
    else:
        for kind, text in found.mappings.items():
            answer.console.say(f"\nSuggested mapping ({kind})\n\n{text}")
    if faults := [one for one in found.problems if one.is_fault]:
        raise DeliveryError(
            f"{plural(len(faults), 'file')} of {found.n_files} cannot be read; "
            "the profile tells of the others.",
            where=faults[0].where,
            remedy=f"{faults[0].what} {faults[0].remedy}",
        )


def _settings(
    config: Path | None, min_cell: int | None, studies: Sequence[str]
) -> tuple[int, list[Study]]:
    from studies.load import load_study, shipped_studies

    if config is None:
        default: int = PrivacyTable().min_cell
        names = list(studies) or shipped_studies()
        return min_cell or default, [load_study(name, Path.cwd()) for name in names]
    site = load_site(config)
    told = [load_study(name, Path.cwd()) for name in studies] or [
        load_study(name, site.root) for name in site.site.studies
    ]
    return max(min_cell or 1, site.privacy.min_cell), told


def _write(found: Profile, path: Path, answer: Reply) -> list[str]:
    """Write each suggested mapping; two kinds of source get a file each."""
    is_one = len(found.mappings) == 1
    targets = {
        kind: path if is_one else path.with_name(f"{path.stem}-{kind}{path.suffix}")
        for kind in found.mappings
    }
    for kind, target in targets.items():
        try:
            write_new(target, found.mappings[kind], _MODE)
        except FileExistsError:
            raise UsageError(
                "The file for the mapping is there already, and is not overwritten.",
                where=str(target),
                remedy="Name another file.",
            ) from None
        answer.console.say(f"Suggested mapping ({kind}) written to {target}")
    return [str(target) for target in targets.values()]


def _print(found: Profile, answer: Reply) -> None:
    say = answer.console.say
    k = found.min_cell
    say(
        f"{plural(found.n_files, 'file')}. Counts of fewer than {k} patients (rows, where no "
        f"patient\nis told) are left out, and what would give them away by subtraction;\nshares "
        f'are rounded. "few": fewer than {k} have it, "nearly all": fewer lack it.'
    )
    if found.studies:
        say(f"Codes are known to: {', '.join(found.studies)}.")
    for problem in found.problems:
        say(f"! {problem.where}: {problem.what} {problem.remedy}")
    for table in found.tables:
        _print_table(table, answer, k)


def _print_table(table: Table, answer: Reply, k: int) -> None:
    console = answer.console
    n_rows = f"fewer than {k}" if table.n_rows is None else f"{table.n_rows:,}"
    what = "resources" if table.kind == "fhir" else "rows"
    of = f" of {table.n_patients:,} patients" if table.n_patients is not None else ""
    files = f" in {plural(table.n_files, 'file')}" if table.n_files else ""
    told = f"{n_rows} {what}{of}{files}" if table.n_files or table.columns else "not counted"
    console.say(f"\n== {table.name} ({table.kind}): {told}")
    for note in table.notes:
        console.say(f"! {note}")
    if table.columns:
        head = "element" if table.kind == "fhir" else "column"
        rows = [[c.name, c.kind, c.filled, c.role] for c in table.columns]
        has_roles = any(c.role for c in table.columns)
        header = [head, "looks like", ">filled", "seems to be"]
        console.table(
            "",
            header if has_roles else header[:3],
            rows if has_roles else [row[:3] for row in rows],
        )
    if table.times:
        rows = [
            [
                one.name,
                " to ".join(dict.fromkeys(one.span)) if one.span else "not told",
                ", ".join(f"{name} {share}" for name, share in one.forms.items()) or "not told",
            ]
            for one in table.times
        ]
        console.table("", ["time", f"months with {k} or more", "written as"], rows)
    for codes in table.codes:
        _print_codes(codes, answer, has_patients=table.counts == "patients", k=k)
    rows = [
        [
            " + ".join(one.columns),
            f"fewer than {k}" if one.repeats is None else f"{one.repeats:,}",
            one.empty,
        ]
        for one in table.keys
    ]
    if rows:
        console.table("", ["key?", ">rows that repeat one", ">empty"], rows)


def _print_codes(codes: Codes, answer: Reply, *, has_patients: bool, k: int) -> None:
    console = answer.console
    known = "" if codes.known is None else f"; known to a study: {codes.known} of them"
    console.say(f"-- {codes.name}{known}")
    parts = [(None, None), *codes.systems] if not codes.systems else list(codes.systems)
    for system, n_rows in parts:
        some = [one for one in codes.values if one.system == system]
        if system is not None:
            console.say(f"   {system}: {n_rows:,}")
        if some:
            header, rows = _values(some, codes, has_patients=has_patients)
            console.table("", header, rows)
    if not codes.values:
        console.say(f"   no value that {k} or more have")
    elif codes.has_more or codes.has_more_systems:
        console.say("   (and others)")


def _values(
    some: Sequence[Count], codes: Codes, *, has_patients: bool
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of values, without columns that are empty."""
    columns: list[tuple[str, list[str]]] = [
        ("value", [one.value for one in some]),
        ("text", [_short(one.label or "") for one in some]),
        (">rows", [f"{one.n_rows:,}" for one in some]),
        (
            ">patients",
            [
                "" if one.n_patients is None or not has_patients else f"{one.n_patients:,}"
                for one in some
            ],
        ),
        ("units", [_units(one) for one in some]),
    ]
    if codes.is_coded:
        columns.append(("study", [", ".join(one.concepts) or "unmapped" for one in some]))
    kept = [(name, cells) for name, cells in columns if any(cells)]
    return [name for name, _ in kept], [
        list(row) for row in zip(*(c for _, c in kept), strict=True)
    ]


def _units(one: Count) -> str:
    told = [f"{unit} {n_rows:,}" for unit, n_rows in one.units or ()]
    return ", ".join(told + (["others"] if one.has_more_units and told else []))


def _short(text: str) -> str:
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"
