"""A page as one HTML file: rendered from its parts, written in one rename."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pipelines.base.files import write_durably
from pipelines.base.storage import storing
from warehouse.report.page import Page


@dataclass(frozen=True)
class Written:
    """A report that was written: where, how large, and how many pictures it has."""

    path: Path
    n_bytes: int
    n_figures: int


def render(page: Page, mark: str, docs: str = "") -> str:
    """Return a page as HTML: no script, and no address but the Data Docs beside it.

    Args:
        page: its parts.
        mark: what it says in its head of the state that it shows.
        docs: where the Data Docs are; empty where there are none.
    """
    import jinja2

    own = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((own / "template.html").read_text(encoding="utf-8"))
    style = (own / "style.css").read_text(encoding="utf-8")
    return template.render(page=page, style=style, mark=mark, docs=docs)


def write_page(out: Path, text: str) -> Written:
    """Write a rendered page; a reader has the old one or the new one, whole.

    Errors:
        StorageError: it cannot be written.
    """
    data = text.encode()
    with storing("writing the report", out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_durably(out, data)
    return Written(out, len(data), text.count("<figure"))
