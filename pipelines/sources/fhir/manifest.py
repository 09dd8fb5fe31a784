"""The manifest of a bulk export: what the server says it wrote, and where.

HL7 FHIR Bulk Data Access 2.0, "Response - Complete Status". A manifest comes from outside: its
addresses only ever name files that lie beside it, and none of its texts is told in a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from pipelines.base.errors import DeliveryError
from pipelines.sources.rows.content import open_plain
from pipelines.sources.rows.folders import AGAIN

NAME = "manifest.json"
#: A manifest names files and holds no records; one this large is something else.
_LARGEST = 16 << 20
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
#: The types in a `_typeFilter`, which joins searches such as `Observation?status=final` by commas.
_FILTERED = re.compile(r"(?:^|,)\s*([A-Z][A-Za-z]{1,63})\?")
#: Endings by which a downloaded file may differ from its address.
_ENDINGS = ("", ".gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True)
class NamedFile:
    """One file that a manifest names.

    Attributes:
        place: where in the manifest, such as `output[3]`; messages name files by it.
        name: last segment of its address, safe to look for in the delivery's folder.
        type: the resource type that it is told to hold.
        count: how many records it is told to hold; None where the server does not say.
    """

    place: str
    name: str
    type: str
    count: int | None


@dataclass(frozen=True)
class Manifest:
    """What a bulk export says about itself.

    Attributes:
        transaction_time: up to when the server's data are in it, aware, UTC offset as told.
        types: what the request asked for by `_type`; None where it did not say.
        is_since: whether the request asked for changes only (`_since`); None where the manifest
            does not tell the request, or its parameters.
        filtered: types of which the request asked for some resources only (`_typeFilter`).
        output, deleted, error: the files of each list.
    """

    transaction_time: datetime
    types: tuple[str, ...] | None
    is_since: bool | None
    filtered: tuple[str, ...]
    output: tuple[NamedFile, ...]
    deleted: tuple[NamedFile, ...]
    error: tuple[NamedFile, ...]

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """Every file that it names."""
        return (*self.output, *self.deleted, *self.error)


def read_manifest(folder: Path, where: str) -> Manifest | None:
    """Return the manifest of a delivery, None where there is none.

    Errors:
        DeliveryError: it is no manifest of a whole export, or names a file that cannot lie in
            the delivery's folder.
    """
    try:
        with open_plain(folder / NAME) as stream:
            data = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError:
        _refuse(where, "it cannot be opened or is no plain file")
    if len(data) > _LARGEST:
        _refuse(where, "it is larger than a list of files can be")
    try:
        told = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        _refuse(where, "it is no JSON, or repeats a key")
    if not isinstance(told, dict):
        _refuse(where, "it is no JSON object")
    return _manifest(told, where)


def _manifest(told: dict[str, Any], where: str) -> Manifest:
    links = told.get("link") or []
    if not isinstance(links, list):
        _refuse(where, "`link` is no list")
    if any(isinstance(link, dict) and link.get("relation") == "next" for link in links):
        _refuse(
            where,
            "it is one page of several: its `link` tells of a next one",
            "Deliver all pages as one: their lists of files joined in one manifest.json.",
        )
    asked = _request(told.get("request"), where)
    lists = [_files(told, name, where) for name in ("output", "deleted", "error")]
    manifest = Manifest(_time(told, where), *asked, *lists)
    _refuse_same_names(manifest.files, where)
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key is repeated"
        raise ValueError(msg)
    return found


def _time(told: dict[str, Any], where: str) -> datetime:
    text = told.get("transactionTime")
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        _refuse(where, "its transactionTime is no instant with an offset")
    return found


def _request(
    text: object, where: str
) -> tuple[tuple[str, ...] | None, bool | None, tuple[str, ...]]:
    """Return the types asked for, whether for changes only, and the types that were filtered."""
    if text is None:
        return None, None, ()
    if not isinstance(text, str):
        _refuse(where, "its request is no text")
    try:
        query = urlsplit(text).query
        asked = parse_qs(query)
    except ValueError:
        _refuse(where, "its request is no address")
    if not query:
        # asked for by POST, a request tells no parameters: whether it had `_since` is not known
        return None, None, ()
    types = [one.strip() for told in asked.get("_type", []) for one in told.split(",")]
    if not all(_TYPE.fullmatch(one) for one in types):
        _refuse(where, "`_type` of its request names no resource types")
    queries = asked.get("_typeFilter", [])
    if not all(_FILTERED.match(one) for one in queries):
        _refuse(where, "`_typeFilter` of its request names no resource type")
    filtered = [name for one in queries for name in _FILTERED.findall(one)]
    return tuple(dict.fromkeys(types)) or None, "_since" in asked, tuple(dict.fromkeys(filtered))


def _files(told: dict[str, Any], name: str, where: str) -> tuple[NamedFile, ...]:
    listed = told.get(name)
    if listed is None and name != "output":
        return ()
    if not isinstance(listed, list):
        _refuse(where, f"its `{name}` is no list of files")
    return tuple(_file(one, f"{name}[{n}]", where) for n, one in enumerate(listed))


def _file(told: object, place: str, where: str) -> NamedFile:
    if not isinstance(told, dict) or not isinstance(told.get("url"), str):
        _refuse(where, f"{place} tells no url")
    resource_type, count = told.get("type"), told.get("count")
    if not isinstance(resource_type, str) or not _TYPE.fullmatch(resource_type):
        _refuse(where, f"{place} tells no resource type")
    if count is not None and (type(count) is not int or count < 0):
        _refuse(where, f"the count of {place} is no whole number")
    return NamedFile(place, _base_name(told["url"], place, where), resource_type, count)


def _base_name(url: str, place: str, where: str) -> str:
    """Return the last segment of an address; nothing of it may lead out of a folder."""
    try:
        parts = urlsplit(url)
    except ValueError:
        _refuse(where, f"the url of {place} is no address")
    path = unquote(parts.path)
    name = path.rpartition("/")[2]
    is_remote = parts.scheme in ("http", "https") and bool(parts.netloc)
    is_relative = not (parts.scheme or parts.netloc or path.startswith("/"))
    leads_out = (
        not (is_remote or is_relative)
        or ".." in path.split("/")
        or "\\" in path
        # decoded once and still encoded, or a slash that was encoded: meant to be misread
        or "%" in path
        or unquote(parts.path.rpartition("/")[2]) != name
    )
    if leads_out:
        _refuse(
            where,
            f"the url of {place} does not name a file beside the manifest",
            "Ask the sender for a manifest with the files' names, or with the server's https "
            "addresses. Nothing was opened.",
        )
    if not name.isprintable() or name in ("", "."):
        _refuse(where, f"the url of {place} ends in no file name")
    if name.startswith("."):
        _refuse(where, f"the url of {place} names a hidden file")
    return name


def _refuse_same_names(files: Iterable[NamedFile], where: str) -> None:
    first: dict[str, NamedFile] = {}
    for file in files:
        if (other := first.setdefault(file.name, file)) is not file:
            _refuse(
                where,
                f"{other.place} and {file.place} end in one file name",
                "Give each file a name of its own, in the folder and in manifest.json.",
            )


def find_files(
    manifest: Manifest, paths: Iterable[Path], where: str
) -> list[tuple[NamedFile, Path]]:
    """Return each named file with where it lies: as its address ends, or plus/minus an ending.

    Errors:
        DeliveryError: one is not there, is there twice, or two would be the same.
    """
    there = {path.name: path for path in paths}
    found: list[tuple[NamedFile, Path]] = []
    taken: dict[str, str] = {}
    for file in manifest.files:
        names = dict.fromkeys([file.name + end for end in _ENDINGS])
        names |= dict.fromkeys([file.name.removesuffix(".gz")])
        fits = [there[name] for name in names if name in there]
        if len(fits) != 1:
            _refuse(
                where,
                f"the file of {file.place} is {'there twice' if fits else 'not in the delivery'}",
                "Deliver each file that the manifest names, once, under the last part of its url "
                "(.gz or .ndjson may be added).",
                "The delivery is not what its manifest says",
            )
        if other := taken.get(fits[0].name):
            _refuse(where, f"{other} and {file.place} would be one file")
        taken[fits[0].name] = file.place
        found.append((file, fits[0]))
    return found


def _refuse(
    where: str,
    what: str,
    remedy: str = "Ask the sender for the manifest of the whole export, as the server gave it.",
    head: str = f"The {NAME} of a delivery cannot be used",
) -> NoReturn:
    raise DeliveryError(f"{head}: {what}.", where=where, remedy=remedy, next_run=AGAIN) from None


def wrong_count(where: str) -> DeliveryError:
    """Return the error for a file that holds another number of records than its manifest says.

    It stops the run and is not merely held: a held batch can be released as it stands, and a file
    that is cut off or wrong must never be.
    """
    return DeliveryError(
        f"A file does not hold as many records as its {NAME} says: it is cut off, or not the "
        "file that the server wrote.",
        where=where,
        remedy="Download the export again, whole.",
        next_run=AGAIN,
    )
