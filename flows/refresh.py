"""One run of the refresh: checks, lock, stages through Prefect or in-process, summary."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from flows.console import Console, plural
from flows.context import RunContext
from flows.lock import site_lock
from flows.reply import Reply, may_name
from flows.run import Conductor, RunResult, StageResult
from flows.server import STORAGE, configured_url, enter_quiet, require
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.files import write_durably
from pipelines.base.site import Site, load_site


def new_run_id() -> str:
    """Return a UUID version 7: it sorts by the time at which it was made."""
    from pipelines.base import duck

    with duck.connect() as con:
        row = con.execute("SELECT uuidv7()::VARCHAR").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return str(row[0])


def refresh(site: Site, *, console: Console, run_id: str | None = None) -> RunResult:
    """Bring a site's warehouse up to date with everything that was delivered.

    Errors:
        DripwatchError: each cause has its class and exit code; what was committed stays, and the
            next run continues from there.
    """
    may_name(site)
    context = RunContext(site, run_id or new_run_id(), console, datetime.now(UTC))
    api_url = configured_url(site)
    _say_configuration(context, api_url)
    if api_url:
        require(api_url)
    _check_settings(context)
    with site_lock(site), _private_by_default(site):
        try:
            return _conduct(context, api_url)
        except DripwatchError as error:
            _record_failure(context, error)
            raise
        finally:
            shutil.rmtree(site.prefect_home / STORAGE, ignore_errors=True)


@contextmanager
def _private_by_default(site: Site) -> Iterator[None]:
    """Make files for their owner alone, but for the report, which follows the user's umask."""
    site.warehouse.parent.mkdir(parents=True, exist_ok=True)
    docs = site.report / "data_docs"
    docs.mkdir(parents=True, exist_ok=True)
    users = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(users)
        for path in (site.report / "summary.md", docs, *docs.rglob("*")):
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


def _conduct(context: RunContext, api_url: str) -> RunResult:
    from flows.conduct import run_in_process
    from flows.stages import STAGES

    def finish(results: list[StageResult], conductor: Conductor) -> tuple[str, str]:
        return "refresh-summary", _result(context, results, conductor).to_markdown()

    if api_url:
        enter_quiet(context.site)
        from flows.nightly import conduct

        results, conductor = conduct(STAGES, context, api_url, finish)
    else:
        results, conductor = run_in_process(STAGES, context), Conductor()
    result = _result(context, results, conductor)
    _record(context, result)
    page = context.site.report / "summary.md"
    write_durably(page, result.to_markdown().encode())
    return result


def _result(context: RunContext, results: list[StageResult], conductor: Conductor) -> RunResult:
    return RunResult(
        run_id=context.run_id,
        site_id=context.site.site.id,
        conductor=conductor,
        started_at=context.started_at,
        ended_at=datetime.now(UTC),
        stages=tuple(results),
        is_changed=context.is_changed,
        n_new_batches=context.n_new,
        held=tuple(context.held),
        remarks=tuple(context.remarks),
        versions=_versions(context),
        synthetic=context.site.site.synthetic,
        headline=context.headline,
        attrition=context.attrition,
    )


def _versions(context: RunContext) -> dict[str, str]:
    studies = {f"study {study.id}": study.study_hash for study in context.studies}
    return {"dripwatch": metadata.version("dripwatch"), **studies}


def _record(context: RunContext, result: RunResult) -> None:
    from warehouse.store import Store

    with Store(context.site, say=context.console.say) as store:
        store.record_run(
            replace(
                context.run_record(),
                conductor=result.conductor.kind,
                status="held" if result.held else "done",
                finished_at=result.ended_at,
                exit_code=int(result.exit_code),
                n_batches_applied=context.n_applied,
                n_batches_held=len(result.held),
                message=result.sentence,
            )
        )


def _record_failure(context: RunContext, error: DripwatchError) -> None:
    """Note the failure in the store, if the store can still be written; the error matters more."""
    from warehouse.store import Store

    if not context.site.store_path.exists():
        return
    try:
        with Store(context.site, wait_seconds=2) as store:
            store.record_run(
                replace(
                    context.run_record(),
                    status="failed",
                    finished_at=datetime.now(UTC),
                    exit_code=int(error.exit_code),
                    n_batches_applied=context.n_applied,
                    message=error.what,
                )
            )
    except Exception as second:
        context.console.say(f"The failed run could not be recorded ({type(second).__name__}).")


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
