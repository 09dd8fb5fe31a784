"""A site's pack: a folder of masked counts that is signed as a whole.

`manifest.json` says what is in it and lists each file with its SHA-256; `manifest.sig` is its
signature. Nothing of a pack is parsed as a table before both are verified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines.base.errors import PackError
from pipelines.pooling.content import mistake_of
from pipelines.pooling.content_rows import TABLES
from pipelines.pooling.signing import is_signed, load_public
from pipelines.pooling.table_files import TableError, avro_bytes, csv_bytes, read_avro
from pipelines.signals.counts import COUNTS

FORMAT = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
#: Larger files are refused unread: of tables, and of the manifest, which is parsed before anything
#: is known of who wrote it.
LARGEST_BYTES = 64 * 1024 * 1024
LARGEST_MANIFEST = 4 * 1024 * 1024
_REMEDY = "Ask the site for the pack again, as `dripwatch export` wrote it. Nothing was pooled."

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Pack:
    """A pack that was verified.

    Attributes:
        path: its folder.
        facts: what its manifest says.
        sha256: of the manifest, which names the hash of each file.
        tables: by name, such as `signals.counts`.
    """

    path: Path
    facts: Facts
    sha256: str
    tables: Mapping[str, pa.Table]

    @property
    def site_id(self) -> str:
        """The hospital that made it."""
        return str(self.facts["site_id"])

    @property
    def number(self) -> int:
        """Which pack of the hospital it is, from 1."""
        return int(self.facts["number"])


# Writing ------------------------------------------------------------------------------------


def pack_files(facts: Facts, tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    """Return the files of a pack by name, the signature left out; equal content, equal bytes.

    Args:
        facts: what the manifest says besides the files.
        tables: columns of texts, whole numbers, numbers and truth values.
    """
    files = {}
    for name, table in sorted(tables.items()):
        files[f"{name}.avro"] = avro_bytes(name, table)
        files[f"{name}.csv"] = csv_bytes(table)
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "n_bytes": len(data)}
        for name, data in files.items()
    }
    manifest = {"format": FORMAT, **facts, "files": listed}
    return {**files, MANIFEST: (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}


def sign(files: Mapping[str, bytes], key: Ed25519PrivateKey) -> bytes:
    """Return the text of a pack's signature."""
    return key.sign(files[MANIFEST]).hex().encode() + b"\n"


# Reading ------------------------------------------------------------------------------------


def read_pack(folder: Path, keys: Path) -> Pack:
    """Verify a pack and return what is in it.

    Args:
        folder: the pack.
        keys: folder with the public key of each site, as SITE.pub.

    Errors:
        PackError: it is damaged, was changed, or is not signed by the site that it names.
    """
    try:
        return _read(folder, keys)
    except PackError:
        raise
    except TableError as error:
        raise _refused(folder, str(error)) from None
    except Exception as error:  # any bytes may stand in a file that was sent
        # The type alone: a message would quote what stands in the file.
        raise _refused(folder, f"The pack can't be read ({type(error).__name__}).") from None


def _read(folder: Path, keys: Path) -> Pack:
    if not folder.is_dir():
        raise PackError(
            "There is no such folder.",
            where=str(folder),
            remedy="Name the folder that `dripwatch export` made. Nothing was pooled.",
        )
    said = _bytes(folder, MANIFEST, LARGEST_MANIFEST)
    facts = json.loads(said)
    if not isinstance(facts, dict) or not isinstance(facts.get("site_id"), str):
        raise _refused(folder, "The manifest names no site.")
    _verify(folder, said, facts["site_id"], keys)
    if facts.get("format") != FORMAT:
        raise _refused(folder, f"The pack is of another format than {FORMAT}, the one known here.")
    tables = _tables(folder, facts["files"])
    if mistake := mistake_of(facts, tables):
        raise _refused(folder, mistake)
    return Pack(folder, facts, hashlib.sha256(said).hexdigest(), tables)


def _verify(folder: Path, said: bytes, site_id: str, keys: Path) -> None:
    known = {path.stem: path for path in sorted(keys.glob("*.pub"))}
    if site_id not in known:
        raise PackError(
            "No public key of the pack's site is known.",
            where=f"{folder}: site {site_id[:64]!r}",
            remedy=f"Ask the site for what `dripwatch export-key` writes and put it into {keys} as "
            "SITE.pub. Check it by telephone. Nothing was pooled.",
        )
    signature = b""
    with suppress(ValueError):
        signature = bytes.fromhex(
            _bytes(folder, SIGNATURE, LARGEST_MANIFEST).decode("ascii").strip()
        )
    if not is_signed(said, signature, load_public(known[site_id])):
        raise _refused(
            folder, "The manifest is not what the site signed, or was signed by somebody else."
        )


