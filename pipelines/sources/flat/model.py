"""The tables of a mapping of flat files: which files, how they are written, what they hold.

A description here is the reference that users read; keep it in their words.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.sources.rows.model import DeliveryRule, MappingHead, RowRule, Text


class FileRule(RowRule):
    """One file, or a group of files of one shape, in every delivery."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="What the file is called in messages and by `file = ` elsewhere.",
    )
    pattern: str = Field(
        min_length=1, description="Glob of its file name in the delivery's folder."
    )
    format: Literal["auto", "csv", "parquet"] = Field(
        "auto", description="`auto` looks at the content; gzip is always seen by content."
    )
    delimiter: str = Field(",", description="One character between the cells of a CSV.")
    quote: str = Field('"', description="Quote character; '' where quotes mean nothing.")
    escape: str = Field("", description="Escape character; '' where quotes are doubled instead.")
    newlines_in_cells: bool = Field(
        default=False,
        description="Whether a quoted cell of a CSV may hold line ends. Else a record is one "
        "line, and a stray quote costs that line alone.",
    )
    last_line_may_lack_newline: bool = Field(
        default=False,
        description="Whether a whole CSV may end without a line end. Else its last line counts "
        "as cut off and is quarantined as unreadable.",
    )
    encoding: str = Field("utf-8", description="Encoding of a CSV, such as latin-1 or utf-16.")
    header: bool = Field(default=True, description="Whether the first record names the columns.")
    columns: list[str] = Field(
        default_factory=list, description="Names of the columns where header = false."
    )
    null: list[Text] = Field(
        default_factory=list,
        description="Texts that mean an empty cell, beside blanks: NULL, n/a, 9999-12-31.",
    )
    may_leave_scope: bool = Field(
        default=True,
        description="In a delta: whether a newer version of a record can be out of scope (another "
        "code, refused by `where`) where an older one was not. It then takes the older one out of "
        "force, which needs the key of every row out of scope; `false` spares them.",
    )


class MappingTable(MappingHead):
    """The whole of a mapping file."""

    delivery: DeliveryRule
    file: list[FileRule] = Field(min_length=1, description="One table per file or kind of file.")
