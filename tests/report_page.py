"""Reads a report as a reader does: the tables below the figures, row by row."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class ReadTable:
    """A table of the page: its figure, and of each row its key and its cells by column."""

    figure: str
    rows: list[tuple[str, dict[str, str]]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[ReadTable] = []
        self.links: list[str] = []
        self._figure = ""
        self._column: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.links += [told[name] for name in ("href", "src") if name in told]
        if tag == "figure":
            self._figure = told["id"]
        elif tag == "table":
            self.tables.append(ReadTable(self._figure))
        elif tag == "tr" and "data-key" in told:
            self.tables[-1].rows.append((told["data-key"], {}))
        elif tag in ("td", "th"):
            self._column = told.get("data-column")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._column = None

    def handle_data(self, data: str) -> None:
        if self._column and self.tables[-1].rows:
            cells = self.tables[-1].rows[-1][1]
            cells[self._column] = cells.get(self._column, "") + data


def read_tables(page: str) -> list[ReadTable]:
    """Return the tables of a page, in its order."""
    reader = _Reader()
    reader.feed(page)
    return reader.tables


def links(page: str) -> list[str]:
    """Return every address that a page names."""
    reader = _Reader()
    reader.feed(page)
    return reader.links
