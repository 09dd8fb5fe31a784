"""`dripwatch doctor`: what would fail tonight, found by day. It changes nothing.

Each examination is a function that returns findings; one that breaks is itself a finding, so that
a broken installation is described and not just another traceback.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from flows.addresses import address
from flows.console import plural
from flows.doctor_encryption import encryption
from flows.doctor_sources import deliveries, failed, feeds, mappings
from flows.installation import Finding, installation
from flows.lock import holder, lock_path
from flows.reply import Reply, may_name
from flows.server import answers, configured_url
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.site import Site, load_site

MIN_FREE_BYTES = 1 << 30
#: A night's files, staged and written as Avro and Parquet, need about this many times their size.
DISK_PER_DELIVERED_BYTE = 5


def examine(config: Path) -> list[Finding]:
    """Return everything found about an installation, and a site or a coordinator."""
    findings = list(installation())
    try:
        # Here, for a package that shadows one of ours is a finding, not the end.
        from flows.doctor_coordinator import coordinated
        from pipelines.pooling.coordinator import is_coordinator

        if is_coordinator(config):
            return [*findings, *coordinated(config, _writable)]
        site = load_site(config)
    except (DripwatchError, ImportError) as error:
        return [*findings, failed("site.toml", error)]
    may_name(site)
    findings.append(Finding("ok", "site.toml", str(site.config_path)))
    for name, look in EXAMINATIONS.items():
        try:
            findings.extend(look(site))
        except Exception as error:  # a broken part is a finding, not an end
            findings.append(failed(name, error))
    return findings


def show(findings: list[Finding], answer: Reply) -> None:
    """Print the findings and set the exit code."""
    answer.result = {"findings": [asdict(finding) for finding in findings]}
    n_fail = sum(finding.level == "fail" for finding in findings)
    n_warn = sum(finding.level == "warn" for finding in findings)
    answer.message = f"{len(findings)} findings: {n_fail} would fail, {n_warn} to look at."
    if n_fail:
        answer.exit_code = ExitCode.PROBLEMS
    for one in findings:
        answer.console.say(f"{one.level:<5} {one.what}: {one.found}")
        if one.remedy:
            answer.console.say(f"      -> {one.remedy}")
    answer.console.say(answer.message)


def _folders(site: Site) -> Iterator[Finding]:
    for name, folder in (
        ("folder of the warehouse", site.warehouse.parent),
        ("report folder", site.report),
        ("restricted folder", site.restricted),
    ):
        yield _writable(name, folder)
    if site.restricted.is_dir():
        yield _private("restricted folder", site.restricted, 0o077)
    for name, path in (("site store", site.store_path), ("lock file", lock_path(site))):
        if path.exists():
            yield _private(name, path, 0o177)


def _at_rest(site: Site) -> Iterator[Finding]:
    """Whether the restricted folder is on an encrypted disk, and what of it is encrypted by us."""
    from pipelines.base.at_rest import is_encrypted, open_to_others

    there = site.restricted
    while not there.exists():
        there = there.parent
    name = "encryption at rest"
    if is_encrypted(there):
        yield Finding("ok", name, "the restricted folder is on an encrypted disk")
    elif site.privacy.disk_is_encrypted:
        yield Finding("ok", name, "by the site's word ([privacy] disk_is_encrypted)")
    else:
        yield Finding(
            "warn",
            name,
            "Linux does not encrypt the disk of the restricted folder",
            "Move it to an encrypted one (LUKS), or write `disk_is_encrypted = true` under "
            "[privacy] where the drive, the cloud or the file server encrypts it.",
        )
    yield from encryption(site)
    n_open = sum(1 for _ in open_to_others(site.restricted))
    if n_open:
        yield Finding(
            "warn",
            "modes in the restricted folder",
            f"{plural(n_open, 'file or folder', 'files or folders')} open to others",
            f"chmod -R go= {site.restricted} (the next run does it, and says so)",
        )


def _writable(name: str, folder: Path) -> Finding:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if os.access(there, os.W_OK | os.X_OK):
        return Finding("ok", name, str(folder) if folder.exists() else f"{folder} (will be made)")
    return Finding("fail", name, f"{there} is not writable", "Give it to this account.")


def _private(name: str, path: Path, forbidden: int) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & forbidden:
        return Finding("ok", f"permissions of the {name}", f"{mode:04o}")
    want = "700" if path.is_dir() else "600"
    return Finding(
        "fail",
        f"permissions of the {name}",
        f"{mode:04o}: others can enter it",
        f"chmod {want} {path}",
    )


def _key(site: Site) -> Iterator[Finding]:
    from pipelines.base.keys import key_source, load_key

    renewed = load_key(site).n_renewals
    told = f", renewed {plural(renewed, 'time')}" if renewed else ""
    yield Finding("ok", "key", f"present and long enough ({key_source(site)}{told})")


def _disk(site: Site) -> Iterator[Finding]:
    there = site.restricted
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    delivered = sum(
        path.stat().st_size
        for source in site.source
        for path in site.at(source.path).rglob("*")
        if path.is_file()
    )
    need = max(MIN_FREE_BYTES, DISK_PER_DELIVERED_BYTE * delivered)
    enough = free >= need
    yield Finding(
        "ok" if enough else "warn",
        "disk",
        f"{free / 1e9:.1f} GB free, about {need / 1e9:.1f} GB wanted",
        "" if enough else "Free disk space, or move old deliveries away.",
    )


def _lock(site: Site) -> Iterator[Finding]:
    who = holder(lock_path(site))
    if who is None:
        yield Finding("ok", "lock", "free")
    else:
        yield Finding("warn", "lock", f"held by {who}", "A run is at work: wait for it.")


def _studies(site: Site) -> Iterator[Finding]:
    from studies.load import load_study

    for name in site.site.studies:
        try:
            study = load_study(name, site.root)
        except DripwatchError as error:
            yield failed(f"study {name}", error)
        else:
            yield Finding("ok", f"study {study.id}", f"hash {study.study_hash[:12]}")


def _batches(site: Site) -> Iterator[Finding]:
    from pipelines.base.generations import check_newest
    from pipelines.base.keys import load_key
    from pipelines.ingest.log import EventLog

    check_newest(site.restricted)
    log = EventLog(site.log_root)
    committed, held = log.verify(), log.held()
    told = plural(len(committed), "batch", "batches")
    yield Finding("ok", "event log", f"{told} committed, every file as it was written")
    log.check_site(site.site.id)
    key = log.fit_key(load_key(site), site.site.id)
    log.check_key(key.check_value(site.site.id))
    if waiting := load_key(site).n_renewals - key.n_renewals:
        yield Finding(
            "warn",
            "key",
            f"{plural(waiting, 'secret')} of the key not in use: the log was written without",
            "Finish the renewal: `dripwatch key rotate`.",
        )
    for one in held:
        yield Finding(
            "warn",
            "held batch",
            f"{one.batch_id[:12]} of {one.source}: {' '.join(one.hold_reasons)}",
            "Mend the mapping, or `dripwatch quarantine release`.",
        )


def _receivers(site: Site) -> Iterator[Finding]:
    """Whether those who are told of alerts can be addressed; nothing is sent to them."""
    from flows.channels import channels_of

    for name in ("webhook", "mail"):
        address(site, name)
    told = ", ".join(channels_of(site)) or "nobody: no server and no [announce]"
    yield Finding("ok", "changed alerts", f"told to {told}")


def _server(site: Site) -> Iterator[Finding]:
    url = configured_url(site)
    if not url:
        yield Finding("ok", "Prefect server", "none configured: runs are in-process")
    elif answers(url):
        yield Finding("ok", "Prefect server", f"{url} answers")
    else:
        yield Finding(
            "fail",
            "Prefect server",
            f"{url} does not answer",
            "Start it, or empty PREFECT_API_URL and [prefect] api_url.",
        )


EXAMINATIONS: dict[str, Callable[[Site], Iterator[Finding]]] = {
    "folders": _folders,
    "encryption at rest": _at_rest,
    "key": _key,
    "disk": _disk,
    "lock": _lock,
    "studies": _studies,
    "mappings": mappings,
    "deliveries": deliveries,
    "event log": _batches,
    "feeds": feeds,
    "Prefect server": _server,
    "changed alerts": _receivers,
}