def _tables(folder: Path, listed: Mapping[str, Facts]) -> dict[str, pa.Table]:
    there = {path.name for path in folder.iterdir()} - {MANIFEST, SIGNATURE}
    known = {f"{name}.{kind}" for name in TABLES for kind in ("avro", "csv")}
    if there != set(listed):
        raise _refused(folder, "The pack has other files than its manifest lists.")
    if there != known:  # and the manifest is signed: nobody took a file out on the way
        raise PackError(
            "The pack tells other tables than this version of Dripwatch reads.",
            where=str(folder),
            remedy="Bring site and coordinator to one version, refresh and export again. "
            "Nothing was pooled.",
        )
    tables = {}
    for name, schema in TABLES.items():
        tables[name] = read_avro(name, _listed(folder, f"{name}.avro", listed), schema)
        if _listed(folder, f"{name}.csv", listed) != csv_bytes(tables[name]):
            raise _refused(folder, f"{name}.csv does not say what {name}.avro says.")
    return tables


def _listed(folder: Path, name: str, listed: Mapping[str, Facts]) -> bytes:
    data = _bytes(folder, name, LARGEST_BYTES)
    if hashlib.sha256(data).hexdigest() != listed[name]["sha256"]:
        raise _refused(folder, f"{name} is not what the site signed.")
    return data


def _bytes(folder: Path, name: str, most: int) -> bytes:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise _refused(folder, f"{name} is not there.")
    if path.stat().st_size > most:
        raise _refused(folder, f"{name} is too large for a pack.")
    return path.read_bytes()


def _refused(folder: Path, what: str) -> PackError:
    return PackError(what, where=str(folder), remedy=_REMEDY)


# Packs together -----------------------------------------------------------------------------

#: The largest number of a column of the pooled file.
_MOST = 2**63 - 1
#: What all packs that are pooled must say alike, and how it is named to people.
_ALIKE: dict[str, str] = {
    "software_version": "versions of Dripwatch",
    "checks_hash": "checks",
    "is_synthetic": "real and invented patients",
}


def check_alike(packs: list[Pack]) -> None:
    """Refuse packs that do not count the same things.

    Errors:
        PackError: says which packs differ, and in what.
    """
    _check_sites(packs)
    _check_sums(packs)
    first = packs[0]
    for other in packs[1:]:
        found = [
            f"{words}: {_short(first.facts.get(name))} and {_short(other.facts.get(name))}"
            for name, words in _ALIKE.items()
            if first.facts.get(name) != other.facts.get(name)
        ]
        found += _differing_studies(first.facts, other.facts)
        if found:
            raise PackError(
                f"The packs of {first.site_id} and {other.site_id} do not count the same: "
                f"{'; '.join(found)}.",
                where=f"{first.path}, {other.path}",
                remedy="Bring the sites to one version and one study, and export again. Nothing "
                "was pooled.",
            )


def _check_sites(packs: list[Pack]) -> None:
    seen: dict[str, Pack] = {}
    for pack in packs:
        if pack.site_id in seen:
            raise PackError(
                f"Two packs are from {pack.site_id}; its patients would count twice.",
                where=f"{seen[pack.site_id].path}, {pack.path}",
                remedy="Name the newer one alone. Nothing was pooled.",
            )
        seen[pack.site_id] = pack


def _check_sums(packs: list[Pack]) -> None:
    for name in COUNTS.sums:
        tops = [pc.max(pack.tables[COUNTS.name][name]).as_py() or 0 for pack in packs]
        if sum(tops) > _MOST:
            raise PackError(
                f"The packs' `{name}` add up to more than a count can hold.",
                where=str(packs[tops.index(max(tops))].path),
                remedy="Ask that site whether its largest count is right. Nothing was pooled.",
            )


def _differing_studies(one: Facts, other: Facts) -> list[str]:
    mine, theirs = (
        {study["study_id"]: study for study in facts["studies"]} for facts in (one, other)
    )
    found = [f"study {name}: only one of them has it" for name in sorted({*mine} ^ {*theirs})]
    for name in sorted({*mine} & {*theirs}):
        a, b = mine[name], theirs[name]
        if a["study_hash"] != b["study_hash"]:
            paths = _paths(a["settings"], b["settings"])
            told = ", ".join(paths[:5]) or "code lists, limits or published values"
            more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
            found.append(f"study {name} in {told}{more}")
    return found


def _paths(a: Any, b: Any, at: str = "") -> list[str]:  # noqa: ANN401 - settings of any form
    """Return where two trees of settings differ; tables of an array are named, not numbered."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [one for key in keys for one in _paths(a.get(key), b.get(key), f"{at}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and _are_named(a) and _are_named(b):
        return _paths(_by_name(a), _by_name(b), at)
    return [] if a == b else [at.lstrip(".")]


def _are_named(found: list[Any]) -> bool:
    return bool(found) and all(isinstance(one, dict) and "name" in one for one in found)


_by_name: Callable[[list[Any]], dict[str, Any]] = lambda found: {  # noqa: E731 - one expression
    one["name"]: one for one in found
}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}…"
