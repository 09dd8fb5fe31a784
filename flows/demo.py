"""`dripwatch demo` and `dripwatch simulate`: an invented hospital, and its nights."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import Console, SilentConsole
from flows.init import SOURCE_EXAMPLE, site_toml, write_new
from flows.refresh import refresh, show_result
from flows.reply import Reply, UsageError
from flows.run import RunResult
from flows.server import own_server
from pipelines.base.files import make_private
from pipelines.base.site import Site, load_site
from warehouse.told import begin_anew

if TYPE_CHECKING:
    from pipelines.simulate import Form, SimulationSummary

MARKER = ".dripwatch-demo"
DEMO_SITE: Mapping[str, Mapping[str, Any]] = {
    "site": {
        "id": "demo",
        "zone": "America/New_York",
        "studies": ["iv_bisphosphonate"],
        "row_level": "internal",
        "synthetic": True,
    },
    # Of its own, so that the key of a real site in the environment is never used for a demo.
    "key": {"env": "DRIPWATCH_DEMO_KEY"},
    "privacy": {"min_cell": 11},
}
NIGHTS_DIRT = 0.01


def run_simulate(
    out: Path,
    *,
    patients: int | None,
    seed: str | None,
    nights: int,
    dirt: float,
    form: Form,
    cases: int,
    answer: Reply,
) -> None:
    """Make deliveries and truth for the command line."""
    summary = _simulate(out, patients, seed, nights, dirt, answer.console, form=form, cases=cases)
    answer.result = asdict(summary)
    answer.message = _told(summary)
    rows = [[name, f"{count:,}"] for name, count in summary.rows_by_file.items()]
    answer.console.table("", ["file", ">rows"], rows)
    answer.console.say(answer.message)


def _simulate(
    out: Path,
    patients: int | None,
    seed: str | None,
    nights: int,
    dirt: float,
    console: Console,
    *,
    form: Form = "csv",
    cases: int = 0,
) -> SimulationSummary:
    from pipelines.simulate import NAMED_PATIENTS, NAMED_SEED, simulate

    with console.step("simulate") as step:
        return simulate(
            patients or NAMED_PATIENTS,
            seed or NAMED_SEED,
            nights,
            dirt,
            out,
            form=form,
            cases=cases,
            report=step.advance,
        )


def _told(summary: SimulationSummary) -> str:
    return (
        f"SYNTHETIC: {summary.n_patients:,} patients, {summary.n_rows:,} rows "
        f"({summary.n_dirty:,} spoilt) in {summary.n_nights} nights, seed {summary.seed}."
    )


def run_demo(
    out: Path, *, patients: int | None, nights: int, seed: str | None, answer: Reply
) -> None:
    """Invent a hospital under `out` and run each of its nights through a Prefect server of its own.

    Errors:
        UsageError: the folder holds something that is no demo.
        ServerError: the server did not start.
    """
    console = answer.console
    clear_demo(out)
    results: list[RunResult] = []
    prefect_home = make_private(make_private(out / "restricted") / "prefect")
    # The server needs seconds to start: the hospital is invented meanwhile.
    with own_server(prefect_home) as server:
        console.say("inventing a hospital, starting a Prefect server on 127.0.0.1")
        summary = _simulate(out / "hospital", patients, seed, nights, NIGHTS_DIRT, console)
        console.say(_told(summary))
        site = demo_site(out, summary.seed)
        server.wait()
        with environment("PREFECT_API_URL", server.api_url):
            for folder in sorted((out / "hospital" / "deliveries").iterdir()):
                # Figures of a page stay until they may move; nobody sees those of earlier nights.
                begin_anew(site)
                results.append(_one_night(site, folder, is_first=not results, console=console))
    show_result(results[-1], console)
    _point_out(out, console)
    answer.message = results[-1].sentence
    answer.exit_code = max(result.exit_code for result in results)
    answer.result = {
        "hospital": asdict(summary),
        "nights": [result.to_json() for result in results],
        "site": str(site.config_path),
        "warehouse": str(site.warehouse),
    }


def _one_night(site: Site, delivery: Path, *, is_first: bool, console: Console) -> RunResult:
    """Let a delivery arrive, and run the refresh."""
    arrive(site, delivery)
    console.say(f"\n{delivery.name} has arrived")
    result = refresh(site, console=console if is_first else SilentConsole())
    console.say(result.sentence)
    return result


def arrive(site: Site, delivery: Path) -> None:
    """Let a delivery arrive, by one rename as senders should."""
    inbox = site.root / "inbox"
    inbox.mkdir(exist_ok=True)
    delivery.rename(inbox / delivery.name)


def demo_site(
    out: Path,
    seed: str,
    settings: Mapping[str, Mapping[str, Any]] = DEMO_SITE,
    source: Mapping[str, Any] = SOURCE_EXAMPLE,
) -> Site:
    """Write a site.toml, mapping and key beside the hospital that was invented in `out`."""
    hospital = out / "hospital"
    (hospital / source["mapping"]).rename(out / source["mapping"])
    (hospital / "truth").rename(out / "truth")
    write_new(out / "site.toml", site_toml(settings, [source]), 0o644)
    # From the seed: no secret is at stake, and equal demos give equal digests.
    key = hashlib.sha256(f"dripwatch demo {seed}".encode()).hexdigest()
    write_new(out / "restricted" / "site.key", key + "\n", 0o600)
    return load_site(out / "site.toml")


def clear_demo(out: Path) -> None:
    """Make the folder, or empty it where it holds an earlier demo and nothing else."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (out / MARKER).is_file():
            raise UsageError(
                "The folder holds something that is no demo; it is left alone.",
                where=str(out),
                remedy="Name a new folder.",
            )
        for path in out.iterdir():
            if path.name == MARKER:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("Made by `dripwatch demo`; the next demo here replaces it.\n")


@contextmanager
def environment(name: str, text: str) -> Iterator[None]:
    """Set a variable of the environment while the `with` block lasts."""
    before = os.environ.get(name)
    os.environ[name] = text
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _point_out(out: Path, console: Console) -> None:
    console.say(
        "\nWhere to look next:\n"
        f'  dripwatch sql {out}/warehouse.duckdb "select * from analysis.headline_risk"\n'
        f"  {out}/report/index.html            the report, for a browser\n"
        f"  {out}/report/summary.md            what the last night did\n"
        f"  {out}/truth/                       what was planted\n"
        f"  dripwatch refresh --config {out}/site.toml   nothing new, and says so"
    )
