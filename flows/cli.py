"""`dripwatch`: the command line. Each command imports what it needs when it runs.

Importing Beam, Great Expectations or Prefect takes seconds, so `--help` must not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows import (
    cli_events,
    cli_keys,
    cli_packs,
    cli_replay,
    cli_report,
    cli_review,
    cli_runs,
    cli_tables,
)
from flows.cli_groups import HERE, AsCsv, AsJson, Config, quarantine_app, study_app
from flows.reply import reply, terminate_politely, usage_as_json, version
from pipelines.base.errors import ExitCode

app = typer.Typer(
    name="dripwatch",
    help="Watch what follows infusions: EHR extracts in, reproducible safety signals out.",
    epilog="Exit codes and settings: docs/reference. First steps: dripwatch demo --out DIR.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(study_app, name="study")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to make; an earlier demo there is replaced.")],
    patients: Annotated[int | None, typer.Option(min=1, help="Number of patients.")] = None,
    nights: Annotated[int, typer.Option(min=1, help="Number of nightly deliveries.")] = 3,
    seed: Annotated[str | None, typer.Option(help="Equal seeds, equal hospitals.")] = None,
    as_json: AsJson = False,
) -> None:
    """Invent a hospital and run its nights, start to end.

    The nights run through a Prefect server of their own, which listens on
    127.0.0.1 alone and is stopped at the end. Leaves site.toml,
    warehouse.duckdb, a report and the truth in the folder.
    """
    with reply("demo", as_json=as_json) as answer:
        from flows.demo import run_demo

        run_demo(out, patients=patients, nights=nights, seed=seed, answer=answer)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; nothing in it is overwritten.")],
    kind: Annotated[
        Literal["flat", "fhir", "coordinator"],
        typer.Option(
            help="How the hospital delivers. flat: CSV or Parquet; fhir: bulk exports. Or "
            "coordinator: who pools the packs of hospitals."
        ),
    ] = "flat",
    as_json: AsJson = False,
) -> None:
    """Make the folder of a new site, or of a coordinator.

    Writes site.toml, an example of a mapping and a new key; of a coordinator
    coordinator.toml. Every setting is there with its meaning and its default.
    """
    with reply("init", as_json=as_json) as answer:
        from flows.init import make_coordinator, make_site

        if kind == "coordinator":
            made = make_coordinator(folder)
            answer.result = {"made": [str(path) for path in made]}
            answer.message = f"A new coordinator is in {folder}."
            for path in made:
                answer.console.say(f"made {path}")
            answer.console.say(
                f"Next: name the sites in {made[-1]}, put what `dripwatch export-key` gives each\n"
                f"of them into {made[1]} as SITE.pub, their packs into {made[0]}, then\n"
                f"  dripwatch coordinate --config {made[-1]}"
            )
            return
        made = make_site(folder, kind)
        answer.result = {"made": [str(path) for path in made]}
        answer.message = f"A new site is in {folder}."
        for path in made:
            answer.console.say(f"made {path}")
        answer.console.say(
            f"Next: edit {folder / 'site.toml'} and {made[2]}, then\n"
            f"  dripwatch doctor --config {folder / 'site.toml'}"
        )


@app.command()
def doctor(config: Config = HERE, as_json: AsJson = False) -> None:
    """Find what would fail tonight.

    Looks at versions, paths, permissions, key, disk, studies, mappings; of a
    coordinator at settings, folders and public keys. Changes nothing. Ends with 12
    if anything would fail.
    """
    with reply("doctor", as_json=as_json) as answer:
        from flows.doctor import examine, show

        findings = examine(config)
        show(findings, answer)


@app.command()
def refresh(
    config: Config = HERE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")
    ] = False,
    as_of: cli_replay.AsOf = None,
    study: cli_replay.Shadow = None,
    out: cli_replay.Out = None,
    as_json: AsJson = False,
) -> None:
    """Bring the warehouse up to date with what was delivered.

    Runs through the Prefect server in PREFECT_API_URL or [prefect] api_url, and
    in-process where none is set. Killed anywhere, the next run finishes it.
    --as-of and --study work beside the site and leave it as it is.
    """
    with reply("refresh", as_json=as_json) as answer:
        if cli_replay.beside(config, answer, as_of, study, out, dry_run=dry_run):
            return
        from flows.refresh import refresh_command

        refresh_command(config, answer, dry_run=dry_run)


@app.command()
def profile(
    extract: Annotated[Path, typer.Argument(help="A file or folder: CSV, Parquet, FHIR JSON.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A site.toml whose min_cell and studies count."),
    ] = None,
    min_cell: Annotated[
        int | None, typer.Option(min=1, help="Smallest count that is told; default 11.")
    ] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="Study whose codes are known; may be repeated.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Codes told per column and code system.")] = 10,
    mapping_out: Annotated[
        Path | None, typer.Option(help="File for the suggested mapping; else it is printed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See what is in an extract before configuring it.

    Tells columns, codes, units, precision of times, repeated keys, and suggests
    a mapping. Tells no patient's value and no count below the threshold.
    """
    with reply("profile", as_json=as_json) as answer:
        from flows.profile import show_profile

        show_profile(
            extract,
            answer,
            config=config,
            min_cell=min_cell,
            studies=study or (),
            top=top,
            mapping_out=mapping_out,
        )


