"""`dripwatch runs`: which runs there were, and what one of them did. It reads; it waits for nobody.

What is printed comes from the log of runs and the journal, which hold no patient data.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.console import plural, printable
from flows.journal import written_by
from flows.lock import holder, lock_path
from flows.reply import Reply, may_name
from flows.run import StageResult, changes_table, stages_table
from flows.tabular import write_csv
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.site import Site, load_site
from warehouse.runlog import KILLED, LoggedRun, RunLog

#: Characters of a run's id that its time decides; no two nights share them.
SHOWN = 13

#: Columns of `--csv`, in order.
_COLUMNS = (
    "run_id", "site_id", "started_at", "finished_at", "status", "exit_code", "software_version",
    "conductor", "n_new_batches", "n_batches_applied", "n_batches_held", "is_changed", "seconds",
    "message",
)  # fmt: skip

_MEMBERS = ("n_new_batches", "is_changed", "seconds")


class UnknownRunError(DripwatchError):
    """The user named a run that is not in the log of runs, or more than one."""

    exit_code = ExitCode.USAGE


def list_runs(config: Path, limit: int, answer: Reply, *, as_csv: bool = False) -> None:
    """List the latest runs of a site, the newest first."""
    site = load_site(config)
    may_name(site)
    runs = RunLog(site).read()
    told = [_about(site, run) for run in reversed(runs[-limit:])]
    answer.result = {"runs": told, "n_runs": len(runs)}
    label = "SYNTHETIC: " if site.site.synthetic else ""
    answer.message = f"{label}{plural(len(runs), 'run')} recorded."
    if as_csv:
        if not answer.as_json:
            write_csv(_COLUMNS, [[one[name] for name in _COLUMNS] for one in told])
        return
    if told:
        header = [">run", ">started (UTC)", ">seconds", "ended", ">new", "what"]
        answer.console.table("", header, [_row(one) for one in told])
    answer.console.say(answer.message)


def _row(one: dict[str, Any]) -> list[str]:
    seconds, n_new, code = one["seconds"], one["n_new_batches"], one["exit_code"]
    return [
        one["run_id"][:SHOWN],
        one["started_at"][:16].replace("T", " "),
        "" if seconds is None else f"{seconds:.1f}",
        f"{one['status']} {code}" if code else one["status"],
        "" if n_new is None else str(n_new),
        _what(one),
    ]


def _what(one: dict[str, Any]) -> str:
    if one["is_changed"] is None:  # it came to no result
        return printable(one["message"] or "")
    return "published" if one["is_changed"] else "nothing new"


def _about(site: Site, run: LoggedRun) -> dict[str, Any]:
    """Return a run without its details, JSON-ready."""
    record, result = run.record, run.result or {}
    told: dict[str, Any] = asdict(record) | {"state_hash": run.state_hash}
    for name in ("started_at", "finished_at"):
        at: datetime | None = told[name]
        told[name] = at.isoformat() if at else None
    if record.status == "running":
        told["status"] = "running" if _is_at_work(site, record.run_id) else KILLED
    return told | {name: result.get(name) for name in _MEMBERS}


def _is_at_work(site: Site, run_id: str) -> bool:
    found = holder(lock_path(site))
    return found is not None and found.run_id in ("", run_id)


def show_run(config: Path, start: str, answer: Reply) -> None:
    """Tell what a run did: stages, batches, changes, feeds, remarks.

    Args:
        config: the site's site.toml.
        start: the run's id, how it begins, or `last`.
        answer: gets it all.

    Errors:
        UnknownRunError: no run, or several, begin like this.
    """
    site = load_site(config)
    may_name(site)
    run = _find(RunLog(site).read(), start)
    lines = written_by(site, run.record.run_id)
    result = run.result or {"stages": [asdict(one) for one in _stages_of(lines)]}
    answer.result = _about(site, run) | result | {"journal": lines}
    answer.message = run.record.message or _how(answer.result["status"])
    _print(answer)


def _find(runs: list[LoggedRun], start: str) -> LoggedRun:
    found = runs[-1:] if start == "last" else []
    found = found or [one for one in runs if start and one.record.run_id.startswith(start)]
    if len(found) != 1:
        raise UnknownRunError(
            f"{'Several runs begin' if found else 'No run of this site begins'} like this.",
            remedy="`dripwatch runs` lists them; give more of an id, or `last`.",
        )
    return found[0]


def _how(status: str) -> str:
    return "At work." if status == "running" else "Killed: it never came to an end."


def _stages_of(lines: list[dict[str, Any]]) -> list[StageResult]:
    """Return the stages of a run that did not come to its end, as its journal tells them."""
    stages: dict[str, StageResult] = {}
    for one in lines:
        name = one.get("stage") or ""
        if one["kind"] == "stage_started":
            stages[name] = StageResult(name, note="begun, and not ended")
        elif one["kind"] == "stage_failed":
            stages[name] = StageResult(name, note=f"failed: {one['message']}")
        elif one["kind"] == "stage_ended":
            numbers = ("rows_in", "rows_out", "quarantined", "held", "seconds")
            told = {number: one[number] for number in numbers if number in one}
            stages[name] = StageResult(name, note=one["message"], **told)
    return list(stages.values())


def _print(answer: Reply) -> None:
    told = answer.result or {}
    say, table = answer.console.say, answer.console.table
    say(f"run {told['run_id']} of {told['site_id']}, dripwatch {told['software_version']}")
    ended = f", ended {told['finished_at'][:19]}" if told["finished_at"] else ""
    code = told["exit_code"]
    named = "" if code is None else f", exit code {code} ({ExitCode(code).name})"
    say(f"started {told['started_at'][:19]}{ended} (UTC): {told['status']}{named}")
    if told["stages"]:
        table("", *stages_table([StageResult(**one) for one in told["stages"]]))
    if told.get("batches"):
        header = ["batch", "source", "kind", "exported", ">rows", ">quarantined", "state"]
        table("", header, [_batch(one) for one in told["batches"]])
    if told.get("changes"):
        table("What changed in the signals, and why", *changes_table(told["changes"]))
    if told.get("feeds"):
        header = ["feed", "event type", "says complete to", "stale since", "why"]
        table("", header, [_feed(one) for one in told["feeds"]])
    for remark in told.get("remarks", ()):
        say(f"- {remark}")
    say(answer.message)


def _batch(one: dict[str, Any]) -> list[str]:
    return [
        one["batch_id"][:12],
        one["source"],
        one["kind"],
        one["exported_at"][:16].replace("T", " "),
        f"{one['n_rows']:,}",
        f"{one['n_quarantined']:,}",
        one["state"],
    ]


def _feed(one: dict[str, Any]) -> list[str]:
    times = [(one[name] or "")[:16].replace("T", " ") for name in _FEED_TIMES]
    return [one["source"], one["event_type"], *times, ", ".join(one["reasons"])]


_FEED_TIMES = ("declared_through_at", "stale_since_at")
