"""Packs whose own site signed something hostile: refused with a reason, or pooled as any other."""

from __future__ import annotations

import copy
import json
import os
import random
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.base.errors import PackError
from pipelines.pooling import packs
from pipelines.pooling.packs import Pack, read_pack
from tests.examples import examples
from tests.insider_kit import (
    BOTH,
    COUNT,
    FLOATS,
    HARMLESS,
    NUMBERS,
    RISK,
    TEXTS,
    VALUES,
    Insider,
    Json,
    bombs,
)


@pytest.fixture(scope="module")
def insider(tmp_path_factory: pytest.TempPathFactory) -> Insider:
    return Insider(tmp_path_factory.mktemp("insider"))


def refusal(insider: Insider, folder: Path) -> str:
    """Why a pack is refused; the reason can be shown on any terminal."""
    with pytest.raises(PackError) as caught:
        read_pack(folder, insider.keys)
    told = str(caught.value)
    assert not any(unicodedata.category(one)[0] == "C" and one != "\n" for one in told)
    assert len(told) < 1_000
    return told


def test_what_a_site_names_in_tags_stands_as_text_in_the_page(insider: Insider) -> None:
    name = "<script>alert(1)</script>"

    def rename(rows: list[dict[str, Json]]) -> None:
        for row in rows:
            row.update(
                stratum_value=name if row["stratum_value"] == "male" else row["stratum_value"]
            )

    rows, page = insider.pool(insider.with_rows(COUNT, rename))
    assert name in {row["stratum_value"] for row in rows}
    assert name not in page


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        (COUNT, "n_events", -1),
        (COUNT, "n_units", 2**62),
        (COUNT, "sum_e2", 0),
        (COUNT, "sum_n2", 1),
        (COUNT, "n_patients", 0),
        (COUNT, "n_units", None),
        (COUNT, "site_id", "north"),
        (COUNT, "study_id", "another"),
        (COUNT, "stratum_value", "\x1b[2Jall"),
        (COUNT, "outcome", '=HYPERLINK("http://x.example")'),
        (COUNT, "suppressed_reason", "<b>nothing</b>"),
        (COUNT, "suppressed_reason", "small_count"),
        (BOTH, "sum_ee", None),
        (BOTH, "n_patients", 2**40),
        (RISK, "risk", float("nan")),
        (RISK, "note", "\u202e%1"),
    ],
)
def test_a_row_that_no_hospital_can_have_counted_is_refused(
    insider: Insider, name: str, column: str, value: object
) -> None:
    folder = insider.with_rows(name, lambda rows: rows[0].update({column: value}))
    assert "can't be read" not in refusal(insider, folder)


def test_rows_that_come_twice_or_lack_their_whole_are_refused(insider: Insider) -> None:
    for name in (COUNT, BOTH, RISK):
        assert "twice" in refusal(insider, insider.with_rows(name, lambda r: r.append(r[0])))
    without = insider.with_rows(COUNT, lambda r: r.__delitem__(slice(0, 1)))
    assert "no row of all units" in refusal(insider, without)


def test_a_masked_row_that_tells_a_count_is_refused(insider: Insider) -> None:
    def mask(rows: list[dict[str, Json]]) -> None:
        rows[1].update(n_events=None, suppressed_reason="small_count")

    assert "tells a count" in refusal(insider, insider.with_rows(COUNT, mask))


def test_a_manifest_that_says_what_cannot_be_is_refused(insider: Insider) -> None:
    values: list[Json] = [None, True, 10**30, [{}], "\x1b[2J", "2026-Q5"]
    for name in ("number", "exported", "feeds", "studies", "n_rows", "threshold", "checks_hash"):
        for value in values:
            folder = insider.sign({**insider.facts, name: value}, dict(insider.pack.tables))
            told = refusal(insider, folder)
            assert name in told or "rows" in told, (name, value)

    def deep(facts: Json) -> None:
        facts["studies"][0]["settings"] = json.loads('{"a":' * 200 + "1" + "}" * 200)

    assert "studies" in refusal(insider, insider.with_facts(deep))


def test_files_that_would_fill_the_memory_are_refused_before_they_do(insider: Insider) -> None:
    for why, data in bombs(insider):
        folder = insider.with_avro(data)
        tracemalloc.start()
        try:
            assert why in refusal(insider, folder)
            assert tracemalloc.get_traced_memory()[1] < 100_000_000, why
        finally:
            tracemalloc.stop()


