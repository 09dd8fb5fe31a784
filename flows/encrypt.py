"""`dripwatch encrypt`: what lies in the restricted folder, written anew as the settings say."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from flows.console import plural
from flows.lock import site_lock
from flows.refresh import answer_with, private_by_default, refresh
from flows.replay import Proof, rebuilding, remember
from flows.reply import Reply, UsageError, may_name
from pipelines.base import duck, sealed, vault
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.generations import adopt, building, check_newest
from pipelines.base.keys import load_key
from pipelines.base.site import Site, load_site
from pipelines.base.storage import storing
from pipelines.ingest.asked import Asked
from pipelines.ingest.idmap import IdMap
from pipelines.ingest.log import EventLog


class DiffersError(DripwatchError):
    """What was written anew says something else than what was there."""

    exit_code = ExitCode.PROBLEMS


def encrypt_command(config: Path, answer: Reply) -> None:
    """Write a new generation of the log, encrypted or plain; rebuild and publish.

    Killed before the new generation counts, nothing has changed; killed after it, the next refresh
    rebuilds and publishes.

    Errors:
        ConfigError: encryption is asked for and cannot be had here.
        KeyFileError: the key cannot be read, or is not the log's.
        LogError: a file of the log is damaged, or plain among sealed ones.
        DiffersError: the warehouse came out differently; the log is whole.
        UsageError: there is no log yet.
        LockedError: another run is at work.
    """
    site = load_site(config)
    may_name(site)
    proof = Proof()
    with site_lock(site), private_by_default(site):
        # Where anything is sealed, a plain file is foreign: this must not make it one of ours.
        is_first = site.privacy.encrypt and not sealed.is_begun(site.log_root)
        with sealed.believing_plain() if is_first else nullcontext():
            remember(site, proof)
            told = _write_anew(site)
    result = refresh(site, console=answer.console, stages=rebuilding(proof))
    answer_with(result, answer)
    answer.result = {**told, "generation": site.log_root.name, "digest": proof.digest_after}
    if proof.must_be_equal and proof.differ:
        raise DiffersError(
            "The same log led to other results.",
            remedy="Report it; it is a fault of the program.",
            next_run="goes on with the new generation, which holds what the old one held",
        )
    how = "encrypted" if site.privacy.encrypt else "plain"
    answer.message = (
        f"{plural(told['n_files'], 'file')} of {plural(told['n_batches'], 'batch', 'batches')} lie "
        f"in {site.log_root.name}, {how}; store and scratch files are, too."
    )
    answer.console.say(answer.message)
    answer.console.say(
        "- Backups and copies are as they were, and a disk keeps what was deleted until it is "
        "written over."
    )


def _write_anew(site: Site) -> dict[str, Any]:
    from pipelines.ingest.changes import Nothing
    from pipelines.ingest.rewrite import rewrite
    from warehouse.told import seal_again

    if site.privacy.encrypt:
        duck.check_crypto()
    check_newest(site.restricted)
    log = EventLog(site.log_root)
    log.check_site(site.site.id)
    if not (batches := [*log.committed(), *log.held()]):
        raise UsageError(
            "There is no event log yet.",
            remedy="Nothing is to be done: the first run writes it as site.toml says.",
        )
    log.check_key(log.fit_key(load_key(site), site.site.id).check_value(site.site.id))
    new = rewrite(log, building(site.restricted), Nothing())
    IdMap(site).seal_again()
    Asked(site).seal_again()
    seal_again(site)
    # Last of all: from here on everything is taken as written anew.
    with storing("letting the new generation of the log count", new.root):
        adopt(new.root)
    return {"n_batches": len(batches), "n_files": sum(len(one.event_files) for one in batches)}


def not_as_said(site: Site) -> list[Path]:
    """Return what is plain of log and told counts and shall not be, or the other way round."""
    from warehouse.told import FILE

    log = site.log_root
    files = [path for path in log.rglob("*") if path.suffix in {".avro", ".json"}]
    files += [path for path in [site.restricted / FILE] if path.is_file()]
    return [path for path in files if sealed.sealed_with(path) != _wanted(site)]


def _wanted(site: Site) -> bytes | None:
    return vault.masters(site.restricted)[0].id if site.privacy.encrypt else None


def warehouse_key_command(config: Path, answer: Reply) -> None:
    """Print the key that the published warehouse opens with.

    Errors:
        UsageError: the site does not encrypt it.
        KeyFileError: the site's key cannot be read.
    """
    site = load_site(config)
    may_name(site)
    if not site.privacy.encrypt_published:
        raise UsageError(
            "The warehouse is not encrypted.",
            where="[privacy] encrypt_published in site.toml",
            remedy="It opens without a key.",
        )
    key = duck.database_key(site.warehouse, "published")
    answer.result = {"key": key}
    answer.console.say(key)
