"""Everything that is pooled, as rows by table: what `pooled.duckdb` holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipelines.pooling.cells import ABOUT, cells_of
from pipelines.pooling.counts import pooled_counts
from pipelines.pooling.packs import Pack
from pipelines.pooling.ratios import pooled_ratios
from pipelines.pooling.risks import forest, left_out, pooled_risk
from pipelines.signals.counts import COUNTS
from pipelines.signals.risk import HEADLINE

Row = dict[str, Any]


def pooled_tables(packs: Sequence[Pack]) -> dict[str, list[Row]]:
    """Return the rows of `pooled.*`, the ledger of packs left out; the same for any order of packs.

    Args:
        packs: verified, one a site, of one study, version and checks (`check_alike`).
    """
    ordered = sorted(packs, key=lambda one: one.site_id)
    cells = cells_of(ordered)
    ratios, own_ratios = pooled_ratios(cells, ordered)
    tables: dict[str, list[Row]] = {
        "pooled.site": [_site(pack) for pack in ordered],
        "pooled.feed": [
            {"site_id": pack.site_id, **feed} for pack in ordered for feed in pack.facts["feeds"]
        ],
        "pooled.counts": pooled_counts(ordered),
        "pooled.comparison": ratios,
        "pooled.comparison_forest": own_ratios,
        "pooled.study": [_study(one) for one in ordered[0].facts["studies"]],
        **{name: [] for name in ("pooled.risk", "pooled.forest", "pooled.leave_one_out")},
    }
    for key, found in cells.items():
        about = dict(zip(ABOUT, key, strict=True))
        about_row: Row = {**about, "is_headline": about["denominator"] == HEADLINE}
        tables["pooled.risk"].append({**about_row, **pooled_risk(found)})
        is_led = about["stratum"] == "all" and about_row["is_headline"]
        others = left_out(found) if is_led else []
        tables["pooled.leave_one_out"] += [{**about, **one} for one in others]
        tables["pooled.forest"] += [{**about, **one} for one in forest(found, others)]
    return tables


def _study(told: Row) -> Row:
    settings = told["settings"]
    return {
        **{name: told[name] for name in ("study_id", "version", "study_hash")},
        "title": settings["study"]["title"],
        "settings_json": json.dumps(settings, sort_keys=True),
    }


def _site(pack: Pack) -> Row:
    facts = pack.facts
    rows = facts["n_rows"][COUNTS.name]
    return {
        "site_id": pack.site_id,
        "threshold": facts["threshold"],
        "data_through": facts["data_through"],
        "is_stale": any(feed["is_stale"] for feed in facts["feeds"]),
        "n_rows_told": rows["told"],
        "n_rows_masked": rows["masked"],
        "is_synthetic": facts["is_synthetic"],
    }
