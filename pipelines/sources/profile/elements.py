"""Elements of the resources of one type, and how many have them."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from pipelines.sources.profile.asked import Asked
from pipelines.sources.profile.disclosure import share
from pipelines.sources.profile.report import Column
from pipelines.sources.profile.shapes import elements
from pipelines.sources.profile.tables import Rows

#: Elements of all shapes together that are kept in memory; real exports have some thousands.
MOST = 300_000


def columns(rows: Rows, asked: Asked) -> tuple[list[Column], bool]:
    """Return the elements that enough patients have, and whether every shape was looked at."""
    con = rows.con
    con.execute(
        "CREATE OR REPLACE TABLE shape AS SELECT row_number() OVER (ORDER BY n DESC, shape) AS id, "
        "shape, n FROM (SELECT shape, count(*) AS n FROM one GROUP BY shape)"
    )
    kinds: dict[str, set[str]] = {}
    sizes: Counter[str] = Counter()
    having: list[tuple[str, int]] = []
    last = 0
    reader = con.cursor().execute("SELECT id, shape, n FROM shape ORDER BY id")
    while len(having) < MOST and (found := reader.fetchone()):
        last, shape, n_rows = found
        for path, kind in {one.path: one.kind for one in elements(shape)}.items():
            kinds.setdefault(path, set()).add(kind)
            sizes[path] += n_rows
            having.append((path, last))
    is_whole = reader.fetchone() is None
    con.execute(f"DELETE FROM shape WHERE id > {last}")
    k = asked.min_cell
    having = [(path, number) for path, number in having if sizes[path] >= k]
    return [
        Column(path, _kind(kinds[path]), share(n, patients, total, lacking, k))
        for path, n, patients, total, lacking in _counted(rows, having)
        if min(n, patients) >= k
    ], is_whole


def _kind(kinds: set[str]) -> str:
    told = kinds - {"empty"}
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
