"""Elements of the resources of one type, and how many have them."""

from __future__ import annotations

import pyarrow as pa

from pipelines.sources.profile.asked import Asked
from pipelines.sources.profile.disclosure import share
from pipelines.sources.profile.report import Column
from pipelines.sources.profile.shapes import elements
from pipelines.sources.profile.tables import Rows

#: More shapes than this are not looked at one by one.
SHAPES = 50_000


def columns(rows: Rows, asked: Asked) -> list[Column]:
    """Return the elements that enough patients have."""
    con = rows.con
    con.execute(
        "CREATE OR REPLACE TABLE shape AS SELECT row_number() OVER (ORDER BY n DESC) AS id, shape "
        "FROM (SELECT shape, count(*) AS n FROM one GROUP BY shape ORDER BY n DESC "
        f"LIMIT {SHAPES})"
    )
    kinds: dict[str, dict[str, int]] = {}
    having: list[tuple[str, int]] = []
    for number, shape in con.execute("FROM shape").fetchall():
        for path, kind in {one.path: one.kind for one in elements(shape)}.items():
            kinds.setdefault(path, {}).setdefault(kind, 0)
            kinds[path][kind] += 1
            having.append((path, number))
    k = asked.min_cell
    return [
        Column(path, _kind(kinds[path]), share(n, patients, total, lacking, k))
        for path, n, patients, total, lacking in _counted(rows, having)
        if min(n, patients) >= k
    ]


def _kind(kinds: dict[str, int]) -> str:
    told = {kind for kind in kinds if kind != "empty"}
    if told == {"integer", "decimal"}:
        return "decimal"
    return told.pop() if len(told) == 1 else " or ".join(sorted(told)) or "empty"


def _counted(rows: Rows, having: list[tuple[str, int]]) -> list[tuple[str, int, int, int, int]]:
    """Return path, rows and patients that have it, all rows, patients of rows without it."""
    paths = list(dict.fromkeys(path for path, _ in having))
    place = {path: n for n, path in enumerate(paths)}
    table = pa.table({"path": [place[p] for p, _ in having], "id": [n for _, n in having]})
    rows.con.register("having_path", table)
    found = rows.con.execute(
        "WITH held AS (SELECT s.id, o.patient, count(*) AS k FROM one o JOIN shape s "
        "ON o.shape = s.shape GROUP BY ALL), "
        "every AS (SELECT DISTINCT path FROM having_path) "
        "SELECT e.path, sum(k) FILTER (h.id IS NOT NULL), "
        "count(DISTINCT patient) FILTER (h.id IS NOT NULL), sum(k), "
        "count(DISTINCT patient) FILTER (h.id IS NULL) FROM every e CROSS JOIN held "
        "LEFT JOIN having_path h ON h.path = e.path AND h.id = held.id GROUP BY e.path ORDER BY 1"
    ).fetchall()
    rows.con.unregister("having_path")
    return [(paths[p], int(a or 0), b, int(c or 0), d) for p, a, b, c, d in found]
