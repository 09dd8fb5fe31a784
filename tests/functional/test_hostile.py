"""Files that nobody should send, at every source: a clear message, or each record its own fate.

One table for all sources. A case says what a file holds; the same thing is said in CSV and in
NDJSON. Nothing is lost, nothing of a record is told by a message, links are not followed.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.base.errors import DripwatchError
from pipelines.sources.fhir.lines import load, open_fhir
from tests.flat_kit import HEADER, ROW, make_site, rows

pytestmark = pytest.mark.timeout(60)

SURNAME = "Zyxwvut4711"
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
PAGE = f"<!DOCTYPE html>\n<html><body>Session of {SURNAME} expired</body></html>\n".encode()


def record(kind: str, n: int = 1, text: str = SURNAME) -> bytes:
    """A sound record of a source, without its line end."""
    if kind == "csv":
        return ROW.replace("1,P-7", f"{n},P-{text}", 1).encode()
    return f'{{"resourceType":"Patient","id":"{n}","name":[{{"family":"{text}"}}]}}'.encode()


def file_of(kind: str, *records: bytes, end: bytes = b"\n") -> bytes:
    """A file of records, with what comes before them."""
    before = [HEADER.encode()] if kind == "csv" else []
    return end.join([*before, *records]) + end


def three(kind: str, middle: bytes) -> bytes:
    """A file whose second record is odd."""
    return file_of(kind, record(kind, 1), middle, record(kind, 3))


def zipped(kind: str) -> bytes:
    """An archive with a name that leads out of the folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../../escaped.txt", file_of(kind, record(kind)))
    return out.getvalue()


