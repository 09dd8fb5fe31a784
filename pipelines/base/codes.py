"""Codes as they are compared, which is not always as they are written.

ICD codes travel with their dot and without it ("J96.01", "J9601"), in either case: two notations of
one code, not two codes. Events keep what the source wrote; only comparisons go through here, the
scope of a site, a study's code lists and whatever else asks whether a code is meant.
"""

from __future__ import annotations

import duckdb


def comparable(code: str, system: str) -> str:
    """Return SQL for a code in the form in which it is compared.

    Codes of systems whose token begins with `icd` lose dots and blanks and become upper case; all
    others stay as told. A prefix is compared in this form too: `M80.0` begins `M8008XA`.

    Args:
        code: SQL expression of the code, as told (VARCHAR).
        system: SQL expression of its code system's token (VARCHAR).
    """
    return (
        f"CASE WHEN starts_with(lower({system}), 'icd') "
        f"THEN upper(replace(replace({code}, '.', ''), ' ', '')) ELSE {code} END"
    )


_IS_LISTED = """
CREATE OR REPLACE TEMP MACRO is_listed(listed, code_system, match, told, told_system) AS
    told_system = code_system
    AND CASE match
        WHEN 'prefix' THEN starts_with(
            comparable_code(told, told_system), comparable_code(listed, code_system)
        )
        ELSE comparable_code(told, told_system) = comparable_code(listed, code_system)
    END
"""


def install(con: duckdb.DuckDBPyConnection) -> None:
    """Give a connection two macros.

    `comparable_code(code, code_system)` is `comparable`;
    `is_listed(listed, code_system, match, told, told_system)` says whether a row of a code list
    (`match` is exact or prefix) names the code that was told.
    """
    con.execute(
        "CREATE OR REPLACE TEMP MACRO comparable_code(code, code_system) AS "
        + comparable("code", "code_system")
    )
    con.execute(_IS_LISTED)
