"""What `dripwatch doctor` says of `[privacy] encrypt`: what is encrypted, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flows.console import plural
from flows.installation import Finding
from pipelines.base import duck, sealed
from pipelines.base.site import Site
from pipelines.ingest.idmap import IdMap

_NAME = "encryption by file"


def encryption(site: Site) -> Iterator[Finding]:
    """Say which files of the restricted folder are as the settings want them."""
    from flows.encrypt import not_as_said

    wrong = not_as_said(site)
    store = site.store_path
    if store.is_file() and duck.is_encrypted(store) != site.privacy.encrypt:
        wrong.append(store)
    if site.privacy.encrypt and duck.crypto_file() is None:
        yield Finding(
            "fail",
            _NAME,
            "asked for, and DuckDB has nothing here to write encrypted files with",
            "pip install 'dripwatch[encryption]', with DuckDB 1.5.5.",
        )
    plain = [path for path in wrong if sealed.sealed_with(path) is None and path != store]
    if plain and site.privacy.encrypt:
        yield _plain(site, plain)
    elif wrong:
        yield Finding(
            "warn",
            _NAME,
            f"{plural(len(wrong), 'file')} of log and store "
            + (
                "not encrypted under the newest key"
                if site.privacy.encrypt
                else "encrypted, unasked"
            ),
            "Write them anew: `dripwatch encrypt`.",
        )
    elif site.privacy.encrypt:
        yield Finding(
            "ok",
            _NAME,
            "log, quarantine, store, staging, spill files; not of it: inbox, warehouse and report",
        )
    else:
        yield Finding("ok", _NAME, "not asked for ([privacy] encrypt): files lie as they are")
    if site.warehouse.is_file():
        how = "encrypted" if duck.is_encrypted(site.warehouse) else "plain"
        yield Finding("ok", "published warehouse", f"{how} ([privacy] encrypt_published)")
    if (there := IdMap(site).path).is_file():
        kept = (
            "kept for `dripwatch idmap`"
            if site.privacy.idmap
            else "no longer kept, and still there"
        )
        yield Finding(
            "ok" if site.privacy.idmap else "warn",
            "map of identifiers",
            f"{plural(len(IdMap(site).named()), 'identifier')} of patients, sealed, {kept}",
            "" if site.privacy.idmap else f"Delete {there.parent} where nobody needs it.",
        )


def _plain(site: Site, files: list[Path]) -> Finding:
    """Say what to do about files that no run reads, for they could be anybody's."""
    if sealed.is_begun(site.log_root):
        return Finding(
            "fail",
            _NAME,
            f"{plural(len(files), 'plain file')} among encrypted ones, such as {files[0]}",
            "No run of this site wrote them: restore them from backup.",
        )
    return Finding(
        "fail",
        _NAME,
        "asked for, and the event log is not encrypted",
        "`dripwatch encrypt`; until then no run reads it.",
    )
