"""A batch is known by what its result may depend on, and by nothing else."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.log_kit import FACTS, NIGHT, delivery


def test_file_order_names_and_the_zone_of_a_time_do_not_change_the_batch() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    moved = tuple(replace(file, path=Path("elsewhere")) for file in reversed(FACTS.files))
    same = delivery(files=moved, exported_at=NIGHT.astimezone(berlin))
    assert same.batch_id == FACTS.batch_id
    assert len(FACTS.batch_id) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"site_id": "other"},
        {"source": "other"},
        {"kind": "snapshot"},
        {"exported_at": NIGHT + dt.timedelta(microseconds=1)},
        {"data_through": {**FACTS.data_through, "LabResulted": NIGHT - dt.timedelta(days=1)}},
        {"data_through": {"LabResulted": NIGHT}},
        {"mapping_hash": "0" * 64},
        {"scope_hash": "0" * 64},
        {"parser_version": "2"},
        {"files": FACTS.files[:1]},
        {"files": (*FACTS.files, FACTS.files[0])},
        {
            "files": (
                replace(FACTS.files[0], role="meds"),
                replace(FACTS.files[1], role="labs"),
            )
        },
    ],
)
def test_whatever_the_result_may_depend_on_makes_another_batch(change: dict[str, Any]) -> None:
    assert delivery(**change).batch_id != FACTS.batch_id


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        delivery(exported_at=NIGHT.replace(tzinfo=None))
