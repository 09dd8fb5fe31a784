"""Data Docs: what Great Expectations says about a batch, as pages that open without a network.

GX renders the pages; its template asks several content networks for styles and scripts and calls
home for a logo with an id. So only the text and the tables of a page are kept (an allow list, not
a list of what is bad today), under a stylesheet of our own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.judged import RECORDS
from expectations.table import checks_of
from pipelines.base.files import write_durably

if TYPE_CHECKING:
    from expectations.suites import GxResult
    from pipelines.ingest.facts import CheckResult

_KEPT = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "span", "strong", "em", "b"}) | {
    *("table", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li", "i", "br", "a")
}
_VOID = frozenset({"br"})
#: Dropped with everything inside them.
_DROPPED = frozenset({"script", "style", "nav", "head", "form", "button", "svg", "iframe"})
_SECTION = re.compile(r"^#?section-\d+$")
_ICON = re.compile(r"^[a-z0-9 -]+$")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1d2733; background: #fff }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { border: 1px solid #cfd6de; padding: .3rem .55rem; text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums }
tr.failed td { background: #fff4e5 } tr.error td { background: #fde8e8 }
.fa-check-circle::before { content: "passed"; color: #17643b }
.fa-times::before, .fa-times-circle::before { content: "failed"; color: #a11b1b }
.fa-exclamation-triangle::before { content: "error"; color: #a11b1b }
.banner { background: #ffd34d; color: #3a2a00; padding: .35rem 1rem; text-align: center }
body { overflow-wrap: anywhere }
@media (max-width: 60rem) { table { display: block; overflow-x: auto } }
@media (prefers-color-scheme: dark) { body { color: #dfe5ec; background: #12171d }
  th, td { border-color: #3a4654 } tr.failed td { background: #3b2d14 }
  tr.error td { background: #45191c } a { color: #8ab8ff } }
"""


class _Sanitiser(HTMLParser):
    """Keeps the text and the tables of a page, and no attribute that could fetch or run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._inside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._inside += 1
        elif not self._inside and tag in _KEPT:
            self.parts.append(f"<{tag}{''.join(_attribute(*pair) for pair in attrs)}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._inside = max(0, self._inside - 1)
        elif not self._inside and tag in _KEPT - _VOID:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.parts.append(html.escape(data))


def _attribute(name: str, value: str | None) -> str:
    kept = (
        (name in ("id", "href") and _SECTION.match(value or ""))
        or (name == "class" and _ICON.match(value or ""))
        or (name in ("colspan", "rowspan") and (value or "").isdigit())
    )
    return f' {name}="{value}"' if kept else ""


def sanitise(page: str) -> str:
    """Return the body of an HTML page with its text and tables alone."""
    parser = _Sanitiser()
    parser.feed(page)
    parser.close()
    lines = (line.strip() for line in "".join(parser.parts).splitlines())
    return "\n".join(line for line in lines if line)


def _page(title: str, body: str, *, is_synthetic: bool) -> bytes:
    banner = '<p class="banner"><strong>SYNTHETIC</strong> invented patients, no hospital</p>\n'
    top = f'{banner if is_synthetic else ""}<p><a href="../index.html">The report</a></p>\n'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{top}<main>\n{body}\n</main>\n</body>\n</html>\n"
    ).encode()


def write_docs(
    folder: Path,
    results: Sequence[CheckResult],
    by_gx: Mapping[str, Mapping[str, GxResult]],
    *,
    is_synthetic: bool = False,
) -> None:
    """Write `index.html` and a page per event type; nothing else, nowhere else.

    The pages hold counts and the check table's own words: no value, no key, no time of day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {name: _file_name(name) for name in by_gx}
    for name, verdicts in by_gx.items():
        body = f'<p><a href="index.html">All checks</a></p>\n{_gx_body(name, verdicts)}'
        write_durably(
            folder / pages[name],
            _page(f"Checks of {_label(name)}", body, is_synthetic=is_synthetic),
        )
    index = _page("Checks of this batch", _index(results, pages), is_synthetic=is_synthetic)
    write_durably(folder / "index.html", index)


def _file_name(event_type: str) -> str:
    return "records.html" if event_type == RECORDS else f"{event_type}.html"


def _label(event_type: str) -> str:
    return "records that became no event" if event_type == RECORDS else event_type


def _gx_body(event_type: str, verdicts: Mapping[str, GxResult]) -> str:
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
    )
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    # An error's text quotes SQL and may quote values; the index says that there was one.
    shown: list[Any] = [one.raw for one in verdicts.values() if one.n_failed is not None]
    passed = sum(bool(one.success) for one in shown)
    suite = ExpectationSuiteValidationResult(
        success=passed == len(shown),
        results=shown,
        suite_name=_label(event_type),
        suite_parameters={},
        statistics={
            "evaluated_expectations": len(shown),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(shown) - passed,
            "success_percent": 100 * passed / len(shown) if shown else None,
        },
        meta={},
    )
    document = ValidationResultsPageRenderer().render(suite)
    page: str = DefaultJinjaPageView().render(document)
    # Before the first section stand buttons and a list of links, which need GX's scripts.
    return sanitise(page[max(0, page.find('<div id="section-1"')) :])


def _index(results: Sequence[CheckResult], pages: Mapping[str, str]) -> str:
    notes = {check.id: check.note for name in pages for check in checks_of(name)}
    head = "Event type|Check|Column|Severity|Category|Rows|Failing|Great Expectations|Why"
    rows = [_row(one, pages[one.event_type], notes[one.check_id]) for one in results]
    return (
        "<h1>Checks of this batch</h1>\n<p>Failing rows of a reject check are in the quarantine, "
        "those of a warn check carry its name as a flag, those of an info check are counted.</p>\n"
        f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in head.split('|'))}</tr></thead>"
        f"\n<tbody>\n{''.join(rows)}</tbody></table>"
    )


def _row(one: CheckResult, page: str, note: str) -> str:
    style = "error" if not one.agrees else "failed" if one.n_failed_sql else ""
    counted = "no verdict" if one.n_failed_gx is None else f"{one.n_failed_gx}"
    link = f'<a href="{page}">{html.escape(_label(one.event_type))}</a>'
    words = (link, one.check_id, html.escape(one.column), one.severity, one.kahn_category)
    numbers = (f"{one.n_rows}", f"{one.n_failed_sql}", counted)
    cells = "".join(f"<td>{word}</td>" for word in words)
    cells += "".join(f'<td class="n">{number}</td>' for number in numbers)
    return f'<tr class="{style}">{cells}<td>{html.escape(note)}</td></tr>\n'
