"""`dripwatch pool-logs`: hospitals of one legal entity, row by row, in one warehouse.

Each hospital's log is read as it is and linked by its own settings, in a store that is thrown away.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flows.beside import BESIDE, label, refuse_to_replace
from flows.closing import find_held
from flows.console import plural
from flows.derived import bring_up, derived_context, derived_site, put_in_place
from flows.news import keep_fresh
from flows.refresh import new_run_id
from flows.reply import Reply, UsageError, may_name
from pipelines.base.errors import ConfigError, ExitCode
from pipelines.base.site import Site, load_site
from pipelines.ingest.log import EventLog
from pipelines.ingest.past import PastLog

if TYPE_CHECKING:
    from studies.load import Study

#: Looks are each hospital's own: they hang on its nights.
_STAGES = ("store", "link", "signals")
_TWO_PLACES = "whoever was treated at two hospitals is two patients, one at each"


def pool_logs(configs: Sequence[Path], out: Path, answer: Reply) -> None:
    """Write one warehouse of several hospitals' rows; their folders are only read.

    Args:
        configs: site.toml of each hospital, or its folder.
        out: the file to write; one that this command wrote is replaced.
        answer: gets the hospitals, and of invented ones how many units and patients there are.

    Errors:
        UsageError: fewer than two hospitals, or a file that must not be replaced.
        ConfigError: two have one name, or count under different studies.
        LogError: a log is damaged or empty.
        LockedError: the same work is under way.
    """
    sites = [load_site(config) for config in configs]
    _check_names(sites)
    whole = all_of(sites)
    for site in sites:
        may_name(site)
        refuse_to_replace(site, out, under=whole)
    studies = _same_studies(sites)
    logs = {site.site.id: _log_of(site) for site in sites}
    scratch = out.absolute().with_name(f".{out.name}.pooling")
    try:
        found = _pool(sites, whole, studies, logs, scratch, out, answer)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    answer.result = {"sites": sorted(found), "warehouse": str(out), "note": _TWO_PLACES}
    for name, (n_units, n_patients) in found.items() if whole.site.synthetic else ():
        answer.console.say(f"{name}: {plural(n_units, 'unit')} of {plural(n_patients, 'patient')}")
    answer.message = (
        f"{label(whole)}{plural(len(sites), 'hospital')} in {out}, each and all together; "
        f"{_TWO_PLACES}."
    )
    answer.console.say(answer.message)
    if whole.privacy.encrypt_published:
        keeper = keeper_of(sites).config_path
        answer.console.say(
            f"It is encrypted; its key is told by `dripwatch key warehouse --config {keeper}`."
        )


def _pool(
    sites: Sequence[Site],
    whole: Site,
    studies: Sequence[Study],
    logs: dict[str, PastLog],
    scratch: Path,
    out: Path,
    answer: Reply,
) -> dict[str, tuple[int, int]]:
    from pipelines.base import duck
    from warehouse.publish import publish, settings_of
    from warehouse.store import RunRecord, Store
    from warehouse.together import ALL_SITES, add_site, add_up, people

    run_id, started_at = new_run_id(), datetime.now(UTC)
    with derived_site(whole, scratch / ALL_SITES) as together:
        for site in sites:
            name = site.site.id
            with derived_site(site, scratch / name) as derived, answer.console.step(name):
                context = derived_context(derived, logs[name], answer.console, run_id=run_id)
                bring_up(context, _STAGES)
                context.held = find_held(context)
                with Store(derived) as linked:
                    keep_fresh(context, linked)
                with Store(together) as store:
                    add_site(store, derived.store_path)
        with Store(together) as store:
            reference: dict[str, list[dict[str, object]]] = {}
            for study in studies:
                for table, rows in study.reference_tables().items():
                    reference.setdefault(table, []).extend(rows)
            store.load_reference(reference)
            add_up(store, studies, run_id)
            run = RunRecord(
                run_id, ALL_SITES, started_at, metadata.version("dripwatch"), "in_process"
            )
            store.record_run(run)
            found = people(store)
            n_batches = sum(len(log.in_force()) for log in logs.values())
            ended = replace(
                run,
                status="done",
                finished_at=datetime.now(UTC),
                exit_code=int(ExitCode.OK),
                n_batches_applied=n_batches,
                message=f"{plural(len(sites), 'hospital')} put together.",
            )
            publish(store, together, run_id, ended)
        facts = {"pooled_sites": ", ".join(sorted(found)), "patients_at_two_sites": _TWO_PLACES}
        with duck.connect(together.warehouse) as con:
            settings = json.dumps({site.site.id: settings_of(site) for site in sites})
            con.execute("UPDATE ops.state SET value = ? WHERE name = 'settings'", [settings])
        put_in_place(together.warehouse, out, {BESIDE: "pool_logs", **facts})
    return found


def keeper_of(sites: Sequence[Site]) -> Site:
    """Return the hospital under whose key is encrypted what must be."""
    return max(sites, key=lambda one: (one.privacy.encrypt_published, one.privacy.encrypt))


def all_of(sites: Sequence[Site]) -> Site:
    """Return the site that the pooled store is of; encrypted where a hospital encrypts its own."""
    from warehouse.together import ALL_SITES

    base = keeper_of(sites)
    told = {
        "id": ALL_SITES,
        "row_level": "internal",
        "synthetic": any(site.site.synthetic for site in sites),
    }
    secret = {
        "encrypt": any(one.privacy.encrypt for one in sites),
        "encrypt_published": any(one.privacy.encrypt_published for one in sites),
    }
    return base.model_copy(
        update={
            "site": base.site.model_copy(update=told),
            "privacy": base.privacy.model_copy(update=secret),
        }
    )


def _log_of(site: Site) -> PastLog:
    log = PastLog(EventLog(site.log_root))
    log.check_site(site.site.id)
    if not log.committed():
        raise UsageError(
            "A hospital's log holds no batch.",
            where=str(site.log_root),
            remedy="Run `dripwatch refresh` there first, or leave the hospital out.",
        )
    return log


def _check_names(sites: Sequence[Site]) -> None:
    from warehouse.together import ALL_SITES

    names = [site.site.id for site in sites]
    if len(names) < 2:
        raise UsageError("There is only one hospital.", remedy="Name the site.toml of two or more.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or ALL_SITES in names:
        raise ConfigError(
            f"Two hospitals are called {twice}: their patients could not be told apart."
            if twice
            else f"A hospital is called {ALL_SITES}, which stands for all of them.",
            where=", ".join(str(site.config_path) for site in sites),
            remedy="Each log must be of another site. Nothing was pooled.",
        )


def _same_studies(sites: Sequence[Site]) -> list[Study]:
    from studies.load import load_study

    first, *others = [[load_study(name, site.root) for name in site.site.studies] for site in sites]
    for site, studies in zip(sites[1:], others, strict=True):
        mine, theirs = ({one.id: one.study_hash for one in some} for some in (first, studies))
        if mine != theirs:
            differ = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
            raise ConfigError(
                f"{sites[0].site.id} and {site.site.id} do not count under the same studies: "
                f"{', '.join(differ)} differs or is missing.",
                where=f"{sites[0].config_path}, {site.config_path}",
                remedy="Give them the same studies, files and all. Nothing was pooled.",
            )
    return first
