"""`signals.laboratory`: what was measured around units, as quantiles over patients."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.base.duck import insert
from studies.analytes import analytes
from studies.load import Study
from studies.outcomes import GradeOutcome

if TYPE_CHECKING:
    from warehouse.row_signals import Rows


def graded(study: Study) -> list[str]:
    """Return the analytes that published outcomes of a study grade."""
    told = (one for one in study.model.outcome if isinstance(one, GradeOutcome) and one.publish)
    return sorted({one.concept for one in told})


def laboratory(rows: Rows, study: Study) -> pa.Table:
    """Return the rows of `signals.laboratory` of a study."""
    con = rows.con
    con.execute(
        """CREATE OR REPLACE TEMP TABLE effect_code (
        event_type VARCHAR, code_system VARCHAR, code VARCHAR, match VARCHAR, concept VARCHAR);
        CREATE OR REPLACE TEMP TABLE analyte_unit (
        concept VARCHAR, unit VARCHAR, factor DOUBLE, added DOUBLE, canonical_unit VARCHAR)"""
    )
    insert(con, "temp.effect_code", study.concept_rows())
    insert(
        con,
        "temp.analyte_unit",
        [
            (one.concept, one.unit, one.to_canonical_factor, one.to_canonical_offset,
             one.canonical_unit)
            for one in analytes()
        ],
    )  # fmt: skip
    query = (resources.files("warehouse") / "rows" / "laboratory.sql").read_text(encoding="utf-8")
    found = con.execute(query, {"study": study.id, "concepts": graded(study)}).to_arrow_table()
    con.execute("DROP TABLE temp.effect_code; DROP TABLE temp.analyte_unit")
    return found
