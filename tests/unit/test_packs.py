"""Packs: what is in them, what is not, that they are refused when changed, and that they go on."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import fastavro
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.console import TextConsole
from flows.export import export, export_key
from flows.reply import Reply, UsageError
from pipelines.base.duck import connect
from pipelines.base.errors import ConfigError, KeyFileError, PackError
from pipelines.base.site import Site
from pipelines.ingest.log import EventLog
from pipelines.pooling import signing
from pipelines.pooling.packs import Pack, read_pack
from pipelines.signals.counts import COUNTS
from studies.load import load_study
from tests.examples import examples
from tests.pack_kit import STUDY, Unit, counted, make_site, publish, units_of
from warehouse.packing import pack_content

NORTH = units_of(1, 150, 0.2)


def told(root: Path, name: str = "pack") -> Path:
    export(root, root / name, answer(), is_preview=False)
    return root / name


def answer() -> Reply:
    return Reply("test", TextConsole())


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("north"), "north", NORTH)


@pytest.fixture(scope="module")
def pack(north: Site) -> Path:
    return told(north.root)


@pytest.fixture(scope="module")
def keys(north: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    export_key(north.root, folder, answer())
    return folder


def rows_of(path: Path) -> list[dict[str, object]]:
    with path.open("rb") as stream:
        return [dict(row) for row in fastavro.reader(stream)]


def test_a_pack_is_what_its_site_signed(pack: Path, keys: Path) -> None:
    found = read_pack(pack, keys)
    assert (found.site_id, found.number) == ("north", 1)
    assert found.facts["data_through"] == "2026-Q2"
    assert found.facts["feeds"][0]["quarantined_percent"] == 2
    assert found.tables[COUNTS.name].num_rows == counted("north", NORTH)[COUNTS.name].num_rows


def test_of_few_rows_no_share_is_told_that_one_of_them_moves(tmp_path: Path) -> None:
    site = make_site(tmp_path / "north", "north", NORTH)
    studies = [load_study(name, site.root) for name in site.site.studies]
    shares = []
    for n_rejected in range(3):
        with connect(site.warehouse) as con:
            con.execute(
                "UPDATE quality.reconciliation SET n_read = 50, n_quarantined = ?", [n_rejected]
            )
        content = pack_content(site, studies, [], datetime(2026, 11, 23, tzinfo=UTC))
        shares.append(content.facts["feeds"][0]["quarantined_percent"])
    assert shares == [None, None, None]


def test_the_csv_says_what_the_avro_file_says(pack: Path) -> None:
    rows = rows_of(pack / "signals.counts.avro")
    with (pack / "signals.counts.csv").open(encoding="utf-8", newline="") as stream:
        texts = list(csv.DictReader(stream))
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == texts


def test_no_small_count_stands_in_a_pack(pack: Path) -> None:
    for row in rows_of(pack / "signals.counts.avro"):
        if row["n_events"] is None:
            assert row["suppressed_reason"] in {"small_count", "few_events"}
            continue
        e, n = row["n_events"], row["n_units"]
        assert isinstance(e, int)
        assert isinstance(n, int)
        assert not 0 < e < 11
        assert not 0 < n - e < 11


def test_no_date_finer_than_a_quarter_and_no_key_is_in_a_pack(pack: Path) -> None:
    facts = json.loads((pack / "manifest.json").read_text(encoding="utf-8"))
    # A study says from when it watches; that is no patient's date.
    said = json.dumps({**facts, "studies": None})
    for path in pack.glob("*.csv"):
        said += path.read_text(encoding="utf-8")
    assert not re.search(r"\d{4}-\d\d-\d\d|T\d\d:\d\d", said)
    assert "patient_key" not in said


def test_the_next_pack_tells_the_last_figures_until_enough_has_changed(tmp_path: Path) -> None:
    site = make_site(tmp_path, "north", NORTH)
    first = rows_of(told(tmp_path, "one") / "signals.counts.avro")
    more = [*NORTH, Unit(1000, "male", "first", event=True, censored=False)]
    publish(site, counted("north", more))
    assert rows_of(told(tmp_path, "two") / "signals.counts.avro") == first
    recorded = EventLog(site.log_root).recorded.rows("PackExported")
    assert [row["pack_number"] for row in recorded] == [1, 2]


def test_a_preview_records_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path, "north", NORTH)
    before = sorted(tmp_path.rglob("*"))
    export(tmp_path, None, answer(), is_preview=True)
    assert "n_events" in capsys.readouterr().out
    there = {path for path in tmp_path.rglob("*") if path.name != "lock" and path.is_file()}
    assert there <= set(before) | {path for path in there if "lock" in path.name}
    assert not EventLog(site.log_root).recorded.rows("PackExported")


def test_a_threshold_that_protects_nobody_is_refused(tmp_path: Path) -> None:
    make_site(tmp_path, "north", NORTH, min_cell=4)
    with pytest.raises(ConfigError, match="protects nobody"):
        told(tmp_path)


def test_a_folder_that_is_not_empty_is_left_alone(north: Site) -> None:
    with pytest.raises(UsageError):
        export(north.root, north.root, answer(), is_preview=False)


# Packs that were changed --------------------------------------------------------------------


def test_a_pack_of_an_unknown_site_is_refused(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match="No public key"):
        read_pack(pack, tmp_path)


def test_a_pack_that_another_site_signed_is_refused(pack: Path, tmp_path: Path) -> None:
    make_site(tmp_path / "south", "south", NORTH[:5])
    export_key(tmp_path / "south", tmp_path / "north.pub", answer())
    with pytest.raises(PackError, match="signed by somebody else"):
        read_pack(pack, tmp_path)


def mutated(pack: Path, folder: Path, seed: int) -> None:
    """Copy a pack and change one thing in it: bytes, length, or which files there are."""
    luck = random.Random(seed)  # noqa: S311 - damage
    shutil.copytree(pack, folder)
    path = luck.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    match luck.randrange(6):
        case 0:
            path.unlink()
        case 1:
            (folder / "more.avro").write_bytes(bytes(data))
        case 2:
            path.write_bytes(bytes(data[: luck.randrange(len(data))]))
        case 3:
            path.write_bytes(bytes(data) + luck.randbytes(luck.randint(1, 9)))
        case 4:
            path.write_bytes(luck.randbytes(luck.randint(0, 99)))
        case _:
            place = luck.randrange(len(data))
            data[place] ^= 1 << luck.randrange(8)
            path.write_bytes(bytes(data))


def refused(pack: Path, keys: Path, folder: Path, seed: int) -> None:
    mutated(pack, folder, seed)
    found = None
    with suppress(PackError):
        found = read_pack(folder, keys)
    # A signature's text may be in capitals, or end in spaces: that changes nothing.
    assert found is None or _content(found) == _content(read_pack(pack, keys)), seed
    shutil.rmtree(folder)


def _content(pack: Pack) -> tuple[str, object]:
    return pack.sha256, {name: table.to_pylist() for name, table in pack.tables.items()}


def test_no_pack_that_was_changed_is_accepted(pack: Path, keys: Path, tmp_path: Path) -> None:
    for seed in range(examples(50)):
        refused(pack, keys, tmp_path / "changed", seed)


@pytest.mark.slow
def test_none_of_two_thousand_packs_that_were_changed_is_accepted(
    pack: Path, keys: Path, tmp_path: Path
) -> None:
    for seed in range(2_000):
        refused(pack, keys, tmp_path / "changed", seed)


def test_a_warehouse_of_another_version_is_to_be_refreshed_first(tmp_path: Path) -> None:
    site = make_site(tmp_path, "north", NORTH[:40])
    with connect(site.warehouse) as con:
        con.execute("DROP TABLE signals.counts_watched")
    with pytest.raises(ConfigError, match="another version of Dripwatch"):
        told(site.root)


def test_what_is_watched_is_told_only_where_the_site_says_so(tmp_path: Path) -> None:
    site = make_site(tmp_path, "north", NORTH[:40])
    units = {"n_units_first": 60, "n_units_later": 200, "n_patients_later": 50}
    texts = {"study_id": STUDY, "site_id": "north", "outcome": "chills", "window_name": "risk"}
    row = {**texts, "watched": "all", "pair_hash": "a" * 64, **units, "n_events": 30}
    watched = pa.Table.from_pylist([row])
    publish(site, {**counted("north", NORTH[:40]), "signals.counts_watched": watched})
    studies, at = [load_study(STUDY, site.root)], datetime(2026, 11, 23, tzinfo=UTC)
    events = []
    for tells in (False, True):
        privacy = site.privacy.model_copy(update={"tell_watched": tells})
        content = pack_content(site.model_copy(update={"privacy": privacy}), studies, [], at)
        [found] = content.tables["signals.counts_watched"].to_pylist()
        events.append((found["n_units_first"], found["n_events"]))
    assert events == [(None, None), (60, 30)]


# The keys -----------------------------------------------------------------------------------


def test_a_key_that_others_can_have_touched_signs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pack.key"
    signing.make_key(path)
    public = signing.public_text(signing.load_key(path))

    def refusal() -> str:
        with pytest.raises(KeyFileError) as told:
            signing.load_key(path)
        return told.value.what

    for mode in (0o640, 0o604, 0o660, 0o700, 0o4600):
        path.chmod(mode)
        assert f"mode {mode:04o}" in refusal()
    path.chmod(0o400)
    assert signing.public_text(signing.load_key(path)) == public
    stranger = os.geteuid() + 1
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: stranger)
        assert "another account" in refusal()
    kept = path.rename(tmp_path / "kept.key")
    assert "There is no key" in refusal()
    path.symlink_to(kept)
    assert "cannot be opened" in refusal()
    path.unlink()
    os.mkfifo(path, 0o600)
    assert "not a regular file" in refusal()
    path.unlink()
    path.write_text("5f" * 31 + "\N{DEGREE SIGN}")
    path.chmod(0o600)
    assert "not 64 hex digits" in refusal()


def test_a_public_key_gets_the_sites_name_in_a_folder_that_is_there_or_named_as_one(
    north: Site, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    for out in ("there", "there/", "new/keys/", "mine.pub"):
        command = ["export-key", "-c", str(north.root), "--out", f"{tmp_path}/{out}"]
        assert CliRunner().invoke(app, command).exit_code == 0
    found = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.pub")}
    assert {str(path) for path in found} == {"there/north.pub", "new/keys/north.pub", "mine.pub"}
    assert len(set(found.values())) == 1


def test_a_public_key_is_written_over_no_other_file(north: Site, tmp_path: Path) -> None:
    signs = north.restricted / "pack.key"
    export_key(north.root, None, answer())
    before = signs.read_bytes()
    with pytest.raises(UsageError, match="Another file"):
        export_key(north.root, signs, answer())
    assert signs.read_bytes() == before
    for _ in range(2):  # the same again is no other
        export_key(north.root, tmp_path, answer())
