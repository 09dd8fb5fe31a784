"""What a file is, by its first bytes: FHIR, Parquet, CSV and how it is written, or nothing of use.

A file's name is no evidence: it is used for nothing but a suggested pattern.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from pipelines.base.errors import DeliveryError
from pipelines.sources.flat.model import FileRule
from pipelines.sources.profile.names import file_pattern, is_header
from pipelines.sources.profile.report import NoTableError
from pipelines.sources.rows.content import damaged, open_content, reading

#: Bytes that are looked at.
_HEAD = 1 << 20
_LINES = 200
_DELIMITERS = (",", ";", "\t", "|")
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"BZh",
    b"\xfd7zXZ",
    b"7z\xbc\xaf",
    b"(\xb5/\xfd",
    b"Rar!",
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Sniffed:
    """A file and what it is.

    Attributes:
        path, where: the file, and how messages call it.
        kind: fhir, parquet or csv.
        rule: how to read it, unless it is FHIR.
        has_header: whether its first record is believed to name the columns.
        pattern: glob of its name, without words that may be a patient's.
    """

    path: Path
    where: str
    kind: str
    rule: FileRule | None
    has_header: bool
    pattern: str


def sniff(path: Path, where: str) -> Sniffed:
    """Look at a file's first bytes.

    Errors:
        DeliveryError: it is damaged, empty, an archive, a pointer to a file elsewhere, or binary.
        NoTableError: it is text, but no table.
    """
    with reading(where), open_content(path) as stream:
        head = stream.read(_HEAD)
        is_whole = not stream.read(1)
    _refuse(head, where)
    pattern = file_pattern(path.name)
    if head.startswith(b"PAR1"):
        return Sniffed(path, where, "parquet", plain_rule(), has_header=True, pattern=pattern)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return Sniffed(path, where, "fhir", None, has_header=True, pattern=pattern)
    if b"\0" in head and not head.startswith(_UTF16):
        raise _unusable(where, "A file is binary, and no Parquet.")
    rule, records = _csv(head, path, where, is_whole=is_whole)
    has_header = is_header(records[0])
    if not has_header:
        names = [f"c{n}" for n in range(1, len(records[0]) + 1)]
        rule = rule.model_copy(update={"header": False, "columns": names})
    return Sniffed(path, where, "csv", rule, has_header, pattern)


def plain_rule(**settings: object) -> FileRule:
    """Return a rule that reads a file and makes no event of it."""
    told = {"name": "file", "pattern": "*", "event": "out_of_scope", "key": ["id"]}
    return FileRule.model_validate({**told, "patient": {"column": "id"}, **settings})


def _refuse(head: bytes, where: str) -> None:
    if not head.strip():
        raise damaged(where, "A file is empty.")
    if head.startswith(b"version https://git-lfs"):
        raise DeliveryError(
            "A file is a Git-LFS pointer: the data are elsewhere.",
            where=where,
            remedy="Run `git lfs pull` where it came from, and copy the file itself.",
        )
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        raise DeliveryError(
            "A file is an archive.",
            where=where,
            remedy="Unpack it; gzip (.gz) of single files is read as it is.",
        )
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|[a-zA-Z])", head, re.IGNORECASE):
        raise _unusable(where, "A file is HTML or XML, perhaps an error page.")


def _unusable(where: str, what: str) -> DeliveryError:
    remedy = "Export it again as CSV, Parquet, or FHIR JSON; gzip is fine."
    return DeliveryError(what, where=where, remedy=remedy)


def _csv(
    head: bytes, path: Path, where: str, *, is_whole: bool
) -> tuple[FileRule, list[list[str]]]:
    encoding = _encoding(head, is_whole=is_whole)
    text = head.decode(encoding, "replace").removeprefix("\ufeff")
    lines = text.splitlines()
    if not is_whole and len(lines) > 1:
        lines.pop()  # cut by the size of the look, not by the sender
    lines = [line for line in lines if line.strip()][:_LINES]
    delimiter = max(_DELIMITERS, key=lambda sign: _fit(lines, sign))
    if _fit(lines, delimiter) == 0:
        if not re.search(r"\.(csv|tsv)(\.gz)?$", path.name, re.IGNORECASE):
            raise NoTableError(
                "A file is neither a table nor FHIR; it was left out.",
                where=where,
                remedy="Nothing, if it is a licence or a note.",
            )
        delimiter = ","
    rule = plain_rule(
        delimiter=delimiter,
        encoding=encoding,
        last_line_may_lack_newline=is_whole and not text.endswith(("\n", "\r")),
    )
    return rule, _records(lines, delimiter)


def _encoding(head: bytes, *, is_whole: bool) -> str:
    if head.startswith(_UTF16):
        return "utf-16"
    whole = head if is_whole else head[: head.rfind(b"\n") + 1]
    try:
        whole.decode()
    except UnicodeDecodeError as error:
        # a stray byte spoils a record; many of them are another encoding
        rest = whole[error.start :]
        broken = rest.decode("utf-8", "replace").count("\ufffd")
        return "cp1252" if broken > 3 and _is_cp1252(whole) else "utf-8"
    return "utf-8"


def _is_cp1252(data: bytes) -> bool:
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return not re.search(rb"[\x00-\x08\x0e-\x1f]", data)


def _records(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    except csv.Error:
        rows = [line.split(delimiter) for line in lines]
    return [[cell.strip() for cell in row] for row in rows if row]


def _fit(lines: list[str], delimiter: str) -> float:
    """Return how well a delimiter cuts the lines: cells of the first, if others have as many."""
    rows = _records(lines, delimiter)
    n_cells = len(rows[0])
    alike = sum(len(row) == n_cells for row in rows) / len(rows)
    return n_cells * alike if n_cells > 1 and alike >= 0.6 else 0.0
