"""`refresh --as-of` and `refresh --study`: what was, and what would be, beside the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.console import plural
from flows.derived import (
    bring_up,
    derived_context,
    derived_site,
    end_of,
    publish,
    put_in_place,
    read_date,
)
from flows.refresh import new_run_id
from flows.reply import Reply, UsageError, may_name
from pipelines.base import vault
from pipelines.base.errors import KeyFileError
from pipelines.base.site import Site, load_site
from pipelines.ingest.log import EventLog
from pipelines.ingest.past import PastLog

#: The fact of `ops.state` that marks a file as made here: such a file may be replaced.
BESIDE = "made_beside_the_site"


def beside_command(
    config: Path,
    answer: Reply,
    *,
    as_of: str | None,
    study: str | None,
    out: Path | None,
    dry_run: bool,
) -> None:
    """Answer `refresh --as-of DATE` and `refresh --study STUDY`, alone or together.

    Errors:
        UsageError: options that do not go together, no date, or a file that must not be replaced.
        ConfigError: site.toml or the study is wrong.
        LockedError: another such work is under way.
        LogError: a batch of the log is damaged.
    """
    if dry_run or (as_of is None and study is None):
        raise UsageError(
            "--dry-run plans a night, and --out names the file of --as-of or --study.",
            remedy="Leave one of them out; nothing was done.",
        )
    site = load_site(config)
    may_name(site)
    day = read_date(as_of) if as_of is not None else None
    log = PastLog(EventLog(site.log_root), end_of(day, site.site.zone) if day else None)
    as_of = day.isoformat() if day else None
    log.check_site(site.site.id)
    if not log.committed():
        raise UsageError(
            "No batch of the log had been exported by then.",
            where=str(site.log_root),
            remedy="Name a later date; `ops.batch` of the warehouse lists every export.",
        )
    if study is not None:
        from flows.shadow import shadow

        shadow(site, log, study, answer, as_of=as_of, out=out)
        return
    target = out or site.warehouse.with_name(f"{site.warehouse.stem}-as-of-{as_of}.duckdb")
    _as_of(site, log, str(as_of), target, answer)


def _as_of(site: Site, log: PastLog, as_of: str, target: Path, answer: Reply) -> None:
    from warehouse.digest import digest
    from warehouse.store import Store

    refuse_to_replace(site, target)
    with derived_site(site) as derived:
        context = derived_context(derived, log, answer.console, run_id=new_run_id())
        bring_up(context)
        with Store(derived) as store:
            through = store.data_through()
        put_in_place(publish(context), target, {"as_of": as_of, BESIDE: "as_of"})
    batches = log.in_force()
    answer.result = {
        "as_of": as_of,
        "warehouse": str(target),
        "digest": digest(target).value,
        "n_batches": len(batches),
        "last_exported_at": max(one.exported_at for one in batches).isoformat(),
        "data_through": {name: at.isoformat() for name, at in through.items()},
        "studies": {one.id: one.study_hash for one in context.studies},
    }
    answer.message = (
        f"{label(site)}As of {as_of}: {plural(len(batches), 'batch', 'batches')} in {target}. "
        "The site's own store and warehouse are as they were."
    )
    answer.console.say(answer.message)


def label(site: Site) -> str:
    """Return what stands before every sentence about invented patients."""
    return "SYNTHETIC: " if site.site.synthetic else ""


def refuse_to_replace(site: Site, target: Path, under: Site | None = None) -> None:
    """Let a file made beside a site replace another such file, and nothing else.

    Args:
        site: whose own files are not to be replaced.
        target: the file that is to be written.
        under: whose key an earlier one is encrypted under, if it is; by default the site's.

    Errors:
        UsageError: it would replace something else, or lie where only the site's own files may.
    """
    place = target.resolve()
    vault.know_published(place, under or site)
    wrong = ""
    if place == site.warehouse.resolve():
        wrong = "That is the site's published warehouse."
    elif any(place.is_relative_to(one.resolve()) for one in _own_folders(site)):
        wrong = "That is a folder of the site's own."
    elif not place.parent.is_dir():
        wrong = "There is no folder for that file."
    elif place.exists() and BESIDE not in _facts_of(place):
        wrong = "That is there already, and no --as-of, --study or `pool-logs` made it."
    if wrong:
        raise UsageError(
            wrong, where=str(target), remedy="Name another file with --out; nothing was done."
        )


def _own_folders(site: Site) -> list[Path]:
    inboxes = [site.at(source.path) for source in site.source]
    return [site.log_root, site.store_path.parent, site.staging, site.shards, site.spill, *inboxes]


def _facts_of(path: Path) -> dict[str, Any]:
    import duckdb

    from pipelines.base import duck

    try:
        with duck.connect(path, read_only=True) as con:
            return dict(con.execute("SELECT name, value FROM ops.state").fetchall())
    except (duckdb.Error, KeyFileError):
        return {}
