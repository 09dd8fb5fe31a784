"""One run of the refresh: checks, lock, stages through Prefect or in-process, summary."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from flows.console import Console, plural
from flows.context import RunContext
from flows.journal import Journal, journal_of
from flows.lock import site_lock
from flows.news import batches
from flows.record import record_end, record_failure
from flows.reply import Reply, may_name
from flows.run import Conductor, RunResult, Stage, StageResult
from flows.server import STORAGE, configured_url, enter_quiet, require
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.site import Site, load_site
from pipelines.base.storage import storing


def new_run_id() -> str:
    """Return a UUID version 7: it sorts by the time at which it was made."""
    from pipelines.base import duck

    with duck.connect(threads=1) as con:
        row = con.execute("SELECT uuidv7()::VARCHAR").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return str(row[0])


def refresh(
    site: Site,
    *,
    console: Console,
    run_id: str | None = None,
    stages: Sequence[Stage[RunContext]] = (),
) -> RunResult:
    """Bring a site's warehouse up to date with everything that was delivered.

    Args:
        site: whose warehouse.
        console: where the run speaks.
        run_id: UUID version 7; made here where it is not given.
        stages: what the run does in place of a night's stages, such as a replay's.

    Errors:
        DripwatchError: each cause has its class and exit code; what was committed stays, and the
            next run continues from there.
    """
    may_name(site)
    with journal_of(site, run_id or new_run_id(), console) as journal:
        context = RunContext(site, journal.run_id, journal.console, datetime.now(UTC))
        try:
            return _refresh(context, journal, stages)
        except DripwatchError as error:
            if not journal.is_open:  # it came to no lock, so that nobody has recorded it yet
                record_failure(context, error, is_alone=False)
            raise


def _refresh(
    context: RunContext, journal: Journal, stages: Sequence[Stage[RunContext]]
) -> RunResult:
    site = context.site
    api_url = configured_url(site)
    _say_configuration(context, api_url)
    if api_url:
        require(api_url)
    _check_settings(context)
    with site_lock(site, context.run_id) as cut_short, private_by_default(site):
        journal.open()
        if cut_short:
            context.remark(
                f"An earlier run was cut short (killed, or the machine stopped): {cut_short}. "
                "What it had committed is there; the rest was done again."
            )
        from flows.stages import STAGES

        try:
            result = _conduct(context, api_url, journal.over(stages or STAGES))
            record_end(context, result)
        except DripwatchError as error:
            record_failure(context, error, is_alone=True)
            raise
        finally:
            shutil.rmtree(site.prefect_home / STORAGE, ignore_errors=True)
    journal.ended(result)
    return result


@contextmanager
def private_by_default(site: Site) -> Iterator[None]:
    """Make files for their owner alone, but for the report, which follows the user's umask."""
    docs = site.report / "data_docs"
    for folder in (site.warehouse.parent, docs):
        with storing("making a folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
    users = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(users)
        with suppress(OSError):  # a report that stays private is no reason to fail
            for path in (*site.report.glob("*.*"), docs, *docs.rglob("*")):
                if path.exists():
                    path.chmod((0o777 if path.is_dir() else 0o666) & ~users)


def _say_configuration(context: RunContext, api_url: str) -> None:
    site = context.site
    sources = ", ".join(f"{one.name} ({site.at(one.path)})" for one in site.source)
    for name, text in (
        ("site", f"{site.site.id} ({site.config_path})"),
        ("synthetic", "yes: invented patients" if site.site.synthetic else ""),
        ("studies", ", ".join(site.site.studies)),
        ("sources", sources),
        ("scope", site.site.scope),
        ("warehouse", f"{site.warehouse} (row_level {site.site.row_level})"),
        ("restricted", str(site.restricted)),
        ("conductor", api_url or "in-process: no Prefect server is configured"),
        ("run", f"{context.run_id}, dripwatch {metadata.version('dripwatch')}"),
    ):
        if text:
            context.console.say(f"{name:<11}{text}")


def _check_settings(context: RunContext) -> None:
    """Read everything that can be wrong before anything is done: key, studies, mappings."""
    _ = context.studies, context.mappings  # read here for their errors
    context.log.check_site(context.site.site.id)
    context.log.check_key(context.key.check_value(context.site.site.id))


def _conduct(context: RunContext, api_url: str, stages: Sequence[Stage[RunContext]]) -> RunResult:
    from flows.conduct import run_in_process

    def finish(results: list[StageResult], conductor: Conductor) -> tuple[str, str]:
        return "refresh-summary", _result(context, results, conductor).to_markdown()

    if api_url:
        enter_quiet(context.site)
        from flows.nightly import conduct

        results, conductor = conduct(stages, context, api_url, finish)
    else:
        results, conductor = run_in_process(stages, context), Conductor()
    return _result(context, results, conductor)


def _result(context: RunContext, results: list[StageResult], conductor: Conductor) -> RunResult:
    return RunResult(
        run_id=context.run_id,
        site_id=context.site.site.id,
        conductor=conductor,
        started_at=context.started_at,
        ended_at=datetime.now(UTC),
        stages=tuple(results),
        is_changed=context.is_changed,
        is_replay=context.is_replay,
        n_new_batches=context.n_new,
        held=tuple(context.held),
        remarks=tuple(context.remarks),
        versions=_versions(context),
        synthetic=context.site.site.synthetic,
        headline=context.headline,
        attrition=context.attrition,
        batches=tuple(batches(context)),
        changes=tuple(context.changes),
        feeds=tuple(context.feeds),
    )


def _versions(context: RunContext) -> dict[str, str]:
    studies = {f"study {study.id}": study.study_hash for study in context.studies}
    return {"dripwatch": metadata.version("dripwatch"), **studies}


def plan(site: Site, *, console: Console) -> dict[str, Any]:
    """Return what a refresh would do; writes nothing, not even the lock.

    Errors:
        DripwatchError: what would fail tonight fails now.
    """
    from flows.closing import find_held
    from flows.plan import find_deliveries, would_link

    context = RunContext(site, "dry run", console, datetime.now(UTC))
    api_url = configured_url(site)
    _say_configuration(context, api_url)
    _check_settings(context)
    context.held = find_held(context)
    with console.step("discover") as step:
        find_deliveries(context, step)
    new = [
        {
            "batch_id": one.facts.batch_id,
            "source": one.source.name,
            "kind": one.facts.kind,
            "exported_at": one.facts.exported_at.isoformat(),
            "files": len(one.facts.files),
            "event_types": sorted(one.facts.data_through),
        }
        for one in context.incoming
    ]
    return {
        "new": new,
        "n_known": len(context.known),
        "held": context.held,
        "studies": {study.id: study.study_hash for study in context.studies},
        "would_link": would_link(context),
    }


def refresh_command(config: Path, answer: Reply, *, dry_run: bool) -> None:
    """Run or plan a refresh for the command line."""
    site = load_site(config)
    if dry_run:
        answer.result = plan(site, console=answer.console)
        _show_plan(answer)
        return
    result = refresh(site, console=answer.console)
    answer.result = result.to_json()
    answer.message = result.sentence
    answer_with(result, answer)


def answer_with(result: RunResult, answer: Reply) -> None:
    """Show a run and end as it ended."""
    answer.exit_code = result.exit_code
    show_result(result, answer.console)
    if result.exit_code == ExitCode.HELD:
        answer.error = {
            "type": "BatchesHeld",
            "what": f"{plural(len(result.held), 'batch is', 'batches are')} held; "
            "the rest is published.",
            "where": ", ".join(one[:12] for one in result.held),
            "remedy": "`dripwatch quarantine list`, then mend the mapping or release them.",
            "next_run": "Leaves them held, and says so again.",
        }


def show_result(result: RunResult, console: Console) -> None:
    """Print a run: the table of stages, the remarks, one sentence."""
    header, rows = result.table()
    console.table("", header, rows)
    if result.attrition:
        console.table("", *result.flow_of_exclusion())
    if result.changes:
        console.table("What changed in the signals, and why", *result.changed_signals())
    for remark in result.remarks:
        console.say(f"- {remark}")
    for label, text in result.headline:
        console.say(f"{label}: {text}")
    console.say(result.sentence)


def _show_plan(answer: Reply) -> None:
    assert answer.result is not None  # noqa: S101 - set by the caller
    new = answer.result["new"]
    rows = [
        [one["batch_id"][:12], one["source"], one["exported_at"][:16], str(one["files"])]
        for one in new
    ]
    answer.console.table("", ["batch", "source", "exported", ">files"], rows)
    held = len(answer.result["held"])
    would = f"{plural(len(new), 'delivery', 'deliveries')} would be read"
    answer.message = (
        f"Dry run: {would}, {answer.result['n_known']} known, "
        f"{held} held. {answer.result['would_link']} Nothing was written."
    )
    answer.console.say(answer.message)
