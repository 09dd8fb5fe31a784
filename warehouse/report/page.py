"""What a page is made of: sections with figures, each with its numbers and its method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is read.
        column: the warehouse's column that it shows; empty where it is words.
        is_number: whether it is set to the right.
        is_head: whether it names its row.
    """

    text: str
    column: str = ""
    is_number: bool = False
    is_head: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table; `key` is the signal_key (or other key) of the warehouse's row behind it."""

    cells: tuple[Cell, ...]
    key: str = ""


@dataclass(frozen=True)
class Table:
    """The numbers of a figure: a caption, the columns' names, rows.

    Attributes:
        is_open: whether it is shown without being asked for: where it is the figure itself.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    is_open: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture beside its method, with its numbers below.

    Attributes:
        name: id on the page.
        title: what it shows, as a heading.
        svg: the picture; empty where it is not drawn.
        absent: why it is not drawn; empty where it is.
        notes: how to read it and how it was made, a paragraph each.
        table: the numbers.
        steps: boxes of a flow, in place of a picture.
    """

    name: str
    title: str
    svg: str = ""
    absent: str = ""
    notes: tuple[str, ...] = ()
    table: Table | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Step:
    """A box of a flow: what is counted, how many, and what was left out on the way to it."""

    text: str
    count: str
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page under one heading; `words` are paragraphs below its figures."""

    name: str
    title: str
    intro: str = ""
    figures: tuple[Figure, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A risk in words and digits, for the first screen."""

    question: str
    percent: str
    words: str
    interval: str
    key: str = ""


@dataclass(frozen=True)
class Card:
    """A fact beside the answer: alerts, changes, freshness, completeness.

    Attributes:
        tone: good, look or plain; never told by colour alone.
    """

    name: str
    title: str
    lead: str
    tone: str = "plain"
    lines: tuple[str, ...] = ()
    link: tuple[str, str] | None = None


@dataclass(frozen=True)
class StudyPart:
    """What the page tells of one study."""

    name: str
    title: str
    window: str
    answers: tuple[Answer, ...]
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    words: str = ""


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        site: whose it is, for its head and its title.
        state: hash of what it was made of.
        told: which state of what the site has told it shows; 0 where it is held against no other.
        closing: what the foot says of small counts, a paragraph each.
        invented: what a page of invented patients says of them.
    """

    site: str
    is_synthetic: bool
    state: str
    facts: Mapping[str, str]
    studies: Sequence[StudyPart]
    sections: Sequence[Section] = field(default=())
    closing: tuple[str, ...] = ()
    told: int = 0
    invented: str = "invented patients, no hospital"