def tarred(kind: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("../../escaped.txt")
        info.size = len(record(kind))
        archive.addfile(info, io.BytesIO(record(kind)))
    return out.getvalue()


def many(kind: str) -> bytes:
    return gzip.compress(file_of(kind, *[record(kind, n) for n in range(1, 400)]))


#: What becomes of the records: "ok" or the reason of the quarantine, in order.
Fates = tuple[str, ...]
BAD = "unreadable_record"


@dataclass(frozen=True)
class Case:
    """A file, and either words of the message that refuses it or the fate of each record."""

    name: str
    content: Callable[[str], bytes]
    refused: str | None = None
    fates: Fates = ()
    kinds: tuple[str, ...] = ("csv", "ndjson")


BOTH = [
    Case("empty", lambda _: b"", "empty"),
    Case("only blank lines", lambda _: b"\n \r\n\n", "empty", kinds=("ndjson",)),
    Case("truncated gzip", lambda k: many(k)[:-30], "damaged or cut off"),
    Case("gzip with a broken byte", lambda k: many(k)[:60] + b"\0" + many(k)[61:], "damaged"),
    Case("gzip with something after it", lambda k: many(k) + b"garbage", "damaged"),
    Case("git-lfs pointer", lambda _: LFS, "Git LFS pointer"),
    Case("git-lfs pointer, gzip", lambda _: gzip.compress(LFS), "Git LFS pointer"),
    Case("web page", lambda _: PAGE, "web page"),
    Case("zip with a path that leads out", zipped, "zip archive"),
    Case("tar with a path that leads out", tarred, "tar archive"),
    Case("tar.gz", lambda k: gzip.compress(tarred(k)), "tar archive"),
    Case("gzip twice", lambda k: gzip.compress(many(k)), "gzip twice"),
    Case("bom", lambda k: b"\xef\xbb\xbf" + three(k, record(k, 2)), fates=("ok", "ok", "ok")),
    Case(
        "crlf",
        lambda k: file_of(k, record(k, 1), record(k, 2), end=b"\r\n"),
        fates=("ok", "ok"),
    ),
    Case(
        "lone cr",
        lambda k: file_of(k, record(k, 1), record(k, 2), end=b"\r"),
        fates=("ok", "ok"),
    ),
    Case("blank lines", lambda k: three(k, b"\n\n" + record(k, 2)), fates=("ok", "ok", "ok")),
    Case(
        "gzip of several members",
        lambda k: gzip.compress(file_of(k, record(k, 1))) + gzip.compress(record(k, 2) + b"\n"),
        fates=("ok", "ok"),
    ),
    Case("5 MB line", lambda k: three(k, record(k, 2, "x" * 5_000_000)), fates=("ok", "ok", "ok")),
    Case(
        "invalid utf-8",
        lambda k: three(k, record(k, 2).replace(b"Zyx", b"Z\xff\xfe")),
        fates=("ok", BAD, "ok"),
    ),
    Case(
        "cut last line", lambda k: file_of(k, record(k, 1)) + record(k, 2)[:-4], fates=("ok", BAD)
    ),
]
#: An extract keeps what can be read, whatever it says: checks of values come after it.
ROWS = [
    Case(
        "missing column", lambda _: b"id,patient,taken\n1,P-1,2025-03-01\n", "none of the 3 columns"
    ),
    Case(
        "column twice",
        lambda k: file_of(k, record(k)).replace(b"state", b"unit", 1),
        "2 of the 7 columns",
    ),
    Case("header again", lambda k: three(k, HEADER.encode()), fates=("ok", "ok", "ok")),
    Case(
        "absurd date",
        lambda k: three(k, record(k, 2).replace(b"2025-03-01", b"9999-99-99")),
        fates=("ok", "ok", "ok"),
    ),
    Case("negative id", lambda k: three(k, record(k, -2)), fates=("ok", "ok", "ok")),
    Case("too few cells", lambda k: three(k, b"2,P-1"), fates=("ok", BAD, "ok")),
]
LINES = [
    Case(
        "longer than 8 MB",
        lambda k: three(k, record(k, 2, "x" * 9_000_000)),
        fates=("ok", "too_long", "ok"),
    ),
    Case(
        "nul byte",
        lambda k: three(k, record(k, 2).replace(b"Zyx", b"Z\0x")),
        fates=("ok", BAD, "ok"),
    ),
    Case("last line without its end", lambda k: file_of(k, record(k, 1))[:-1], fates=("ok",)),
    *[
        Case(name, lambda k, odd=odd: three(k, odd.encode()), fates=("ok", reason, "ok"))  # type: ignore[misc]
        for name, odd, reason in [
            ("escaped nul", '{"resourceType":"A","id":"\\u0000"}', BAD),
            ("lone surrogate", '{"resourceType":"A","id":"\\ud800"}', BAD),
            ("nan", '{"resourceType":"A","v":NaN}', BAD),
            ("infinity", '{"resourceType":"A","v":-Infinity}', BAD),
            ("1e400", '{"resourceType":"A","v":1e400}', "ok"),
            ("trailing comma", '{"resourceType":"A","v":[1,]}', BAD),
            ("comment", '{"resourceType":"A"/**/}', BAD),
            ("key twice", '{"resourceType":"A","id":"1","id":"2"}', "duplicate_keys"),
            (
                "key twice deep down",
                '{"resourceType":"A","v":[{"w":{"x":1,"x":1}}]}',
                "duplicate_keys",
            ),
            (
                "key twice by escape",
                '{"resourceType":"A","id":"1","i\\u0064":"2"}',
                "duplicate_keys",
            ),
            ("64 levels", '{"resourceType":"A","v":' + "[" * 63 + "]" * 63 + "}", "ok"),
            ("65 levels", '{"resourceType":"A","v":' + "[" * 64 + "]" * 64 + "}", "too_deep"),
            (
                "100,000 levels",
                '{"resourceType":"A","v":' + "[" * 100_000 + "]" * 100_000 + "}",
                "too_deep",
            ),
            ("two on a line", '{"resourceType":"A"}{"resourceType":"A"}', BAD),
            ("array", '[{"resourceType":"A"}]', BAD),
            ("string", '"resourceType"', BAD),
            ("no type", '{"id":"1"}', "no_resource_type"),
            ("type is a number", '{"resourceType":1}', "no_resource_type"),
            ("parameters", '{"resourceType":"Parameters"}', "ok"),
        ]
    ],
]
CASES = [(case, kind) for case in BOTH for kind in case.kinds]
CASES += [(case, "csv") for case in ROWS] + [(case, "ndjson") for case in LINES]


def fates_of(kind: str, path: Path, root: Path) -> Fates:
    """Read a file by its source; return the fate of each record."""
    if kind == "ndjson":
        with duck.connect(threads=1) as con:
            found = load(con, open_fhir(path, "file 1 of 1"), "resources")
            told = {n: "ok" for (n,) in rows(con, "SELECT source_row FROM resources")}
        told |= {n: reason for n, reason, _ in found.unreadable}
        assert sorted(told) == list(range(1, found.n_rows + 1))
        return tuple(told[n] for n in sorted(told))
    site = make_site(root)
    folder = root / "inbox" / "night1"
    folder.mkdir(parents=True)
    path.rename(folder / f"labs-{SURNAME}.csv")
    with site.extracted() as con:
        fates = rows(con, "SELECT source_row, coalesce(reason, fate) FROM fate.row")
        told = dict(fates) | dict(rows(con, "SELECT source_row, 'ok' FROM event.\"LabResulted\""))
    return tuple(told[n] for n in sorted(told))


@pytest.mark.parametrize(("case", "kind"), CASES, ids=[f"{c.name}-{k}" for c, k in CASES])
def test_a_hostile_file_is_refused_with_a_remedy_or_costs_only_its_bad_records(
    case: Case, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIPWATCH_KEY", raising=False)
    path = tmp_path / "delivered"
    path.write_bytes(case.content(kind))
    if case.refused is None:
        assert fates_of(kind, path, tmp_path / "site") == case.fates
        return
    with pytest.raises(DripwatchError, match=case.refused) as caught:
        fates_of(kind, path, tmp_path / "site")
    assert SURNAME not in str(caught.value)
    assert caught.value.remedy
    assert caught.value.__cause__ is None
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_a_link_is_not_followed_and_a_pipe_is_not_waited_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIPWATCH_KEY", raising=False)
    target = tmp_path / "key"
    target.write_bytes(file_of(kind, record(kind)))
    (tmp_path / "link0").symlink_to(target)
    os.mkfifo(tmp_path / "link1")
    for n in range(2):
        path = tmp_path / f"link{n}"
        with pytest.raises(DripwatchError, match="no plain file"):
            fates_of(kind, path, tmp_path / f"site{n}")


MEASURE = """
import resource, sys
from pathlib import Path
from pipelines.base import duck
from pipelines.sources.fhir.lines import load, open_fhir
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = load(duck.connect(threads=1), open_fhir(Path(sys.argv[1]), "here"), "resources")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(found.n_rows, len(found.unreadable), (after - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "told"),
    [(b" ", (2, 0)), (b"\n", (2, 0)), (b"x", (3, 1))],
    ids=["blanks", "lines", "text"],
)
def test_a_gigabyte_that_packs_into_a_megabyte_needs_no_gigabyte_to_read(
    sign: bytes, told: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "bomb.ndjson.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(record("ndjson") + b"\n")
        for _ in range(1024):
            out.write(sign * (1 << 20))
        out.write(b"\n" + record("ndjson", 2) + b"\n")
    told_by = subprocess.run(
        [sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True
    )
    n_rows, n_bad, megabytes = map(int, told_by.stdout.split())
    assert (n_rows, n_bad) == told
    assert megabytes < 400
