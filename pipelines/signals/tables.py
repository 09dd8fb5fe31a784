"""Every table of `signals.*` that follows from counts alone, and who makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from pipelines.signals.benchmark import benchmark_table
from pipelines.signals.comparison_table import comparison_table
from pipelines.signals.onset_table import onset_table
from pipelines.signals.rates import rate_table
from pipelines.signals.risk import risk_table
from pipelines.signals.risk_gee import risk_gee_table
from pipelines.signals.screening import screening_table
from pipelines.signals.self_controlled import self_controlled_table
from pipelines.signals.trend import trend_table
from studies.load import Study

#: Merged counts by their name in the warehouse.
Counts = Mapping[str, pa.Table]

#: By name in the warehouse: makes the table from all counts, under all studies of the site.
MAKERS: Mapping[str, Callable[[Counts, Sequence[Study]], pa.Table]] = {
    "signals.benchmark": lambda counts, studies: benchmark_table(counts["signals.counts"], studies),
    "signals.comparison": lambda counts, _studies: comparison_table(counts),
    "signals.disproportionality": lambda counts, studies: screening_table(
        counts["signals.counts"], studies
    ),
    "signals.onset": onset_table,
    "signals.rate": lambda counts, _studies: rate_table(counts["signals.counts"]),
    "signals.risk": lambda counts, _studies: risk_table(counts["signals.counts"]),
    "signals.risk_gee": lambda counts, _studies: risk_gee_table(
        counts["signals.counts"], counts["signals.counts_patient"]
    ),
    "signals.self_controlled": self_controlled_table,
    "signals.trend": lambda counts, _studies: trend_table(counts["signals.counts"]),
}
