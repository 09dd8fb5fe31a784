"""From rows of flat files to events: keys, versions, kinds of event and what is in scope."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipelines.base.errors import DeliveryError
from pipelines.sources import flat
from studies.load import ConceptRow
from tests.flat_cells import at, field, flat_site, lab
from tests.flat_kit import HEADER, MAPPING, ROW, FlatSite, rows

__all__ = ["flat_site"]


def test_keys_equal_the_reference_and_ids_are_stored_nowhere(flat_site: FlatSite) -> None:
    mapping = field("encounter_key", '{ column = "visit" }').replace('["id"]', '["id", "test"]')
    got = lab(flat_site, mapping, "record_key, patient_key, encounter_key", visit="V9")
    key = flat_site.key
    assert got == (
        key.record("north", "lis", "LabResulted", "1", "17861-6"),
        key.patient("north", "mrn", "7"),
        key.other("north", "lis", "encounter", "V9"),
    )


def test_a_row_without_its_key_or_patient_keeps_null_for_validation(flat_site: FlatSite) -> None:
    assert lab(flat_site, MAPPING, "record_key, patient_key", id="", patient="P-") == (None, None)


def test_envelope(flat_site: FlatSite) -> None:
    columns = "site_id, source, event_type, version, recorded_at, operation, zone, source_row"
    exported = datetime(2026, 1, 6, 2, tzinfo=UTC)
    assert lab(flat_site, MAPPING, columns) == (
        "north",
        "lis",
        "LabResulted",
        int(exported.timestamp()) * 1_000_000,
        at(2026, 1, 6, 2),
        "upsert",
        "Europe/Berlin",
        1,
    )


@pytest.mark.parametrize(
    ("extra", "cells", "expected"),
    [
        ('version = { column = "v" }', {"v": "7"}, (7, at(2026, 1, 6, 2), [])),
        (
            'version = { column = "v" }',
            {"v": "seven"},
            # Any stand-in would outrank the true versions: none, and the row is quarantined.
            (None, at(2026, 1, 6, 2), ["bad_value"]),
        ),
        (
            'last_updated = { column = "v" }',
            {"v": "2025-03-02 09:00"},
            (1_740_902_400_000_000, at(2025, 3, 2, 8), []),
        ),
        (
            'version = { column = "w" }\nlast_updated = { column = "v" }',
            {"v": "2025-03-02 09:00", "w": "3"},
            (3, at(2025, 3, 2, 8), []),
        ),
        (
            'last_updated = { column = "v" }',
            {"v": "soon"},
            (None, at(2026, 1, 6, 2), ["bad_value"]),
        ),
    ],
)
def test_versions(
    flat_site: FlatSite, extra: str, cells: dict[str, str], expected: tuple[Any, ...]
) -> None:
    mapping = MAPPING.replace('key = ["id"]', f'key = ["id"]\n{extra}')
    assert lab(flat_site, mapping, "version, recorded_at, flags", **cells) == expected


def test_a_status_can_retract(flat_site: FlatSite) -> None:
    rule = 'key = ["id"]\noperation = { column = "state", values = { X = "retract" } }'
    mapping = MAPPING.replace('key = ["id"]', rule)
    assert lab(flat_site, mapping, "operation", state="X") == ("retract",)
    assert lab(flat_site, mapping, "operation", state="F") == ("upsert",)
    assert lab(flat_site, mapping, "operation", state="") == ("upsert",)


DRUGS = """
[[file]]
name = "drugs"
pattern = "drugs*"
event = [
  { when = [{ column = "kind", in = ["IV", "PUMP"] }], event = "InfusionRecorded" },
  { when = [{ column = "kind", matches = "ORAL.*" }], event = "MedicationGiven" },
  { when = [{ column = "kind", equals = "DIET" }], event = "out_of_scope" },
]
where = [{ column = "note", not_in = ["test patient"], reason = "test" }]
key = ["id"]
[file.patient]
column = "patient"
[file.fields]
occurred_at = { column = "begin" }
ended_at = { column = "end" }
status = { constant = "completed" }
code = { column = "drug" }
code_system = { constant = "rxnorm" }
[file.InfusionRecorded.fields]
evidence = { constant = "administered" }
route = { constant = "intravenous" }
[file.MedicationGiven.fields]
route = { constant = "oral" }
"""
DRUG_MAPPING = MAPPING.split("[[file]]")[0] + DRUGS
DRUG_HEADER = "id,patient,kind,begin,end,drug,note"


def test_rows_of_one_file_become_different_events(flat_site: FlatSite) -> None:
    flat_site.deliver(
        drugs_csv="\n".join(
            [
                DRUG_HEADER,
                "1,7,IV,2025-03-01 08:00,2025-03-01 09:00,77655,",
                "2,7,ORAL DROPS,2025-03-01 08:00,,161,",
                "3,7,DIET,2025-03-01 08:00,,x,",
                "4,7,PUMP,2025-03-01 08:00,,77655,test patient",
                "5,7,GARDEN,2025-03-01 08:00,,77655,",
                "6,7,GARDEN,2025-03-01 08:00,,77655,test patient",
                "",
            ]
        )
    )
    with flat_site.extracted(DRUG_MAPPING) as con:
        infusion = 'SELECT source_row, route, end_precision FROM event."InfusionRecorded"'
        assert rows(con, infusion) == [(1, "intravenous", "instant")]
        given = 'SELECT source_row, route, flags FROM event."MedicationGiven"'
        assert rows(con, given) == [(2, "oral", [])]
        fates = "SELECT source_row, event_type, fate, reason, code FROM fate.row ORDER BY 1"
        assert rows(con, fates) == [
            (3, None, "out_of_scope", "mapping", None),
            (4, "InfusionRecorded", "out_of_scope", "test", "77655"),
            (5, None, "quarantined", "unknown_event_type", None),
            (6, None, "out_of_scope", "test", None),
        ]


@pytest.mark.parametrize(
    ("begin", "end", "ended_at", "flags"),
    [
        ("2025-03-01 08:00", "", None, ["end_missing"]),
        ("2025-03-01 08:00", "late", None, ["bad_end_time"]),
        # 02:50 in the first pass of the hour, ended at 02:10 of the second
        (
            "2025-10-26T02:50:00+02:00",
            "2025-10-26 02:10",
            at(2025, 10, 26, 1, 10),
            ["ambiguous_local_time"],
        ),
        # both in the first pass: nothing to mend
        (
            "2025-10-26T02:10:00+02:00",
            "2025-10-26 02:50",
            at(2025, 10, 26, 0, 50),
            ["ambiguous_local_time"],
        ),
        # before its start in either pass: kept, for validation to reject
        (
            "2025-10-26 04:00",
            "2025-10-26 02:10",
            at(2025, 10, 26, 0, 10),
            ["ambiguous_local_time"],
        ),
        ("2025-03-01 08:00", "2025-03-01 07:00", at(2025, 3, 1, 6), []),
        # a told offset is believed
        (
            "2025-10-26T02:50:00+02:00",
            "2025-10-26T02:10:00+02:00",
            at(2025, 10, 26, 0, 10),
            [],
        ),
    ],
)
def test_ends(
    flat_site: FlatSite, begin: str, end: str, ended_at: datetime | None, flags: list[str]
) -> None:
    flat_site.deliver(drugs_csv=f"{DRUG_HEADER}\n1,7,IV,{begin},{end},77655,\n")
    with flat_site.extracted(DRUG_MAPPING) as con:
        got = rows(con, 'SELECT ended_at, flags FROM event."InfusionRecorded"')
        assert got == [(ended_at, flags)]


def test_patients_whole_numbers_yes_and_no(flat_site: FlatSite) -> None:
    head = MAPPING.split("[[file]]")[0]
    mapping = (
        head
        + """
