"""Copies, repeats and versions of one delivery equal a slow, obvious implementation."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.flat_kit import HEADER, MAPPING, FlatSite, make_site, rows

#: Few keys, versions and values, so that copies, ties and repeats are common.
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", ""]),
        st.sampled_from(["1", "2", "10", ""]),
        st.sampled_from(["7", "8"]),
    ),
    max_size=25,
)
NAMES = [*HEADER.split(","), "v"]
VERSIONED = MAPPING.replace('key = ["id"]', 'key = ["id"]\nversion = { column = "v" }')
REPEATING = VERSIONED.replace('key = ["id"]', 'key = ["id"]\noccurrence = true')

Told = tuple[str, str, str]


@pytest.fixture(scope="module")
def flat_site() -> Iterator[FlatSite]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        yield make_site(Path(folder), patch)


def table(told: list[Told]) -> pa.Table:
    lines = [
        (key, "P-7", "2025-03-01 08:30", "17861-6", value, "mmol/L", "F", version)
        for key, version, value in told
    ]
    columns = zip(*lines, strict=True) if lines else ([] for _ in NAMES)
    return pa.table(
        {n: pa.array(list(c), pa.string()) for n, c in zip(NAMES, columns, strict=True)}
    )


def deliver(site: FlatSite, told: list[Told], *, parquet: bool = False) -> None:
    folder = site.root / "inbox" / "night1"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    if parquet:
        pq.write_table(table(told), folder / "labs.parquet")
    else:
        pyarrow.csv.write_csv(table(told), folder / "labs.csv")


def outcome(
    site: FlatSite, mapping: str
) -> tuple[dict[int, tuple[str | None, str]], dict[int, tuple[str, str]]]:
    """Events as row -> (record key, content hash), and fates as row -> (fate, reason)."""
    with site.extracted(mapping) as con:
        events = rows(con, 'SELECT source_row, record_key, content_hash FROM event."LabResulted"')
        fates = rows(con, "SELECT source_row, fate, reason FROM fate.row")
    return (
        {row: (key, content) for row, key, content in events},
        {row: (fate, reason) for row, fate, reason in fates},
    )


def obvious(
    told: list[Told], content: dict[str, str], *, repeats: bool
) -> tuple[dict[int, str | None], dict[int, tuple[str, str]]]:
    """What must become of each row, by loops: row -> the n-th of its key, row -> fate.

    Args:
        told: key, version, value of each row.
        content: content hash of each value, taken from single rows.
        repeats: whether keys can repeat.
    """
    kept: dict[int, str | None] = {}
    fates: dict[int, tuple[str, str]] = {}
    by_key: dict[str, list[tuple[int | None, str, int]]] = defaultdict(list)
    for number, (key, version, value) in enumerate(told, start=1):
        if not key:
            kept[number] = None
            continue
        version_number = int(version) if version else None
        seen = by_key[key]
        if any(v == version_number and c == content[value] for v, c, _ in seen):
            fates[number] = ("duplicate", "copy")
        else:
            seen.append((version_number, content[value], number))
    for key, candidates in by_key.items():
        if repeats:
            ordered = sorted(candidates, key=lambda c: (c[1], c[0] is None, c[0] or 0))
            kept |= {row: f"{key}/{nth}" for nth, (_, _, row) in enumerate(ordered, start=1)}
            continue
        # What has no version is compared with nothing, and waits for validation to reject it.
        kept |= {row: key for version, _, row in candidates if version is None}
        versioned = [(v, c, row) for v, c, row in candidates if v is not None]
        if not versioned:
            continue
        best_version, _, best = max(versioned)
        kept[best] = key
        for version_number, _, row in versioned:
            if row != best:
                tie = version_number == best_version
                fates[row] = ("superseded", "tie" if tie else "version")
    return kept, fates


@pytest.fixture(scope="module")
def content(flat_site: FlatSite) -> dict[str, str]:
    found = {}
    for value in ("7", "8"):
        deliver(flat_site, [("a", "1", value)])
        events, _ = outcome(flat_site, VERSIONED)
        found[value] = events[1][1]
    return found


@pytest.mark.parametrize("repeats", [False, True])
@settings(max_examples=examples(8), deadline=None)
@given(told=ROWS)
def test_fates_equal_the_obvious_implementation(
    flat_site: FlatSite, content: dict[str, str], repeats: bool, told: list[Told]
) -> None:
    deliver(flat_site, told)
    events, fates = outcome(flat_site, REPEATING if repeats else VERSIONED)
    kept, expected = obvious(told, content, repeats=repeats)
    assert fates == expected
    assert events.keys() == kept.keys()
    reference = flat_site.key.record
    for row, name in kept.items():
        parts = name.split("/") if name else []
        key = reference("north", "lis", "LabResulted", *parts) if parts else None
        assert events[row] == (key, content[told[row - 1][2]])


@pytest.mark.parametrize("mapping", [VERSIONED, REPEATING])
@settings(max_examples=examples(5), deadline=None)
@given(told=ROWS, seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(
    flat_site: FlatSite, mapping: str, told: list[Told], seed: int
) -> None:
    def events_and_counts(order: list[Told]) -> tuple[list[str], list[tuple[str, str]]]:
        deliver(flat_site, order)
        events, fates = outcome(flat_site, mapping)
        return sorted(map(str, events.values())), sorted(fates.values())

    shuffled = random.Random(seed).sample(told, len(told))  # noqa: S311 - a shuffle
    assert events_and_counts(told) == events_and_counts(shuffled)


@settings(max_examples=examples(5), deadline=None)
@given(told=ROWS)
def test_parquet_equals_csv(flat_site: FlatSite, told: list[Told]) -> None:
    deliver(flat_site, told)
    from_csv = outcome(flat_site, VERSIONED)
    deliver(flat_site, told, parquet=True)
    assert outcome(flat_site, VERSIONED) == from_csv
