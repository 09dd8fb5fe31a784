"""Compile the check table into Great Expectations suites and run them on judged tables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from expectations.columns import SCHEMA
from expectations.judged import Judged
from expectations.table import Check, checks_of

if TYPE_CHECKING:
    import duckdb

#: Only counts: GX then fetches neither a value nor a key of a patient.
COUNTS: Mapping[str, object] = {
    "result_format": "BASIC",
    "partial_unexpected_count": 0,
    "exclude_unexpected_values": True,
    "include_unexpected_rows": False,
    "return_unexpected_index_query": False,
}
#: Counts and the identity of rows, for scratch tables of invented rows.
IDENTITIES: Mapping[str, object] = {
    **COUNTS,
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["source_file_sha", "source_row", "source_part"],
    "partial_unexpected_count": 1000,
}


@dataclass(frozen=True)
class GxResult:
    """What Great Expectations says about one check.

    Attributes:
        check_id: the check.
        n_failed: rows that fail; None where GX raised an error instead of a verdict.
        success: whether the share of failing rows is tolerated.
        rows: source_row of the failing rows, where identities were asked for.
        raw: GX's own result, for the Data Docs.
    """

    check_id: str
    n_failed: int | None
    success: bool
    rows: frozenset[int]
    raw: Any


@cache
def quiet_gx() -> Any:  # noqa: ANN401 - the untyped package
    """Import Great Expectations (4 s) with its telemetry off, in a context that keeps no files."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():  # of its dependencies; none that a user could act on
        warnings.simplefilter("ignore")
        import great_expectations

        great_expectations.get_context(mode="ephemeral")
    return great_expectations


def expectation(check: Check, event_type: str, tolerated: float) -> Any:  # noqa: ANN401 - untyped
    """Return the expectation of one check on one event type; `tolerated` is a share of rows."""
    from great_expectations import expectations as gxe

    from expectations.possible import ExpectValuePossibleForAnalyteAndUnit

    common = {
        "mostly": 1 - tolerated,
        "meta": {"check_id": check.id, "severity": check.severity, "kahn": check.category},
        "notes": check.note,
    }
    one = check.on[0]
    match check.rule:
        case "told":
            return gxe.ExpectColumnValuesToNotBeNull(column=one, **common)
        case "absent":
            return gxe.ExpectColumnValuesToBeNull(column=one, **common)
        case "one_of":
            values = list(check.allowed(event_type))
            return gxe.ExpectColumnValuesToBeInSet(column=one, value_set=values, **common)
        case "between":
            return gxe.ExpectColumnValuesToBeBetween(
                column=one, min_value=check.low, max_value=check.high, **common
            )
        case "shaped":
            return gxe.ExpectColumnValuesToMatchRegex(column=one, regex=check.pattern, **common)
        case "not_before":
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=one,
                column_B=check.on[1],
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                **common,
            )
        case "possible":
            return ExpectValuePossibleForAnalyteAndUnit(column_list=list(check.on), **common)


def suite(event_type: str, rows: str, site_share: float) -> Any:  # noqa: ANN401 - untyped
    """Return the suite of an event type's checks over `rows` (all or content)."""
    gx = quiet_gx()
    found = gx.ExpectationSuite(name=f"{event_type}.{rows}")
    for check in checks_of(event_type):
        if check.rows == rows:
            tolerated = site_share if check.threshold is None else check.threshold
            found.expectations.append(expectation(check, event_type, tolerated))
    return found


def run(
    con: duckdb.DuckDBPyConnection,
    judged: Judged,
    site_share: float,
    result_format: Mapping[str, object] = COUNTS,
) -> dict[str, GxResult]:
    """Run an event type's suites on its judged table; return a result per check id.

    A check that is absent from the result was lost on the way: the caller compares with the table.
    """
    found: dict[str, GxResult] = {}
    for rows in ("all", "content"):
        one = suite(judged.event_type, rows, site_share)
        for result in _validate(con, judged.relation(rows), one.expectations, result_format):
            read = _read(result)
            found[read.check_id] = read
    return found


def _validate(
    con: duckdb.DuckDBPyConnection,
    table: str,
    expectations: Iterable[Any],
    result_format: Mapping[str, object],
) -> list[Any]:
    from great_expectations.core.batch import Batch
    from great_expectations.execution_engine import SqlAlchemyExecutionEngine
    from great_expectations.execution_engine.sqlalchemy_batch_data import (
        SqlAlchemyBatchData,
    )
    from great_expectations.validator.validator import Validator

    from expectations.dialect import engine

    gx_engine = SqlAlchemyExecutionEngine(engine=engine(con))
    data = SqlAlchemyBatchData(
        gx_engine, schema_name=SCHEMA, table_name=table, create_temp_table=False
    )
    validator = Validator(execution_engine=gx_engine, batches=[Batch(data=data)])
    validator.metrics_calculator.show_progress_bars = False
    results: list[Any] = validator.graph_validate(
        configurations=[one.configuration for one in expectations],
        runtime_configuration={"result_format": dict(result_format), "catch_exceptions": True},
    )
    return results


def _read(result: Any) -> GxResult:  # noqa: ANN401 - untyped
    # An error has no `unexpected_count`. Its text can quote SQL and values: it is dropped here.
    details = result.result or {}
    count = details.get("unexpected_count")
    if count is None and details.get("element_count") == 0:
        count = 0
    identities = details.get("unexpected_index_list") or []
    rows = frozenset(int(row) for entry in identities for row in _as_list(entry["source_row"]))
    return GxResult(
        check_id=result.expectation_config.meta["check_id"],
        n_failed=None if count is None else int(count),
        success=bool(result.success),
        rows=rows,
        raw=result,
    )


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - GX lists or not
    return value if isinstance(value, list) else [value]