[[file]]
name = "people"
pattern = "people*"
event = "PatientRegistered"
key = ["id"]
[file.patient]
column = "id"
[file.fields]
birth_date = { column = "born", format = "%d.%m.%Y" }
sex = { column = "sex", values = { w = "female", m = "male" } }
died_at = { column = "died" }

[[file]]
name = "reactions"
pattern = "reactions*"
event = "AdverseEventReported"
key = ["id"]
[file.patient]
column = "patient"
[file.fields]
occurred_at = { column = "day" }
code = { column = "code" }
code_system = { constant = "snomed" }
grade = { column = "grade" }
is_serious = { column = "serious", values = { ja = "true", nein = "false" } }
"""
    )
    flat_site.deliver(
        people_csv="id,born,sex,died\n7,05.04.2010,w,\n8,2010,m,soon\n",
        reactions_csv=(
            "id,patient,day,code,grade,serious\n"
            "1,7,2025-03-01,x,2,ja\n2,7,2025-03-01,x,2.5,perhaps\n3,7,2025-03-01,x,,\n"
        ),
    )
    with flat_site.extracted(mapping) as con:
        people = (
            'SELECT birth_date, sex, died_at, occurred_at, flags FROM event."PatientRegistered"'
        )
        assert rows(con, people + " ORDER BY source_row") == [
            (date(2010, 4, 5), "female", None, None, []),
            (None, "male", None, None, ["bad_value"]),
        ]
        reactions = 'SELECT grade, is_serious, flags FROM event."AdverseEventReported"'
        assert rows(con, reactions + " ORDER BY source_row") == [
            (2, True, []),
            (None, None, ["bad_number", "bad_value"]),
            (None, None, []),
        ]


def scope(*codes: tuple[str, str, str]) -> list[ConceptRow]:
    return [ConceptRow("LabResulted", system, code, match, "x") for system, code, match in codes]


def test_scope_keeps_listed_codes_and_counts_the_others(flat_site: FlatSite) -> None:
    mapping = field("code_system", '{ column = "system" }')
    lines = [
        HEADER + ",system",
        *(
            f"{i},P-7,2025-03-01 08:30,{code},1,g,F,{system}"
            for i, (code, system) in enumerate(
                [
                    ("17861-6", "loinc"),
                    ("17861-6", "local"),
                    ("E55.9", "icd10cm"),
                    ("E5", "icd10cm"),
                    ("", "loinc"),
                    ("99999-9", ""),
                    ("2777-1", "loinc"),
                ],
                start=1,
            )
        ),
    ]
    flat_site.deliver(labs_csv="\n".join(lines) + "\n")
    wanted = scope(("loinc", "17861-6", "exact"), ("icd10cm", "E55", "prefix"))
    other_type = [ConceptRow("VitalSignMeasured", "loinc", "2777-1", "exact", "x")]
    with flat_site.extracted(mapping, [*wanted, *other_type]) as con:
        kept = rows(con, 'SELECT source_row FROM event."LabResulted" ORDER BY 1')
        # without code or system only validation may reject it
        assert [row for (row,) in kept] == [1, 3, 5, 6]
        out = "SELECT source_row, reason, code, code_system FROM fate.row ORDER BY 1"
        assert rows(con, out) == [
            (2, "code", "17861-6", "local"),
            (4, "code", "E5", "icd10cm"),
            (7, "code", "2777-1", "loinc"),
        ]


def test_scope_hash_ignores_order_and_repeats_but_not_codes() -> None:
    one = scope(("loinc", "1", "exact"), ("loinc", "2", "exact"))
    assert flat.scope_hash(one) == flat.scope_hash([*reversed(one), one[0]])
    assert flat.scope_hash(one) != flat.scope_hash(one[:1])
    assert flat.scope_hash(one) != flat.scope_hash("all")


def test_a_scope_without_codes_leaves_every_coded_row_out(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=f"{HEADER}\n{ROW}\n")
    with flat_site.extracted(scope=[]) as con:
        assert rows(con, "SELECT fate, reason FROM fate.row") == [("out_of_scope", "code")]


def test_files_of_one_content_are_read_once(flat_site: FlatSite) -> None:
    content = f"{HEADER}\n{ROW}\n"
    flat_site.deliver(labs_csv=content, labs2_csv=content)
    with flat_site.extracted() as con:
        assert rows(con, "SELECT count(*) FROM fate.file") == [(1,)]


def test_copies_over_two_files_are_duplicates(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=f"{HEADER}\n{ROW}\n", labs2_csv=f"{HEADER}\n{ROW}\n2{ROW[1:]}\n")
    with flat_site.extracted() as con:
        fates = "SELECT fate, reason, record_key IS NOT NULL FROM fate.row"
        assert rows(con, fates) == [("duplicate", "copy", True)]


def test_one_content_in_two_roles_is_refused(flat_site: FlatSite) -> None:
    second = MAPPING.split("[[file]]")[1].replace("labs", "more")
    flat_site.deliver(labs_csv=f"{HEADER}\n{ROW}\n", more_csv=f"{HEADER}\n{ROW}\n")
    with pytest.raises(DeliveryError, match="labs and as more"):
        flat_site.describe(MAPPING + "\n[[file]]" + second)
