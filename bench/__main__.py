"""This road against a bare DuckDB script, from the same CSV files to risks; FHIR; linkage.

Run by `make bench`. Each size is measured in processes of their own, so that imports and memory
count for both; the result replaces bench/RESULTS.md. `python -m bench only-fhir [ROWS]` replaces
its part on FHIR alone, `python -m bench linkage [SHARE]` that on linkage, `python -m bench
incremental [SHARE]` that on a night that touches few patients, `python -m bench signals` that on
tables made of counts, `python -m bench report WAREHOUSE` that on the page of a demo's file.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import fhir, incremental, linkage, report, signals

HERE = Path(__file__).parent
ROAD = "# What the road costs"
#: Patients of the synthetic hospital that make about 10^5 and 10^6 events.
PATIENTS = (500, 5_150)

SITE = """
[site]
id = "bench"
zone = "America/New_York"
studies = ["iv_bisphosphonate"]
row_level = "internal"
synthetic = true

[key]
env = "DRIPWATCH_BENCH_KEY"

[[source]]
name = "ehr"
mapping = "mapping.toml"
path = "deliveries"
"""


def peak_mb() -> float:
    """Peak resident memory of this process since the last reset, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def reset_peak() -> None:
    """Let the kernel forget the peak (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


class _Silent:
    def advance(self, note: str = "") -> None:
        """Ignore."""

    def expect(self, total: int) -> None:
        """Ignore."""


class Meter:
    """A console that says nothing and measures each stage."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float, float]] = []

    def say(self, text: str) -> None:
        """Ignore."""

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Ignore."""

    @contextmanager
    def step(self, name: str) -> Iterator[_Silent]:
        """Measure one stage."""
        reset_peak()
        began = time.perf_counter()
        yield _Silent()
        self.stages.append((name, time.perf_counter() - began, peak_mb()))


def run_road(folder: Path) -> dict[str, Any]:
    """Refresh the site in this process and return seconds and peak memory by stage."""
    began = time.perf_counter()
    from flows.refresh import refresh
    from pipelines.base.site import load_site

    meter = Meter()
    refresh(load_site(folder), console=meter)
    seconds = time.perf_counter() - began
    return {"stages": meter.stages, "seconds": seconds}


def run_bare(folder: Path) -> dict[str, Any]:
    """Run the bare script in this process and return seconds, peak memory and its risks."""
    began = time.perf_counter()
    import duckdb

    reset_peak()
    con = duckdb.connect(str(folder / "bare.duckdb"))
    script = (HERE / "bare.sql").read_text(encoding="utf-8")
    con.execute(script.format(folder=folder / "deliveries" / "night-001"))
    rows = con.execute("SELECT outcome, n_events, n_units FROM risk ORDER BY outcome").fetchall()
    return {"seconds": time.perf_counter() - began, "peak_mb": peak_mb(), "risks": rows}


def in_own_process(what: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run one measurement in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", what, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=HERE.parent,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(patients: int) -> str:
    """Measure one size and return its section of the results."""
    from pipelines.base.keys import new_key
    from pipelines.simulate import simulate

    with tempfile.TemporaryDirectory(prefix="dripwatch-bench-") as name:
        folder = Path(name)
        began = time.perf_counter()
        made = simulate(patients=patients, seed="bench", nights=1, dirt=0.0, out=folder)
        simulated = time.perf_counter() - began
        (folder / "site.toml").write_text(SITE, encoding="utf-8")
        environment = {**os.environ, "DRIPWATCH_BENCH_KEY": new_key()}
        environment.pop("PREFECT_API_URL", None)
        bare = in_own_process("bare", folder, environment)
        road = in_own_process("road", folder, environment)
    return section(made.n_rows, made.n_units, simulated, bare, road)


def measure_fhir(n: int) -> str:
    """Measure the FHIR source on `n` Observations and return its part of the results."""
    from pipelines.base.keys import new_key

    with tempfile.TemporaryDirectory(prefix="dripwatch-bench-") as name:
        folder = Path(name)
        size = fhir.make_export(folder, n).stat().st_size
        environment = {**os.environ, "DRIPWATCH_BENCH_KEY": new_key()}
        bare = in_own_process("read_json", folder, environment)
        source = in_own_process("fhir", folder, environment)
    return fhir.section(n, size, bare, source)


def measure_linkage(share: float = 1.0) -> str:
    """Measure linkage at a share of its full size and return its part of the results."""
    with tempfile.TemporaryDirectory(prefix="dripwatch-bench-") as name:
        folder = Path(name)
        counts = linkage.make_shards(folder, share)
        sql = in_own_process("link_sql", folder, dict(os.environ))
        beam = in_own_process("link_beam", folder, dict(os.environ))
    return linkage.section(counts, beam, sql)


def measure_incremental(share: float = 1.0) -> str:
    """Measure a night that touches few patients, at a share of the full size."""
    with tempfile.TemporaryDirectory(prefix="dripwatch-bench-") as name:
        folder = Path(name)
        (folder / "share").write_text(str(share), encoding="utf-8")
        return incremental.section(in_own_process("link_few", folder, dict(os.environ)))


def measure_signals() -> str:
    """Measure the tables that follow from counts."""
    return signals.section(in_own_process("make_signals", HERE, dict(os.environ)))


def section(
    n_rows: int, n_units: int, simulated: float, bare: dict[str, Any], road: dict[str, Any]
) -> str:
    """Return one size's results as Markdown."""
    ratio = road["seconds"] / bare["seconds"]
    lines = [
        f"## {n_rows:,} rows, {n_units:,} units",
        "",
        f"Made by `dripwatch simulate` in {simulated:.1f} s.",
        "",
        "| stage | seconds | rows/s | peak MB |",
        "|---|---:|---:|---:|",
    ]
    for name, seconds, peak in road["stages"]:
        rate = f"{n_rows / seconds:,.0f}" if seconds > 0.05 else ""
        lines.append(f"| {name} | {seconds:.2f} | {rate} | {peak:,.0f} |")
    peak = max(one[2] for one in road["stages"])
    lines += [
        f"| **whole road, imports included** | **{road['seconds']:.1f}** "
        f"| **{n_rows / road['seconds']:,.0f}** | **{peak:,.0f}** |",
        f"| bare DuckDB script | {bare['seconds']:.2f} | {n_rows / bare['seconds']:,.0f} "
        f"| {bare['peak_mb']:,.0f} |",
        f"| **ratio** | **{ratio:.1f}** | | **{peak / bare['peak_mb']:.1f}** |",
        "",
    ]
    return "\n".join(lines)


