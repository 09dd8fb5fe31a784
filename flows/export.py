"""`dripwatch export`: a pack of masked counts, signed, for whoever pools hospitals."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.lock import site_lock
from flows.reply import Reply, UsageError
from pipelines.base.site import Site, load_site

if TYPE_CHECKING:
    from warehouse.packing import Content


def export(config: Path, out: Path | None, answer: Reply, *, is_preview: bool) -> None:
    """Write a pack, or show everything that would be in it.

    What is told is recorded before the pack is in place: a pack that is not there after a crash is
    taken as told, never the other way round.

    Errors:
        UsageError: no folder is named, or it is not empty.
        ConfigError: the threshold protects nobody, or the warehouse is of another study.
        LockedError: a run is at work.
        KeyFileError: the signing key cannot be used, or is gone after packs were signed with it.
    """
    from pipelines.ingest.log import EventLog
    from pipelines.pooling import packs, signing
    from studies.load import load_study
    from warehouse.packing import EXPORTED, export_path, pack_content

    site = load_site(config)
    if out is None and not is_preview:
        raise UsageError("No folder is named.", remedy="Write --out FOLDER, or --preview.")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "The pack's folder is there and not empty.",
            where=str(out),
            remedy="Name a new one; nothing was exported.",
        )
    at = datetime.now(UTC)
    recorded = EventLog(site.log_root).recorded
    with site_lock(site):
        studies = [load_study(name, site.root) for name in site.site.studies]
        before = recorded.rows(EXPORTED)
        content = pack_content(site, studies, before, at)
        files = packs.pack_files(content.facts, content.tables)
        answer.result = {"facts": content.facts, "n_cells": content.n_cells}
        if is_preview or out is None:
            _show(files, answer)
            answer.message = f"{_rows(content)}. Nothing was written, and nothing counts as told."
            answer.console.say(answer.message)
            return
        is_new = not before and not os.path.lexists(export_path(site))
        if is_new:
            signing.make_key(export_path(site))
        signature = packs.sign(files, signing.load_key(export_path(site)))
        _record(site, content, files, at)
        _write({**files, packs.SIGNATURE: signature}, out)
    answer.message = f"{_rows(content)}, in {out}."
    answer.console.say(answer.message)
    if is_new:
        answer.console.say(
            "It is the first one, and a key was made that signs packs. The coordinator needs its\n"
            "public half once, on another way than the packs:\n"
            f"  dripwatch export-key --config {config} --out {site.site.id}.pub"
        )


def _rows(content: Content) -> str:
    facts = content.facts
    rows = facts["n_rows"]["signals.counts"]
    return (
        f"Pack {facts['number']} of {facts['site_id']}: {rows['told']} rows of counts told, "
        f"{rows['masked']} masked (threshold {facts['threshold']})"
    )


def _show(files: dict[str, bytes], answer: Reply) -> None:
    """Print what would leave: the manifest and each table; an Avro file says what its CSV does."""
    for name, data in files.items():
        if not name.endswith(".avro"):
            answer.console.say(f"--- {name}\n{data.decode()}")


def _record(site: Site, content: Content, files: dict[str, bytes], at: datetime) -> None:
    from pipelines.base.files import sha256_hex
    from pipelines.ingest.log import EventLog
    from pipelines.ingest.recorded import fact_name
    from pipelines.pooling.packs import MANIFEST
    from warehouse.packing import EXPORTED

    number = content.facts["number"]
    rows: list[dict[str, Any]] = [
        {
            "pack_sha": sha256_hex([files[MANIFEST]]),
            "study_id": name,
            "data_through_at": content.data_through_at,
            "n_cells": content.n_cells,
            "pack_number": number,
            "threshold": content.facts["threshold"],
            "release": release.to_json(),
        }
        for name, release in sorted(content.releases.items())
    ]
    name = fact_name(EXPORTED, site.site.id, number)
    EventLog(site.log_root).recorded.add(EXPORTED, name, site.site.id, at, rows)


def _write(files: dict[str, bytes], out: Path) -> None:
    from pipelines.base.files import fsync_path, write_durably
    from pipelines.base.storage import storing

    with storing("writing a pack", out):
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = out.with_name(f".{out.name}.tmp-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name, data in files.items():
            write_durably(aside / name, data)
        if out.exists():
            out.rmdir()
        aside.rename(out)
        fsync_path(out.parent)


def export_key(config: Path, out: Path | str | None, answer: Reply) -> None:
    """Tell the public key of a site, and make the pair where there is none.

    Args:
        config: site.toml, or its folder.
        out: file for the public key; a folder, or a name that ends as one, gets SITE.pub in it.
        answer: gets the key.

    Errors:
        KeyFileError: the private key cannot be used.
        UsageError: another file is there.
        StorageError: a file cannot be written.
    """
    from pipelines.base.files import make_private, write_durably
    from pipelines.base.storage import storing
    from pipelines.pooling import signing
    from warehouse.packing import export_path

    site = load_site(config)
    path = export_path(site)
    if not os.path.lexists(path):
        make_private(site.restricted)
        signing.make_key(path)
    public = signing.public_text(signing.load_key(path))
    answer.result = {"site_id": site.site.id, "public_key": public}
    answer.message = f"{site.site.id} {public}"
    if out is not None:
        target, text = _public_file(site, out), f"{public}\n".encode()
        with storing("writing a public key", target):
            if target.exists() and target.read_bytes() != text:
                raise UsageError(
                    "Another file is there.",
                    where=str(target),
                    remedy="Name another one with --out. If it is an older key of this site, "
                    "remove it first.",
                )
            write_durably(target, text)
        answer.message += f"\nwritten to {target}"
    answer.console.say(answer.message)


def _public_file(site: Site, out: Path | str) -> Path:
    """Return the file that is meant; a folder that is named as one is made."""
    from pipelines.base.storage import storing

    folder = Path(out)
    if str(out).endswith("/"):  # a Path has lost it
        with storing("making a folder for a public key", folder):
            folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{site.site.id}.pub" if folder.is_dir() else folder
