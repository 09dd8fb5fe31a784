"""The domain's own expectation: a measured value lies within what is possible for it.

Great Expectations compares a column with constants; here each row has bounds of its own, those of
its analyte in its unit, or of its drug. Importing this module is heavy and registers the class:
a suite that is loaded where the class was never imported loses the check without a word, which is
why `expectations.sentinels` plants a row that only this class can find.
"""

from __future__ import annotations

from typing import Any, ClassVar

import sqlalchemy as sa
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import (
    MulticolumnMapMetricProvider,
    multicolumn_condition_partial,
)

METRIC = "multicolumn_values.possible_for_analyte_and_unit"


class ValuePossible(MulticolumnMapMetricProvider):  # type: ignore[misc] # untyped package
    """Whether a value lies within the closed bounds of its row; not judged where one is absent."""

    condition_metric_name = METRIC
    condition_domain_keys = (
        "batch_id",
        "table",
        "column_list",
        "row_condition",
        "condition_parser",
        "ignore_row_if",
    )
    condition_value_keys = ()

    # GX makes it a class method; its clause is an SQLAlchemy element.
    @multicolumn_condition_partial(engine=SqlAlchemyExecutionEngine)  # type: ignore[untyped-decorator]
    def _sqlalchemy(cls, column_list: list[Any], **_: object) -> Any:  # noqa: ANN401, N805
        value, low, high = column_list
        return sa.and_(value >= low, value <= high)


class ExpectValuePossibleForAnalyteAndUnit(MulticolumnMapExpectation):  # type: ignore[misc]
    """Expect value, lower and upper bound (in this order) to show a value that a body can have."""

    column_list: list[str]
    ignore_row_if: str = "any_value_is_missing"

    map_metric: ClassVar[str] = METRIC
    args_keys: ClassVar[tuple[str, ...]] = ("column_list",)
    domain_keys: ClassVar[tuple[str, ...]] = (
        "batch_id",
        "table",
        "column_list",
        "row_condition",
        "condition_parser",
        "ignore_row_if",
    )
    success_keys: ClassVar[tuple[str, ...]] = ("mostly",)
