"""Deliveries: found in order, told apart by what they hold and say, refused when unclear."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.base.errors import DeliveryError
from pipelines.base.site import SourceTable
from pipelines.sources import flat
from pipelines.sources.flat import MappingError
from pipelines.sources.flat.reader import open_flat
from tests.flat_kit import HEADER, KEY, MAPPING, ROW, FlatSite, make_site, rows

FILE = f"{HEADER}\n{ROW}\n"
LITERAL = 'exported_at = "2026-01-06T02:00:00Z"'
THROUGH = 'default = "2026-01-06T00:00:00Z"'


@pytest.fixture
def flat_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlatSite:
    return make_site(tmp_path, monkeypatch)


def source(**changes: object) -> SourceTable:
    told = {"name": "lis", "mapping": "mapping.toml", "path": "inbox"} | changes
    return SourceTable.model_validate(told)


def test_deliveries_come_by_name_and_without_hidden_or_unmarked_ones(flat_site: FlatSite) -> None:
    for name in ("2026-01-02", "2026-01-01", ".half", "2026-01-03"):
        (flat_site.root / "inbox" / name).mkdir(parents=True)
    found = flat.discover(flat_site.site, source())
    assert [d.path.name for d in found] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    (flat_site.root / "inbox" / "2026-01-02" / "DONE").touch()
    marked = flat.discover(flat_site.site, source(marker="DONE"))
    assert [d.path.name for d in marked] == ["2026-01-02"]
    assert marked[0].where == "delivery 2 of 3 of source lis"


def test_a_folder_can_be_the_delivery(flat_site: FlatSite) -> None:
    (flat_site.root / "inbox").mkdir()
    (only,) = flat.discover(flat_site.site, source(layout="folder"))
    assert only.path == flat_site.root / "inbox"


def test_an_absent_folder_is_a_delivery_error(flat_site: FlatSite) -> None:
    with pytest.raises(DeliveryError, match="source lis is not there"):
        flat.discover(flat_site.site, source())


def test_facts_tell_times_hashes_and_files(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=FILE)
    facts = flat_site.describe()
    assert facts.exported_at == datetime(2026, 1, 6, 2, tzinfo=UTC)
    assert facts.data_through == {"LabResulted": datetime(2026, 1, 6, tzinfo=UTC)}
    assert facts.kind == "delta"
    assert (facts.site_id, facts.source) == ("north", "lis")
    assert [(f.role, f.path.name) for f in facts.files] == [("labs", "labs.csv")]
    assert flat_site.describe() == facts


def test_the_batch_follows_content_facts_mapping_and_scope_but_not_names(
    flat_site: FlatSite,
) -> None:
    flat_site.deliver(labs_csv=FILE)
    first = flat_site.describe().batch_id
    later = flat_site.describe(MAPPING.replace("-06T00", "-07T00")).batch_id
    mended = flat_site.describe(MAPPING.replace('"corrected"', '"final"')).batch_id
    narrower = flat_site.describe(scope=[]).batch_id
    (flat_site.root / "inbox" / "night1" / "labs.csv").rename(
        flat_site.root / "inbox" / "night1" / "labs_b.csv"
    )
    assert flat_site.describe().batch_id == first
    flat_site.deliver(labs_csv=FILE + f"2{ROW[1:]}\n")
    assert len({first, later, mended, narrower, flat_site.describe().batch_id}) == 5


def test_a_type_is_complete_only_where_its_file_was_delivered(flat_site: FlatSite) -> None:
    second = MAPPING.split("[[file]]")[1].replace("labs", "vitals")
    second = second.replace("LabResulted", "VitalSignMeasured").split("status =")[0]
    flat_site.deliver(labs_csv=FILE)
    facts = flat_site.describe(MAPPING + "\n[[file]]" + second)
    assert list(facts.data_through) == ["LabResulted"]


def test_a_sidecar_tells_both_times(flat_site: FlatSite) -> None:
    mapping = MAPPING.replace(LITERAL, 'exported_at = { sidecar = "delivery.toml" }')
    mapping = mapping.replace(THROUGH, 'default = { sidecar = "delivery.toml" }')
    flat_site.deliver(
        labs_csv=FILE,
        delivery_toml=(
            "exported_at = 2026-02-01T03:00:00+01:00\n[data_through]\n"
            'default = 2026-01-30T00:00:00Z\nLabResulted = "2026-01-31 12:00"\n'
        ),
    )
    facts = flat_site.describe(mapping)
    assert facts.exported_at == datetime(2026, 2, 1, 2, tzinfo=UTC)
    # without offset: the site's clock
    assert facts.data_through == {"LabResulted": datetime(2026, 1, 31, 11, tzinfo=UTC)}


@pytest.mark.parametrize("content", ["", "exported_at = 'soon'", "exported_at = [", "\xff"])
def test_a_sidecar_that_does_not_tell_is_a_delivery_error(
    flat_site: FlatSite, content: str
) -> None:
    mapping = MAPPING.replace(LITERAL, 'exported_at = { sidecar = "delivery.toml" }')
    flat_site.deliver(labs_csv=FILE, delivery_toml=content.encode("latin-1"))
    with pytest.raises(DeliveryError, match="sidecar"):
        flat_site.describe(mapping)


def test_a_missing_sidecar_is_a_delivery_error(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=FILE)
    mapping = MAPPING.replace(LITERAL, 'exported_at = { sidecar = "delivery.toml" }')
    with pytest.raises(DeliveryError, match="not there"):
        flat_site.describe(mapping)


def test_the_latest_time_of_a_column_over_all_files_counts(flat_site: FlatSite) -> None:
    flat_site.deliver(
        labs1_csv=FILE + f"2{ROW[1:]}".replace("2025-03-01 08:30", "2025-07-01 08:30") + "\n",
        labs2_csv=FILE.replace("2025-03-01 08:30", "2025-04-01T08:30:00-05:00") + "3,,nonsense\n",
    )
    mapping = MAPPING.replace(THROUGH, 'default = { column = "taken", file = "labs" }')
    facts = flat_site.describe(mapping)
    assert facts.data_through["LabResulted"] == datetime(2025, 7, 1, 6, 30, tzinfo=UTC)


def test_a_column_without_a_time_cannot_date_a_delivery(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=FILE)
    mapping = MAPPING.replace(THROUGH, 'default = { column = "unit" }')
    with pytest.raises(DeliveryError, match="No row of labs"):
        flat_site.describe(mapping)
    mapping = MAPPING.replace(THROUGH, 'default = { column = "units" }')
    with pytest.raises(MappingError, match=r"none of the 7 columns .* is 'units'"):
        flat_site.describe(mapping)


def test_a_file_of_no_pattern_or_of_two_is_named_by_place_and_hash_alone(
    flat_site: FlatSite,
) -> None:
    flat_site.deliver(labs_csv=FILE, miller_anna_csv="x\n")
    with pytest.raises(DeliveryError) as caught:
        flat_site.describe()
    assert "matches no pattern" in str(caught.value)
    assert "file 2 of 2 by name" in str(caught.value)
    assert "miller" not in str(caught.value)
    second = MAPPING.split("[[file]]")[1].replace('name = "labs"', 'name = "more"')
    with pytest.raises(DeliveryError, match="labs and more"):
        flat_site.describe(MAPPING + "\n[[file]]" + second)


@pytest.mark.parametrize("through", ["2026-01-07T02:00:01Z", "2206-01-06"])
def test_a_delivery_cannot_be_complete_beyond_its_export(flat_site: FlatSite, through: str) -> None:
    flat_site.deliver(labs_csv=FILE)
    with pytest.raises(DeliveryError, match="later than exported_at") as caught:
        flat_site.describe(MAPPING.replace(THROUGH, f'default = "{through}"'))
    assert through[:4] not in str(caught.value)
    facts = flat_site.describe(MAPPING.replace(THROUGH, 'default = "2026-01-07T02:00:00Z"'))
    assert facts.data_through["LabResulted"] > facts.exported_at


@pytest.mark.parametrize("kind", ["folder", "link", "dangling", "pipe"])
def test_what_is_no_plain_file_in_a_delivery_is_refused_unread(
    flat_site: FlatSite, kind: str
) -> None:
    flat_site.deliver(labs_csv=FILE)
    odd = flat_site.root / "inbox" / "night1" / "labs-miller"
    if kind == "folder":
        odd.mkdir()
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to(flat_site.root / ("site.key" if kind == "link" else "nowhere"))
    with pytest.raises(DeliveryError, match="no plain file") as caught:
        flat_site.describe()
    assert "entry 1 of 2 by name" in str(caught.value)
    assert "miller" not in str(caught.value)


def test_a_link_that_takes_a_files_place_later_is_not_followed(flat_site: FlatSite) -> None:
    """Neither as a data file after it was described, nor as the sidecar."""
    flat_site.deliver(labs_csv=FILE, delivery_toml="")
    mapping = MAPPING.replace(LITERAL, 'exported_at = { sidecar = "delivery.toml" }')
    folder = flat_site.root / "inbox" / "night1"
    (folder / "delivery.toml").unlink()
    (flat_site.root / "real.toml").write_text("exported_at = 2026-01-06T02:00:00Z\n")
    (folder / "delivery.toml").symlink_to(flat_site.root / "real.toml")
    with pytest.raises(DeliveryError, match="sidecar"):
        flat_site.describe(mapping)
    (folder / "labs.csv").unlink()
    (folder / "labs.csv").symlink_to(flat_site.root / "site.key")
    rule = flat_site.map().file("labs")
    with pytest.raises(DeliveryError, match="no plain file") as caught:
        open_flat(folder / "labs.csv", rule, "here")
    assert KEY[:8] not in str(caught.value)


def test_loose_files_beside_the_deliveries_are_counted(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=FILE)
    inbox = flat_site.root / "inbox"
    (inbox / "labs.csv").write_text(FILE)
    (inbox / ".hidden").touch()
    (inbox / "gone").symlink_to("nowhere")
    assert flat.loose_files(flat_site.site, source()) == 2
    assert flat.loose_files(flat_site.site, source(layout="folder")) == 0


@pytest.mark.parametrize("blocked", ["inbox", "night-miller"])
def test_a_folder_that_may_not_be_listed_is_not_named(
    flat_site: FlatSite, monkeypatch: pytest.MonkeyPatch, blocked: str
) -> None:
    (flat_site.root / "inbox" / "night-miller").mkdir(parents=True)
    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == blocked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(DeliveryError, match="may not be listed") as caught:
        flat_site.describe()
    assert "miller" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["labs-miller.csv", "labs-miller.parquet"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    flat_site: FlatSite, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    flat_site.deliver(**{name: FILE})

    def refuse(path: Path, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeliveryError, match="may not be read") as caught:
        flat_site.describe()
    assert "damaged" not in str(caught.value)
    assert "miller" not in str(caught.value)
    with pytest.raises(DeliveryError, match="may not be read"):
        open_flat(flat_site.root / name, flat_site.map().file("labs"), "here")


def test_hidden_files_are_ignored_and_an_empty_delivery_is_refused(flat_site: FlatSite) -> None:
    flat_site.deliver(_hidden="x")
    with pytest.raises(DeliveryError, match="no data file"):
        flat_site.describe()


def test_real_labs_and_infusions_are_accounted_for_and_equal_their_own_offsets(
    flat_site: FlatSite, shared_dir: Path
) -> None:
    """The extract tells each start as local time and, from elsewhere, with its UTC offset."""
    real = (shared_dir / "data" / "mimic-iv-demo" / "icu_administrations.csv.gz").read_bytes()
    flat_site.deliver(icu_csv=real)
    head = MAPPING.split("[[file]]")[0].replace("mrn", "mimic")

    def starts(column: str) -> dict[int, datetime]:
        mapping = (
            f"{head}[[file]]\n"
            'name = "icu"\npattern = "icu*"\nevent = "InfusionRecorded"\n'
            'key = ["subject_id", "itemid", "effective_iso"]\noccurrence = true\n'
            'where = [{ column = "method", not_in = ["Non Iv Meds"] }]\n'
            'patient = { column = "subject_id" }\n[file.fields]\n'
            f'occurred_at = {{ column = "{column}", zone = "America/New_York" }}\n'
            'code = { column = "itemid" }\ncode_system = { constant = "mimic-d-items" }\n'
            'evidence = { constant = "administered" }\nstatus = { column = "status" }\n'
        )
        with flat_site.extracted(mapping) as con:
            found = rows(con, 'SELECT source_row, occurred_at FROM event."InfusionRecorded"')
            (n_keys,) = rows(con, 'SELECT count(DISTINCT record_key) FROM event."InfusionRecorded"')
            assert n_keys[0] == len(found)
            return dict(found)

    by_offset, by_zone = starts("effective_iso"), starts("effective_local")
    both = by_offset.keys() & by_zone.keys()
    differing = [row for row in both if by_offset[row] != by_zone[row]]
    assert len(both) > 20_000
    # the two readings of an ambiguous hour are all that local time cannot tell
    assert len(differing) <= 2
