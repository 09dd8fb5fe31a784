"""A night that touches few patients against linking everybody again, over one history.

Both fill the store of one site, in one process: first everybody is linked and loaded, then a share
of the patients gets one more result each and the night links and loads them. What they give is held
against a third store that linked everybody after the change.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.linkage import BUCKETS, MEMORY, THREADS, event_queries, on_two_cores, through

if TYPE_CHECKING:
    from pipelines.base.site import Site
    from warehouse.store import Store

HEADING = "# What a night costs that touches few patients"
#: Share of the patients who get a new result.
TOUCHED = 0.01
#: Link and count may take this share of what linking everybody takes.
ALLOWED = 0.05

_SITE = """
[site]
id = "bench"
zone = "America/New_York"
studies = ["iv_bisphosphonate"]
row_level = "internal"
synthetic = true

[resources]
memory_limit = "{memory}"

[[source]]
name = "ehr"
mapping = "mapping.toml"
path = "deliveries"
"""

_NEW = """
INSERT INTO event."LabResulted" BY NAME
SELECT * REPLACE (sha256(record_key) AS record_key, value + 0.1 AS value,
    occurred_at + INTERVAL 1 MINUTE AS occurred_at)
FROM event."LabResulted"
WHERE hash(patient_key) % 1000 < {permille}
QUALIFY row_number() OVER (PARTITION BY patient_key ORDER BY record_key) = 1
"""


def run(folder: Path) -> dict[str, Any]:
    """Measure at the share of the full size that a file of the folder names.

    Returns:
        Seconds by what was done, and counts.
    """
    share = float((folder / "share").read_text(encoding="utf-8"))
    on_two_cores()
    from pipelines.base.site import load_site
    from warehouse.store import Store

    (folder / "site.toml").write_text(_SITE.format(memory=MEMORY), encoding="utf-8")
    site = load_site(folder / "site.toml")
    with Store(site) as store:
        n_events = _fill(store, share)
    everybody = _link(site, everybody=True)
    publishing = _publish(site)
    with Store(site) as store:
        store.con.execute(_NEW.format(permille=int(TOUCHED * 1000)))
    night = _link(site, everybody=False)
    publishing_again = _publish(site)
    with Store(site) as store:
        found = store.state_digests()
    again = _link(site, everybody=True)
    with Store(site) as store:
        is_equal = found == store.state_digests()
    return {
        "n_events": n_events,
        "everybody": everybody,
        "night": night,
        "again": again,
        "publish": [publishing, publishing_again],
        "is_equal": is_equal,
    }


def _fill(store: Store, share: float) -> int:
    """Put a history into the store, past the log: only linkage is measured."""
    n_events = 0
    for event_type, query in event_queries(store.con, share):
        store.con.execute(
            f"""INSERT INTO event."{event_type}" BY NAME
            SELECT *, TIMESTAMP '2026-01-01' AS last_seen_at,
                TIMESTAMP '2026-01-01' AS delivered_at, false AS is_outdated FROM ({query})"""
        )
        row = store.con.execute(f'SELECT count(*) FROM event."{event_type}"').fetchone()
        n_events += int(row[0]) if row else 0
    return n_events


def _link(site: Site, *, everybody: bool) -> dict[str, float]:
    """Link and load as the stages do; return the seconds of each."""
    from flows.linking import bucket_count
    from pipelines.linkage.kernel import LinkageInput
    from pipelines.linkage.transform import run_linkage
    from studies.load import load_study
    from warehouse.relink import relink
    from warehouse.store import Store
    from warehouse.touched import Relinked, find_touched

    feeds = through()
    told = tuple(("bench", name, at) for name, at in feeds.items())
    given = LinkageInput(
        load_study("iv_bisphosphonate"), told, memory_limit=MEMORY, temp_dir=site.spill
    )
    shutil.rmtree(site.shards, ignore_errors=True)
    site.shards.mkdir(parents=True)
    clock = _Clock()
    with Store(site) as store:
        file = site.shards / "touched.parquet"
        touched = find_touched(store.con, feeds, file, everybody=everybody)
        clock.lap("find")
        linked = relink(
            store,
            touched,
            [given],
            n_buckets=BUCKETS if everybody else bucket_count(touched.n_events, BUCKETS),
            folder=site.shards,
            run_linkage=run_linkage,
        )
        clock.lap("link")
    with Store(site) as store:
        store.load_linkage(linked.tables, "bench", relinked=Relinked(touched, linked.kept))
    clock.lap("load")
    return clock.laps | {"n_patients": touched.n_patients, "n_treated": touched.n_treated}


class _Clock:
    def __init__(self) -> None:
        self._began, self.laps = time.perf_counter(), dict[str, float]()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._began = now - self._began, now


def _publish(site: Site) -> float:
    from datetime import UTC, datetime

    from warehouse.publish import publish
    from warehouse.store import RunRecord, Store

    began = time.perf_counter()
    run = RunRecord("bench", "bench", datetime.now(UTC), "0", "in_process")
    with Store(site) as store:
        publish(store, site, "bench", run)
    return time.perf_counter() - began


def section(found: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    rows = (("everybody, at first", "everybody"), ("everybody, after the night", "again"))
    seconds: Callable[[str], float] = lambda of: sum(  # noqa: E731 - a word for the table
        found[of][part] for part in ("find", "link", "load")
    )
    ratio = seconds("night") / seconds("everybody")
    kept = "within" if ratio <= ALLOWED else "MORE THAN"
    night = found["night"]
    lines = [
        HEADING,
        "",
        f"A history of {found['n_events']:,} events; {night['n_patients']:,} of",
        f"{night['n_treated']:,} patients get one new result. {THREADS} threads, {MEMORY}. Imports",
        "are left out. What the night came to is "
        + ("equal" if found["is_equal"] else "NOT EQUAL")
        + " to linking everybody after it.",
        "",
        "| | find | link and count | load | all |",
        "|---|---:|---:|---:|---:|",
    ]
    for label, of in (*rows, ("**the night**", "night")):
        parts = " | ".join(f"{found[of][part]:.1f}" for part in ("find", "link", "load"))
        lines.append(f"| {label} | {parts} | {seconds(of):.1f} |")
    before, after = found["publish"]
    lines += [
        "",
        f"The night takes {ratio:.1%} of linking everybody at first: {kept} the allowed "
        f"{ALLOWED:.0%}.",
        f"Publishing, which is apart: {before:.1f} s at first, {after:.1f} s after the night.",
        "",
    ]
    return "\n".join(lines)
