"""docs/cookbook.md: questions in SQL, with the answers of the invented hospital.

People write questions, statements and notes; the answers are written here, by `make published`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "cookbook.md"

_QUESTION = re.compile(
    r"^### (?P<number>\d+)\. (?P<words>.+)\n\n```sql\n(?P<sql>(?:(?!```).*\n)+)```\n\n"
    r"(?P<answer>(?:\|.*\n)*\n?)(?=\*Denominator\.\*)",
    re.MULTILINE,
)

Ask = Callable[[str], tuple[Sequence[str], Sequence[Sequence[Any]]]]


class Question(NamedTuple):
    """A question of the page: its number, words, statement, and the answer that is printed."""

    number: int
    words: str
    sql: str
    answer: str


def questions(text: str) -> Iterator[Question]:
    """Yield the questions of the page, in its order."""
    for found in _QUESTION.finditer(text):
        yield Question(int(found["number"]), found["words"], found["sql"], found["answer"].strip())


def filled(text: str, ask: Ask) -> str:
    """Return the page with every answer written anew; `ask` gives names and rows of a statement."""

    def answer(found: re.Match[str]) -> str:
        head = found[0].removesuffix(found["answer"])
        return f"{head}{as_table(*ask(found['sql']))}\n\n"

    return _QUESTION.sub(answer, text)


def as_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as a Markdown table; numbers are set to the right."""
    numeric = [
        any(cell is not None for cell in column) and all(_is_number(cell) for cell in column)
        for column in (zip(*rows, strict=True) if rows else [[]] * len(names))
    ]
    rules = ["---:" if is_right else "---" for is_right in numeric]
    cells = [[_cell(one) for one in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, rules, *cells))


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).replace("|", "\\|")


def write(warehouse: Path) -> None:
    """Write the answers of a published warehouse into the page."""
    from warehouse.query import run_query

    def ask(sql: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        found = run_query(warehouse, sql)
        return found.columns, found.rows

    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), ask), encoding="utf-8")
