"""What encryption at rest costs: the same tables and files, plain and encrypted, side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.base import duck, sealed
from pipelines.base.files import make_private
from pipelines.base.site import load_site

ROWS = (
    "SELECT i, sha256(i::VARCHAR) AS key, (i * 7919 % 1000) / 10 AS value FROM range({n}) AS t(i)"
)
_SITE = """[site]
id = "bench"
zone = "UTC"
studies = ["iv_bisphosphonate"]
[privacy]
encrypt = {encrypt}
[[source]]
name = "ehr"
mapping = "mapping.toml"
path = "inbox"
"""


def measure(n_rows: int = 1_000_000, n_bytes: int = 100_000_000) -> dict[str, dict[bool, float]]:
    """Return seconds of CPU by work, plain (False) and encrypted (True)."""
    told: dict[str, dict[bool, float]] = {}
    with tempfile.TemporaryDirectory() as root:
        _work(Path(root) / "warm", is_secret=True, n_rows=1000, n_bytes=1000)  # imports
        for is_secret in (False, True):
            for name, seconds in _work(
                Path(root) / str(is_secret), is_secret=is_secret, n_rows=n_rows, n_bytes=n_bytes
            ):
                told.setdefault(name, {})[is_secret] = seconds
    return told


def _work(root: Path, *, is_secret: bool, n_rows: int, n_bytes: int) -> list[tuple[str, float]]:
    folder = make_private(root / "restricted")
    (folder / "site.key").write_text("5f" * 8 + "0123456789abcdef" * 3)
    (folder / "site.key").chmod(0o600)
    (root / "site.toml").write_text(_SITE.format(encrypt=str(is_secret).lower()))
    load_site(root)
    data = bytes(n_bytes)
    with duck.connect(folder / "one.duckdb", temp_dir=folder / "tmp") as con:
        file = folder / "one.parquet"
        copy = f"COPY t TO {duck.literal(str(file))} ({duck.parquet_options(file)})"
        scan = "SELECT count(DISTINCT key), sum(value) FROM "
        works: list[tuple[str, Callable[[], object]]] = [
            ("store: write", lambda: con.execute(f"CREATE TABLE t AS {ROWS.format(n=n_rows)}")),
            ("store: checkpoint", lambda: con.execute("CHECKPOINT")),
            ("store: read", lambda: con.execute(f"{scan} t").fetchall()),
            ("shards: write", lambda: con.execute(copy)),
            ("shards: read", lambda: con.execute(f"{scan} {duck.parquet(file)}").fetchall()),
            ("log: write 100 MB", lambda: sealed.write_bytes(folder / "one", data)),
            ("log: read 100 MB", lambda: sealed.read_bytes(folder / "one")),
        ]
        return [(name, _timed(work)) for name, work in works]


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def as_table() -> str:
    """Return the measurement as Markdown."""
    lines = ["| seconds of CPU | plain | encrypted | ratio |", "|---|---:|---:|---:|"]
    for name, (plain, secret) in ((n, (t[False], t[True])) for n, t in measure().items()):
        ratio = f"{secret / plain:.2f}" if plain else ""
        lines.append(f"| {name} | {plain:.2f} | {secret:.2f} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_table())
