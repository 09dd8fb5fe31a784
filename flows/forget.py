"""`dripwatch forget`: the site without a patient, and the proof that nothing of them is left."""

from __future__ import annotations

import getpass
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import plural
from flows.lock import site_lock
from flows.refresh import answer_with, private_by_default, refresh
from flows.replay import Proof, rebuilding
from flows.reply import Reply, UsageError, may_name
from pipelines.base.errors import DripwatchError, ExitCode, LogError
from pipelines.base.generations import adopt, building, check_newest, older
from pipelines.base.keys import load_key
from pipelines.base.site import Site, load_site
from pipelines.base.storage import storing

if TYPE_CHECKING:
    from pipelines.ingest.forgetting import Forgetting, Person
    from pipelines.ingest.log import EventLog

#: A search finds keys wherever they stand in text: they are all of this form.
_KEY = re.compile(rb"[0-9a-f]{64}")


class LeftoverError(DripwatchError):
    """Something of a patient who was forgotten still lies under the site's folder."""

    exit_code = ExitCode.PROBLEMS


def forget_command(config: Path, answer: Reply, *, patient: str | None, namespace: str) -> None:
    """Take a patient out of log, store, warehouse and report, and search everything for a rest.

    Killed before the new generation of the log counts, nothing has changed; killed after it, the
    next refresh does the rest but the search, and a second `forget` of the patient all of it.

    Errors:
        UsageError: no identifier was given, or the site knows nobody of that identifier.
        LeftoverError: a file under the site still holds a key of the patient.
        LockedError: another run is at work.
    """
    site = load_site(config)
    may_name(site)
    id_ = _asked(patient)
    with site_lock(site), private_by_default(site):
        keys, told = _take_out(site, id_, namespace)
    proof = Proof()
    result = refresh(site, console=answer.console, stages=rebuilding(proof))
    answer_with(result, answer)
    searched = _search(site, keys)
    answer.result = {**told, **searched, "digest": proof.digest_after}
    answer.message = (
        f"Forgotten: {plural(told['n_events'], 'event')} and {plural(told['n_quarantined'], 'row')}"
        f" of the quarantine, under {plural(told['n_patients'], 'key')} of a patient. "
        f"{plural(searched['n_files'], 'file')} searched for {plural(len(keys), 'key')}: 0 found."
    )
    answer.console.say(answer.message)
    answer.console.say(
        "- The deliveries in the inbox, backups, and files that were copied elsewhere are not "
        "touched: remove the patient there, too."
    )


def _asked(patient: str | None) -> str:
    """Return the identifier, from a prompt or standard input unless it stands in the command."""
    if patient is None or patient == "-":
        is_typed = sys.stdin.isatty()
        patient = getpass.getpass("Patient's id in the source: ") if is_typed else sys.stdin.read()
    if not (id_ := patient.strip()):
        raise UsageError(
            "No patient was named.",
            remedy="Write the identifier to standard input, as the source writes it.",
        )
    return id_


def _take_out(site: Site, id_: str, namespace: str) -> tuple[frozenset[str], dict[str, Any]]:
    from pipelines.ingest.forgetting import Forgetting, find_person
    from pipelines.ingest.forgotten import Forgotten, is_marked
    from pipelines.ingest.idmap import IdMap
    from pipelines.ingest.log import EventLog
    from pipelines.ingest.rewrite import rewrite

    check_newest(site.restricted)
    log = EventLog(site.log_root)
    log.check_site(site.site.id)
    key = log.fit_key(load_key(site), site.site.id)
    log.check_key(key.check_value(site.site.id))
    told = _namespaces(log, namespace)
    named = {name: str(key.patient(site.site.id, name, id_)) for name in told}
    person = find_person(log, named.values())
    number = key.n_renewals
    marks = [(key.forgotten(one, number), number) for one in sorted(person.patients)]
    known, first = Forgotten(log.root).marks(), key.before(0)
    before = (str(first.patient(site.site.id, name, id_)) for name in told)
    if not person.n_rows and any(is_marked(known, key, one) for one in before):
        IdMap(site).drop_forgotten(key, Forgotten(log.root))  # restored from an older backup
        keys = person.keys | _older_keys(site, person.patients)
        return keys, _told(site, person, Forgetting(person, [id_], ()))
    if not person.n_rows:
        raise UsageError(
            "The log has nothing of a patient of this identifier.",
            remedy="Write it as the source does, without a prefix that the mapping strips; "
            f"looked for in {plural(len(told), 'namespace')}: {', '.join(told) or 'none'}.",
        )
    change = Forgetting(person, [id_], marks)
    new = rewrite(log, building(site.restricted), change)
    # Whatever else is to go goes when a run gives up the older log, killed here or not.
    with storing("letting the new generation of the log count", new.root):
        adopt(new.root)
    return person.keys, _told(site, person, change)


def _older_keys(site: Site, patients: frozenset[str]) -> frozenset[str]:
    """Return what else was known of a patient, where a run was killed before the older log went."""
    from pipelines.ingest.forgetting import find_person
    from pipelines.ingest.log import EventLog

    keys: set[str] = set()
    for root in older(site.restricted):
        with suppress(LogError):  # half removed
            keys |= find_person(EventLog(root), patients).keys
    return frozenset(keys)


def _told(site: Site, person: Person, change: Forgetting) -> dict[str, Any]:
    return {
        "n_patients": len(person.patients),
        "n_events": change.n_events,
        "n_quarantined": change.n_quarantined,
        "generation": site.log_root.name,
    }


def _namespaces(log: EventLog, namespace: str) -> list[str]:
    """Return the kinds of identifier that the log knows, or the one that was named."""
    if namespace:
        return [namespace]
    return sorted({name for one in (*log.committed(), *log.held()) for name in one.namespaces})


def _search(site: Site, keys: frozenset[str]) -> dict[str, int]:
    """Search everything under the site's folder, and what it published elsewhere.

    Errors:
        LeftoverError: a key is there; the message names the files.
    """
    from pipelines.base.search import search

    wanted = {key.encode() for key in keys}

    def is_in(data: bytes) -> bool:
        return any(match in wanted for match in _KEY.findall(data))

    places = {site.root, site.restricted, site.report, site.warehouse}
    searched = search((one for one in places if one.exists()), is_in)
    if searched.found:
        files = sorted({str(path) for path, _ in searched.found})
        raise LeftoverError(
            f"{plural(len(files), 'file of the site holds', 'files of the site hold')} a key of "
            "the patient still.",
            where=", ".join(files),
            remedy="Made by hand, by `--as-of` or `--out`: delete what is named, and run this "
            "again.",
            next_run="goes on without the patient",
        )
    return {"n_files": searched.n_files, "n_bytes_searched": searched.n_bytes, "n_found": 0}
