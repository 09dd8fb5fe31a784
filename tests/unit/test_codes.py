"""One code in two notations is one code; codes of other systems are left alone."""

from __future__ import annotations

import pytest

from pipelines.base import codes, duck


@pytest.mark.parametrize(
    ("code", "system", "expected"),
    [
        # MIMIC-IV writes ICD-10-CM without its dot, CMS's code tables with it.
        ("J96.01", "icd10cm", "J9601"),
        ("J9601", "icd10cm", "J9601"),
        ("m80.08xa", "icd10gm", "M8008XA"),
        ("250.00", "icd9cm", "25000"),
        (" Z79 .83", "ICD10", "Z7983"),
        ("17861-6", "loinc", "17861-6"),
        ("M05BA03.x", "atc", "M05BA03.x"),
        ("a.b", None, "a.b"),
        (None, "icd10cm", None),
    ],
)
def test_a_code_is_compared_without_the_notation_of_its_system(
    code: str | None, system: str | None, expected: str | None
) -> None:
    con = duck.connect()
    codes.install(con)
    asked = f"SELECT comparable_code($code, $system), {codes.comparable('$code', '$system')}"
    assert con.execute(asked, {"code": code, "system": system}).fetchone() == (expected, expected)
    con.close()
