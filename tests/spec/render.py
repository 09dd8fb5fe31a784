"""Writes the spec cases into docs/windows.md, and the mutations into docs/validation.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests import mutations
from tests.conftest import ROOT
from tests.spec.tables import COLUMNS, Row, Table, spec_files, tables_of

PAGE = ROOT / "docs" / "windows.md"
_PLACE = r"<!-- spec: {name} -->\n.*?<!-- /spec -->"
_FIELDS = ("case", "happens", "by", "settings", "outcome", "expected")


def rendered(page: str) -> str:
    """Return the page with the cases of every spec file between its markers.

    Errors:
        ValueError: a spec file has no markers, or markers name no spec file.
    """
    marked = re.findall(r"<!-- spec: (\w+) -->", page)
    if sorted(marked) != sorted(spec_files()):
        msg = f"docs/windows.md has markers for {marked}, tests/spec has {spec_files()}"
        raise ValueError(msg)
    for name in marked:
        pattern = re.compile(_PLACE.format(name=name), re.DOTALL)
        start, end = pattern.search(page).span()  # type: ignore[union-attr] # it was just found
        opening = f"<!-- spec: {name} -->\n"
        page = f"{page[:start]}{opening}{_cases(name)}<!-- /spec -->{page[end:]}"
    return page


def _cases(name: str) -> str:
    """The tables of one file, folded: the rules are read first."""
    tables = [one for one in tables_of(name) if one.rows]
    count = sum(len(one.rows) for one in tables)
    subject = name.partition("_")[2].replace("_", " ")
    head = f"<details><summary>{count} cases: {subject}</summary>"
    return "\n\n".join([head, *map(_table, tables), "</details>"]) + "\n"


def _table(table: Table) -> str:
    """One table, without the columns that are empty in it; cells that repeat are left blank."""
    used = [
        (head, name)
        for head, name in zip(COLUMNS, _FIELDS, strict=True)
        if any(getattr(row, name) for row in table.rows)
    ]
    lines = [f"| {' | '.join(head for head, _ in used)} |", f"|{'---|' * len(used)}"]
    above: Row | None = None
    for row in table.rows:
        cells = [_cell(row, above, name) for _, name in used]
        lines.append(f"| {' | '.join(cells)} |")
        above = row
    title = re.sub(r"^\d+\. ", "", table.title)
    return "\n".join([f"*{title}*", "", *lines])


def _cell(row: Row, above: Row | None, name: str) -> str:
    text = str(getattr(row, name))
    repeats = above is not None and row.case == above.case and text == getattr(above, name)
    if repeats and name in {"case", "happens"}:
        return ""
    # Words in angle brackets would be taken for HTML.
    return text.replace("<", "&lt;")


def write(page: Path, render: Callable[[str], str]) -> bool:
    """Write a page; return whether it changed."""
    old = page.read_text(encoding="utf-8")
    new = render(old)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old


if __name__ == "__main__":  # pragma: no cover - what `make docs` runs
    for path, render in ((PAGE, rendered), (mutations.PAGE, mutations.rendered)):
        if write(path, render):
            sys.stdout.write(f"wrote docs/{path.name}\n")
