"""Which deliveries lie in the folders of the sources, and which of them have arrived whole.

A folder and an fsspec address are looked at in one way. Names of folders and files can be of
patients: they are hashed at once, and told to nobody.
"""

from __future__ import annotations

import hashlib
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from flows.fetch import fetch
from pipelines.base.errors import ConfigError, DeliveryError
from pipelines.base.site import Site, SourceTable
from pipelines.sources.fhir import manifest

_T = TypeVar("_T")
_State = Literal["whole", "growing", "lacking", "unmarked", "empty"]

#: What file systems call the state of a file beside its size; the first that is there counts.
_STATE = ("mtime", "ETag", "etag", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Delivery:
    """A delivery as it lies there now.

    Attributes:
        source: the source that delivers.
        place: its folder, in the words of its file system; never told.
        files: name to size and state of each file in it, hidden ones left out.
        stamp: a hash of all this, equal while nothing changes.
    """

    source: SourceTable
    place: str
    files: Mapping[str, tuple[int, str]]
    stamp: str

    @property
    def n_bytes(self) -> int:
        """Size of all its files."""
        return sum(size for size, _ in self.files.values())


class Folder:
    """Where deliveries of a source arrive: its own folder, or the address that it is fetched from.

    Attributes:
        source: the source.
        is_remote: whether deliveries must be fetched before a refresh can read them.
    """

    def __init__(self, site: Site, source: SourceTable) -> None:
        from fsspec.core import url_to_fs

        given = site.watch.fetch.get(source.name)
        self.source = source
        self.is_remote = given is not None
        self._inbox = site.at(source.path)
        try:
            self.fs, self._root = url_to_fs(given or str(self._inbox))
        except (ImportError, ValueError):
            raise ConfigError(
                f"No file system is installed for the address that {source.name} is fetched from.",
                where=f"{site.config_path}, [watch] fetch",
                remedy="Install its fsspec package, such as s3fs for s3:// or paramiko for "
                "sftp://; or mount it and name the folder in `path`.",
            ) from None

    def deliveries(self) -> Iterator[Delivery]:
        """Yield what lies there now, whole or not.

        Errors:
            OSError: it cannot be listed; other file systems have errors of their own.
        """
        self.fs.invalidate_cache()
        if self.source.layout == "folder":
            places = [self._root]
        else:
            found = self.fs.ls(self._root, detail=True)
            places = [one["name"] for one in found if one["type"] == "directory"]
        for place in sorted(places):
            if not _is_hidden(place) or self.source.layout == "folder":
                yield self._delivery(place)

    def _delivery(self, place: str) -> Delivery:
        files = {
            posixpath.basename(one["name"]): (int(one["size"] or 0), _state_of(one))
            for one in self.fs.ls(place, detail=True)
            if one["type"] == "file" and not _is_hidden(one["name"])
        }
        told = [self.source.name, place, sorted(files.items())]
        return Delivery(self.source, place, files, hashlib.sha256(repr(told).encode()).hexdigest())

    def lacks_named_files(self, delivery: Delivery) -> bool:
        """Tell whether its manifest.json names files that are not there, or cannot be read yet."""
        if self.source.kind != "fhir" or manifest.NAME not in delivery.files:
            return False
        with tempfile.TemporaryDirectory(prefix="dripwatch-") as scratch:
            copy = Path(scratch) / manifest.NAME
            self.fs.get_file(posixpath.join(delivery.place, manifest.NAME), str(copy))
            try:
                told = manifest.read_manifest(Path(scratch), "delivery")
                assert told is not None  # noqa: S101 - it was just copied
                manifest.find_files(told, map(Path, delivery.files), "delivery")
            except DeliveryError:
                return True
        return False

    def fetch(self, delivery: Delivery) -> None:
        """Copy a delivery into the source's own folder, where it appears whole, in one rename.

        Errors:
            DeliveryError: it cannot be read or written, or it changed meanwhile.
        """
        _or_error(self, fetch, self.fs, delivery.place, delivery.files, self._inbox)


def _is_hidden(name: str) -> bool:
    return posixpath.basename(name.rstrip("/")).startswith(".")


def _state_of(told: Mapping[str, Any]) -> str:
    return next((str(told[name]) for name in _STATE if told.get(name) is not None), "")


@dataclass
class Arrivals:
    """What has arrived since the last look, judged by looks that follow each other.

    Attributes:
        stable_seconds: how long nothing may change where there is no marker.
        known: stamps of the deliveries that were dealt with.
        is_waiting: whether the last look saw a delivery that may still be growing.
        n_lacking: deliveries of the last look that are at rest, but lack files of their manifest.
    """

    stable_seconds: float
    known: set[str] = field(default_factory=set)
    is_waiting: bool = False
    n_lacking: int = 0
    _since: dict[str, float] = field(default_factory=dict)

    def look(self, folders: Iterable[Folder], now: float) -> list[tuple[Folder, Delivery]]:
        """Return the deliveries that are whole and not known yet.

        None is returned while one still grows where a refresh would read it.

        Args:
            folders: where to look.
            now: seconds of a clock that never goes back.

        Errors:
            DeliveryError: a folder cannot be looked into.
        """
        there = [(folder, one) for folder in folders for one in _listed(folder)]
        stamps = {one.stamp for _, one in there}
        self.known &= stamps
        self._since = {stamp: self._since.get(stamp, now) for stamp in stamps}
        new = [pair for pair in there if pair[1].stamp not in self.known]
        judged = [(pair, self._judge(*pair, now)) for pair in new]
        self.is_waiting = any(state == "growing" for _, state in judged)
        self.n_lacking = sum(state == "lacking" for _, state in judged)
        if any(state == "growing" and not pair[0].is_remote for pair, state in judged):
            return []
        return [pair for pair, state in judged if state == "whole"]

    def _judge(self, folder: Folder, delivery: Delivery, now: float) -> _State:
        if not delivery.files:
            return "empty"
        marker = folder.source.marker
        if marker is not None:  # a refresh leaves it alone until the marker is there
            return "whole" if marker in delivery.files else "unmarked"
        if now - self._since[delivery.stamp] < self.stable_seconds:
            return "growing"
        return "lacking" if _or_error(folder, folder.lacks_named_files, delivery) else "whole"


def _listed(folder: Folder) -> list[Delivery]:
    return _or_error(folder, lambda: list(folder.deliveries()))


def _or_error(folder: Folder, work: Callable[..., _T], *given: object) -> _T:
    """Turn whatever a file system raises into an error that names no folder."""
    try:
        return work(*given)
    except Exception as error:  # each file system has its own
        raise DeliveryError(
            f"Where source {folder.source.name} delivers cannot be looked into "
            f"({type(error).__name__}).",
            where=f"source {folder.source.name}",
            remedy="Mount the folder or reach its server, and let this account list it.",
            next_run="Looks again; what arrives meanwhile is not lost.",
        ) from None