@app.command()
def sql(
    file: Annotated[Path, typer.Argument(help="A DuckDB file, such as warehouse.duckdb.")],
    statement: Annotated[str, typer.Argument(help="What to ask, in SQL.")],
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Ask a warehouse a question in SQL.

    The file is opened for reading. The statement can neither write nor reach
    other files or the network. In a terminal that is too narrow for the table,
    each value has a line. `select * from reference.dictionary` lists what there is.
    """
    with reply("sql", as_json=as_json) as answer:
        from flows.query import ask

        ask(file, statement, answer, as_csv=as_csv)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    patients: Annotated[int | None, typer.Option(min=1, help="Number of patients.")] = None,
    seed: Annotated[str | None, typer.Option(help="Equal seeds, equal hospitals.")] = None,
    nights: Annotated[int, typer.Option(min=1, help="Number of nightly deliveries.")] = 3,
    dirt: Annotated[float, typer.Option(min=0, max=1, help="Share of spoilt rows.")] = 0.01,
    form: Annotated[
        Literal["csv", "fhir"],
        typer.Option("--format", help="csv: flat files; fhir: FHIR R4 bulk exports (NDJSON)."),
    ] = "csv",
    cases: Annotated[
        int, typer.Option(min=0, help="Patients of each worked edge of the window rules, on top.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Invent a hospital: deliveries, and the truth beside.

    Equal seeds give the same patients in both formats, and the same truth about
    them; only where spoilt rows lie is told per format.
    """
    with reply("simulate", as_json=as_json) as answer:
        from flows.demo import run_simulate

        run_simulate(
            out,
            patients=patients,
            seed=seed,
            nights=nights,
            dirt=dirt,
            form=form,
            cases=cases,
            answer=answer,
        )


cli_replay.add_to(app)
cli_events.add_to(app)
cli_tables.add_to(app)
cli_runs.add_to(app)
cli_review.add_to(app)
cli_packs.add_to(app)
cli_report.add_to(app)
cli_keys.add_to(app)


@app.command()
def explain(
    config: Config = HERE,
    unit: Annotated[
        str | None, typer.Option(help="Key of a unit, or its first 8 or more characters.")
    ] = None,
    signal: Annotated[
        str | None, typer.Option(help="Key of a risk: signal_key in signals.risk.")
    ] = None,
    outcome: Annotated[str | None, typer.Option(help="With --unit: this outcome alone.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="With --signal: units to list.")
    ] = 20,
    offset: Annotated[
        int, typer.Option(min=0, max=10**9, help="With --signal: units to skip.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Trace a number back to its infusions, rules, checks, file and row.

    Reads the restricted site store, writes nothing, and prints rows of patients
    (keys, times, codes, values): for those who may read that store.
    """
    with reply("explain", as_json=as_json) as answer:
        from flows.explain import explain as trace

        trace(
            config,
            answer,
            unit=unit,
            signal=signal,
            outcome=outcome,
            limit=limit,
            offset=offset,
        )


@app.command("version")
def show_version(as_json: AsJson = False) -> None:
    """Print the version."""
    with reply("version", as_json=as_json) as answer:
        answer.result = {"version": version(), "python": sys.version.split()[0]}
        answer.message = f"dripwatch {version()}"
        answer.console.say(answer.message)


def main() -> None:
    """Run the command line; every way to end has a documented exit code."""
    terminate_politely()
    try:
        app(prog_name="dripwatch", standalone_mode=False)
    except typer.TyperException as error:
        code = getattr(error, "exit_code", ExitCode.USAGE)
        if "--json" in sys.argv:
            usage_as_json(error)
        else:
            getattr(error, "show", lambda: None)()
        raise SystemExit(code) from None
    except KeyboardInterrupt:
        raise SystemExit(ExitCode.INTERRUPTED) from None
