"""`dripwatch idmap`: from a patient's key to the identifier in the source; who asked is noted."""

from __future__ import annotations

import getpass
import os
import pwd
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.console import plural, printable
from flows.reply import Reply, UsageError, may_name
from pipelines.base.keys import load_key
from pipelines.base.site import Site, load_site
from pipelines.ingest.asked import Asked
from pipelines.ingest.idmap import IdMap
from pipelines.ingest.log import EventLog

_KEY = re.compile(r"[0-9a-f]{64}")


def idmap_command(config: Path, answer: Reply, *, reason: str) -> None:
    """Print whose key it is, after noting who asked, when and why; never about whom.

    Errors:
        UsageError: the site keeps no map, no reason was given, or it is no key.
        LogError: the map is damaged.
        KeyFileError: the site's key is absent or another one.
    """
    site = load_site(config)
    may_name(site)
    if not site.privacy.idmap:
        raise UsageError(
            "The site keeps no map of identifiers.",
            where="[privacy] idmap in site.toml",
            remedy="With `idmap = true`, patients of later deliveries are in it.",
        )
    if not reason.strip():
        raise UsageError(
            "No reason was given.", remedy="Say why, with --reason; it is written down."
        )
    if _KEY.search(reason):
        raise UsageError(
            "The reason holds a key.", remedy="Say why, not about whom; nothing was noted."
        )
    wanted = _asked()
    log = EventLog(site.log_root)
    key = log.fit_key(load_key(site), site.site.id)
    found = IdMap(site).find(key, wanted)
    _note(site, reason, is_known=bool(found))
    answer.result = {"patients": [{"namespace": one, "id": id_} for one, id_ in found]}
    answer.message = (
        f"{plural(len(found), 'identifier')} of this key."
        if found
        else "Nobody of this key is in the map: it holds patients of deliveries that came since "
        "`idmap = true`, and nobody who was forgotten."
    )
    for namespace, id_ in found:
        answer.console.say(f"{namespace} {id_}")
    answer.console.say(answer.message)


def _asked() -> str:
    """Return the key from a prompt or standard input: it stays out of the shell's history."""
    text = getpass.getpass("Patient's key: ") if sys.stdin.isatty() else sys.stdin.read()
    if not _KEY.fullmatch(wanted := text.strip()):
        raise UsageError(
            "This is no patient's key.",
            remedy="Write the 64 hex digits of `patient_key` to standard input.",
        )
    return wanted


def _note(site: Site, reason: str, *, is_known: bool) -> None:
    """Write a line before anything is shown."""
    Asked(site).add(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "account": _account(),
            # The refresh has an account of its own: who became it is who asked.
            "became_from": os.environ.get("SUDO_USER"),
            "reason": reason.strip(),
            "is_known": is_known,
        }
    )


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container an account may have a number alone
        return str(os.getuid())


def asked_command(config: Path, answer: Reply) -> None:
    """Print who asked the map, when and why, oldest first.

    Errors:
        StorageError: the notes cannot be read.
        KeyFileError: they are sealed under another key than the site's.
    """
    site = load_site(config)
    may_name(site)
    notes, n_unread = Asked(site).notes()
    answer.result = {"asked": notes, "n_unread": n_unread}
    answer.message = f"{plural(len(notes), 'question')}."
    if n_unread:
        more = plural(n_unread, "more line is", "more lines are")
        answer.message += f" {more} damaged, or not sealed and so not believed."
    if notes:
        answer.console.table("", ["at (UTC)", "account", "by", "reason", "found"], _rows(notes))
    answer.console.say(answer.message)


def _rows(notes: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            str(one.get("at", ""))[:19].replace("T", " "),
            str(one.get("account", "")),
            str(one.get("became_from") or ""),
            printable(str(one.get("reason", ""))),
            "yes" if one.get("is_known") else "no",
        ]
        for one in notes
    ]