def test_links_folders_and_pipes_in_a_pack_are_not_opened(insider: Insider) -> None:
    def change(make: Callable[[Path], object], name: str) -> Path:
        folder = insider.sign(insider.facts, dict(insider.pack.tables))
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        return folder

    for name in (f"{COUNT}.avro", "manifest.json", "\x1b[2J.avro"):
        for make in (Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")):
            refusal(insider, change(make, name))


def test_a_manifest_lists_no_file_of_another_folder(insider: Insider) -> None:
    for name in ("../north-pack/manifest.json", "/etc/hostname", "x/y.avro"):
        folder = insider.sign(insider.facts, dict(insider.pack.tables))
        facts = json.loads((folder / packs.MANIFEST).read_text())
        facts["files"][name] = facts["files"][f"{COUNT}.avro"]
        data = {packs.MANIFEST: json.dumps(facts).encode()}
        (folder / packs.MANIFEST).write_bytes(data[packs.MANIFEST])
        (folder / packs.SIGNATURE).write_bytes(packs.sign(data, insider.key))
        assert "other files" in refusal(insider, folder)


def test_a_pack_with_fewer_tables_is_of_another_version_and_says_so(insider: Insider) -> None:
    folder = insider.sign(insider.facts, dict(insider.pack.tables))
    facts = json.loads((folder / packs.MANIFEST).read_text())
    for kind in ("avro", "csv"):
        del facts["files"][f"signals.counts_watched.{kind}"]
        (folder / f"signals.counts_watched.{kind}").unlink()
    data = {packs.MANIFEST: json.dumps(facts).encode()}
    (folder / packs.MANIFEST).write_bytes(data[packs.MANIFEST])
    (folder / packs.SIGNATURE).write_bytes(packs.sign(data, insider.key))
    assert "to one version" in refusal(insider, folder)


def test_a_csv_that_says_something_else_than_its_avro_file_is_refused(insider: Insider) -> None:
    files = {f"{COUNT}.csv": b'outcome\n"=cmd|calc"\n'}
    folder = insider.sign(insider.facts, dict(insider.pack.tables), **files)
    assert "does not say what" in refusal(insider, folder)


def test_sums_over_sites_beyond_what_a_column_holds_are_refused(insider: Insider) -> None:
    folder = insider.with_rows(COUNT, lambda rows: rows[0].update(person_us=2**62))
    found = read_pack(folder, insider.keys)
    other = read_pack(insider.honest, insider.keys)
    packs.check_alike([other, found])
    third = Pack(found.path, {**found.facts, "site_id": "third"}, "", found.tables)
    with pytest.raises(PackError, match="person_us"):
        packs.check_alike([found, third])


# Anything at all ------------------------------------------------------------------------------


def changed(insider: Insider, seed: int) -> Path:
    """Sign a pack of which one to three things were changed: cells, facts or bytes."""
    luck = random.Random(seed)  # noqa: S311 - damage
    kind = luck.randrange(5)
    if kind == 0:
        return insider.with_facts(lambda facts: _anywhere(facts, luck))
    if kind == 1:
        data = bytearray((insider.root / "south-pack" / f"{COUNT}.avro").read_bytes())
        for _ in range(luck.randint(1, 3)):
            data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
        return insider.with_avro(bytes(data))
    name = luck.choice([COUNT, COUNT, COUNT, BOTH, RISK])

    def change(rows: list[dict[str, Json]]) -> None:
        for _ in range(luck.randint(1, 3)):
            column = luck.choice(insider.pack.tables[name].column_names)
            type_ = insider.pack.tables[name].schema.field(column).type
            odd: dict[pa.DataType, list[Json]] = {
                pa.int64(): NUMBERS,
                pa.float64(): FLOATS,
                pa.string(): [None, *TEXTS, *HARMLESS],
            }
            luck.choice(rows)[column] = luck.choice(odd.get(type_, [None, True]))

    return insider.with_rows(name, change)


def _anywhere(facts: Json, luck: random.Random) -> None:
    node = facts
    while True:
        key = luck.choice(list(node) if isinstance(node, dict) else range(len(node)))
        inner = node[key]
        if not inner or not isinstance(inner, dict | list) or luck.random() < 0.3:
            break
        node = inner
    if luck.random() < 0.2:
        del node[key]
    elif isinstance(node, dict) and luck.random() < 0.2:
        node[luck.choice(HARMLESS)] = luck.choice(VALUES)
    else:
        node[key] = copy.deepcopy(luck.choice(VALUES))


def outcome_of(insider: Insider, seed: int) -> str:
    """What becomes of a changed pack: refused, unlike the other, or pooled into sound numbers."""
    folder = changed(insider, seed)
    try:
        read_pack(folder, insider.keys)
    except PackError:
        refusal(insider, folder)
        return "refused"
    rows, told = [], ""
    try:
        rows = insider.estimate(folder)
    except PackError as error:
        told = str(error)
    assert "\x1b" not in told
    for row in rows:
        if row.get("risk") is not None:
            assert 0 <= row["ci_low"] <= row["risk"] <= row["ci_high"] <= 1, seed
    return "pooled" if rows else "unlike"


def test_whatever_a_site_signs_ends_in_a_reason_or_in_sound_numbers(insider: Insider) -> None:
    assert {outcome_of(insider, seed) for seed in range(examples(14))} >= {"refused", "pooled"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_things_that_a_site_may_sign_end_in_a_reason_or_in_sound_numbers(
    insider: Insider,
) -> None:
    for seed in range(2_000):
        outcome_of(insider, seed)
