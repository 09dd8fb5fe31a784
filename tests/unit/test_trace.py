"""Where a record stands and what its other versions failed is found again in the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.base.errors import StorageError
from pipelines.ingest.manifest import InputFile
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse.models import in_schemas
from warehouse.store import Store
from warehouse.trace import reading
from warehouse.trace_unit import records_of


def test_a_record_names_its_file_its_row_and_what_its_other_versions_failed(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path)
    lab = event("LabResulted", "k1", code="2000-8", value=2.1, unit="mmol/L", flags=["odd_unit"])
    first = make_batch("b1", {"LabResulted": [lab]})
    files = (InputFile("sha-b1", "labs.csv", 1), InputFile("sha-b1", "again.csv", 1))
    later = make_batch(
        "b2",
        {},
        exported_at=night(1),
        quarantined=[
            {"event_type": "LabResulted", "record_key": "k1", "check_ids": ["value_possible"]}
        ],
    )
    with Store(site) as store:
        store.apply([replace(first, files=files), replace(later, files=(files[0],))])
    with reading(site) as con:
        found = records_of(con, [("LabResulted", "k1"), ("LabResulted", "of nobody")])
    (record,) = found.values()
    assert record["place"]["file_name"] == "again.csv and labs.csv"
    assert (record["place"]["batch_id"], record["place"]["source_row"]) == ("b1", 1)
    assert (record["value"], record["unit"], record["flags"]) == (2.1, "mmol/L", ["odd_unit"])
    assert [(one["batch_id"], one["check_ids"]) for one in record["quarantined"]] == [
        ("b2", ["value_possible"])
    ]
    assert "display" not in record


def test_names_of_files_are_in_no_published_table() -> None:
    published = in_schemas("linkage", "signals", "quality", "ops", "reference", "analysis")
    assert not [one.full_name for one in published if "file_name" in one.column_names]


def test_a_store_that_is_not_there_or_of_another_version_says_to_refresh(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with pytest.raises(StorageError, match="no site store yet"), reading(site):
        pass
    with Store(site):
        pass
    with duck.connect(site.store_path) as con:
        con.execute("UPDATE ops.state SET value = 'older' WHERE name = 'layout_hash'")
    with pytest.raises(StorageError, match="Another version") as caught, reading(site):
        pass
    assert "dripwatch refresh" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"no database" * 1000], ids=["empty", "text"])
def test_a_damaged_store_says_that_it_can_be_made_again(tmp_path: Path, content: bytes) -> None:
    site = make_site(tmp_path)
    with Store(site):
        pass
    site.store_path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged") as caught, reading(site):
        pass
    assert "made again from the log" in caught.value.remedy