def measure_road() -> str:
    """Measure every size of the road and return its part of the results."""
    head = [
        ROAD,
        "",
        "From CSV files to risks with intervals, by `make bench`, against `bench/bare.sql`: a",
        "plain DuckDB script over the same files that gives two crude risks and none of the",
        "checks, keys, log, versions, zones, ownership, baselines, strata or intervals. No gate:",
        "a baseline to compare later versions with.",
        "",
        f"Measured on {os.cpu_count()} cores, Python {platform.python_version()}.",
        "",
    ]
    return "\n".join(head) + "\n" + "\n".join(measure(patients) for patients in PATIENTS)


def run_one(what: str, folder: Path) -> None:
    """Run one measurement in this process and print what it found, and its peak memory."""
    runs = {"road": run_road, "bare": run_bare}
    runs |= {"fhir": fhir.run_source, "read_json": fhir.run_read_json}
    runs |= {"link_sql": linkage.run_sql, "link_beam": linkage.run_beam}
    runs["link_few"] = incremental.run
    runs["make_signals"] = signals.run
    found = runs[what](folder)
    print(json.dumps({"peak_mb": peak_mb()} | found))


def main() -> None:
    """Measure every size, or one part, and write the results."""
    results = HERE / "RESULTS.md"
    parts = _parts(results.read_text(encoding="utf-8"))
    match sys.argv[1:]:
        case ["only-fhir", *rest]:
            n = int(rest[0]) if rest else fhir.N_OBSERVATIONS
            parts[fhir.HEADING] = measure_fhir(n)
        case ["linkage", *rest]:
            parts[linkage.HEADING] = measure_linkage(*map(float, rest))
        case ["incremental", *rest]:
            parts[incremental.HEADING] = measure_incremental(*map(float, rest))
        case ["report", warehouse]:
            parts[report.HEADING] = "\n".join(report.measure(Path(warehouse)))
        case ["signals"]:
            parts[signals.HEADING] = measure_signals()
        case [what, folder]:
            return run_one(what, Path(folder))
        case _:
            parts = {
                ROAD: measure_road(),
                fhir.HEADING: measure_fhir(fhir.N_OBSERVATIONS),
                linkage.HEADING: measure_linkage(),
                incremental.HEADING: measure_incremental(),
                signals.HEADING: measure_signals(),
            }
    text = "\n".join(part.rstrip() + "\n" for part in parts.values())
    results.write_text(text, encoding="utf-8")
    print(text)
    return None


def _parts(text: str) -> dict[str, str]:
    """Return the parts of the results by their heading."""
    parts: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            parts[line] = ""
        parts[list(parts)[-1]] += line + "\n"
    return parts


if __name__ == "__main__":
    main()
