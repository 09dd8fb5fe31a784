"""What a mapping must be beside well-typed: every name known, every word understood."""

from __future__ import annotations

import codecs
import posixpath
from collections.abc import Iterator

from pipelines.sources.flat.model import FileRule, MappingTable
from pipelines.sources.rows import check_fields
from pipelines.sources.rows.check_delivery import check_times
from pipelines.sources.rows.check_rule import check_rule, check_zone, used_columns
from pipelines.sources.rows.errors import Mistake, closest
from pipelines.sources.rows.model import DeliveryRule, TimeSource, ToldTime

At = tuple[str | int, ...]
Mistakes = Iterator[Mistake]


def check_mapping(table: MappingTable) -> list[Mistake]:
    """Return every mistake of a mapping, in the order of the file."""
    found = list(check_zone(table.zone, ("zone",)))
    found += _delivery(table.delivery, table)
    names = [file.name for file in table.file]
    for number, file in enumerate(table.file):
        at: At = ("file", number)
        if file.name in names[:number]:
            remedy = "Give each [[file]] its own name."
            found.append(Mistake((*at, "name"), "two files have one name.", remedy))
        for part in (_reading, check_rule, _columns):
            found += part(file, at)
    return found


def _reading(file: FileRule, at: At) -> Mistakes:
    if posixpath.sep in file.pattern or "\\" in file.pattern:
        remedy = "Write a pattern of the file name alone, such as labs*.csv.gz."
        yield Mistake((*at, "pattern"), "a folder in the pattern.", remedy)
    yield from _signs(file, at)
    if not _is_text_encoding(file.encoding):
        remedy = "Write one that Python knows: utf-8, latin-1, cp1252, utf-16."
        yield Mistake((*at, "encoding"), "not a known text encoding.", remedy)
    if file.header and file.columns:
        remedy = "Delete `columns`, or write header = false."
        yield Mistake((*at, "columns"), "the header already names the columns.", remedy)
    if not file.header and not file.columns and file.format != "parquet":
        remedy = 'Write columns = ["...", ...] in the order of the file.'
        yield Mistake((*at, "header"), "no header and no names of columns.", remedy)
    for name in sorted({name for name in file.columns if file.columns.count(name) > 1}):
        yield Mistake((*at, "columns"), f"{name!r} is named twice.", "Name each column once.")


def _signs(file: FileRule, at: At) -> Mistakes:
    if len(file.delimiter) != 1 or file.delimiter in '\r\n"' or not file.delimiter.isascii():
        remedy = 'Write one character, such as ";" or "\\t".'
        yield Mistake((*at, "delimiter"), "not one ASCII character.", remedy)
    for name in ("quote", "escape"):
        sign: str = getattr(file, name)
        if len(sign) > 1 or sign in ("\r", "\n", *file.delimiter) or not sign.isascii():
            remedy = "Write one ASCII character other than the delimiter, or '' for none."
            yield Mistake((*at, name), "not one character of its own.", remedy)
    if file.escape and file.escape == file.quote:
        remedy = "Delete `escape`: doubled quotes are understood without it."
        yield Mistake((*at, "escape"), "the same character as `quote`.", remedy)
    if file.newlines_in_cells and not file.quote:
        remedy = "Delete it: only quotes can tell such line ends from those of records."
        yield Mistake((*at, "newlines_in_cells"), "there are no quotes.", remedy)


def _is_text_encoding(name: str) -> bool:
    try:
        "a".encode(codecs.lookup(name).name)
    except (LookupError, ValueError, TypeError):
        return False
    return True


def _columns(file: FileRule, at: At) -> Mistakes:
    if file.columns:
        for name, place in used_columns(file, at):
            if name not in file.columns:
                yield Mistake(place, f"no column {name!r}.", closest(name, file.columns))


def _delivery(rule: DeliveryRule, table: MappingTable) -> Mistakes:
    def column(source: ToldTime, at: At) -> Mistakes:
        return _column_source(source, at, table) if isinstance(source, TimeSource) else iter(())

    yield from check_times(
        rule.exported_at,
        rule.data_through,
        {t for file in table.file for t in file.event_types},
        {"column": column},
        "{ column = ..., file = ... }",
    )


def _column_source(source: TimeSource, at: At, table: MappingTable) -> Mistakes:
    yield from check_fields.check_format(source.format, at)
    names = {file.name: file for file in table.file}
    if source.file is None and len(names) > 1:
        yield Mistake(at, "which file has the column?", 'Add file = "..." with its name.')
    elif source.file is not None and source.file not in names:
        yield Mistake(at, f"no [[file]] is named {source.file!r}.", closest(source.file, names))
