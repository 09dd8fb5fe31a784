"""Packs that arrive: verified and moved to the coordinator's own folder, or refused and set apart.

What is pooled is read from that folder alone, so a sender who writes over a pack that was good
changes nothing.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.base.errors import PackError
from pipelines.base.files import fsync_path, write_durably
from pipelines.base.storage import storing
from pipelines.pooling.packs import MANIFEST, SIGNATURE, Pack, read_pack

#: Characters of a folder's name: with the ending of its reason it is still a name.
_LONGEST_NAME = 50

#: SHA-256 of packs that are known, by site and number.
Known = Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class Refusal:
    """A pack that was not believed.

    Attributes:
        name: of its folder in the inbox.
        what: why.
        site_id: whose it is, where that is certain: its signature was right.
    """

    name: str
    what: str
    site_id: str | None = None


@dataclass
class Intake:
    """What became of the inbox.

    Attributes:
        taken: packs that are new.
        refused: those that were not believed.
        n_arriving: folders that may still be growing.
        n_again: packs that were known.
    """

    taken: list[Pack] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    n_arriving: int = 0
    n_again: int = 0


@dataclass(frozen=True)
class Inbox:
    """Where packs arrive, and where they go.

    Attributes:
        inbox, packs, refused, keys: folders; see coordinator.toml.
        sites: that are expected.
        settle_seconds: see coordinator.toml.
    """

    inbox: Path
    packs: Path
    refused: Path
    keys: Path
    sites: Collection[str]
    settle_seconds: float = 60.0

    def take_in(self, pooled: Known) -> Intake:
        """Empty the inbox.

        Args:
            pooled: packs that the pooled file knows.

        Errors:
            StorageError: something cannot be moved.
        """
        found = Intake()
        with storing("taking in packs", self.inbox):
            self.inbox.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.inbox.iterdir()):
                if not path.name.startswith("."):
                    self._take(path, {**pooled, **self.known()}, found)
        return found

    def known(self) -> dict[tuple[str, int], str]:
        """Return the packs that were taken in, told by the names of their folders."""
        found = {}
        for path in self.packs.glob("*/*-*"):
            number, _, sha = path.name.partition("-")
            if number.isdigit():
                found[path.parent.name, int(number)] = sha
        return found

    def kept(self, site_id: str, pooled: Known) -> tuple[list[Pack], str]:
        """Return the packs of a site that may be pooled, the newest first, and what is wrong.

        All are verified again: a key may have been withdrawn, a file damaged. What is older than
        the pack that was pooled last would bring back old figures.
        """
        newest = max((number for site, number in pooled if site == site_id), default=0)
        numbered = sorted(
            ((n, sha) for (site, n), sha in self.known().items() if site == site_id), reverse=True
        )
        packs, notes = [], []
        for number, sha in numbered:
            if number < newest or pooled.get((site_id, number), sha) != sha:
                continue
            try:
                pack = read_pack(self.folder_of(site_id, number, sha), self.keys)
            except PackError as error:
                notes.append(f"Pack {number} is no longer believed: {error.what}")
                continue
            packs.append(pack)
        return packs, " ".join(notes)

    def folder_of(self, site_id: str, number: int, sha: str) -> Path:
        """Return where a pack lies that was taken in."""
        return self.packs / site_id / f"{number:04d}-{sha}"

    def _take(self, path: Path, known: Known, found: Intake) -> None:
        try:
            pack = _whole(path, self.keys)
            self._check(pack, known)
            found.taken.append(self._keep(pack, path))
        except _KnownError:
            found.n_again += 1
            _remove(path)
        except _NotNewError as error:
            self._refuse(path, found, error.what, error.site_id)
        except PackError as error:
            if _age_seconds(path) < self.settle_seconds:
                found.n_arriving += 1
            else:
                self._refuse(path, found, error.what, None)

    def _check(self, pack: Pack, known: Known) -> None:
        """Raise where a pack is not expected, not new or not the newest."""
        site_id, number = pack.site_id, pack.number
        if site_id not in self.sites:
            what = f"{site_id} is not among the sites that are expected."
            raise _NotNewError(what, site_id)
        same = known.get((site_id, number))
        newest = max((n for site, n in known if site == site_id), default=0)
        if same == pack.sha256 and self._is_kept(pack):
            raise _KnownError
        if same not in {None, pack.sha256}:
            raise _NotNewError(f"Another pack {number} of {site_id} is known.", site_id)
        if number < newest:
            what = f"Pack {number} of {site_id} is older than its pack {newest}, which is here."
            raise _NotNewError(what, site_id)

    def _is_kept(self, pack: Pack) -> bool:
        """Whether a known pack lies here as it came; else it was sent again for a reason."""
        try:
            read_pack(self.folder_of(pack.site_id, pack.number, pack.sha256), self.keys)
        except PackError:
            return False
        return True

    def _keep(self, pack: Pack, path: Path) -> Pack:
        """Copy a pack to its place and return it as it lies there.

        Errors:
            PackError: it was changed while it was copied.
        """
        place = self.folder_of(pack.site_id, pack.number, pack.sha256)
        aside = self.packs / f".{place.name}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name in (*pack.facts["files"], MANIFEST, SIGNATURE):
            write_durably(aside / name, (path / name).read_bytes())
        copied = read_pack(aside, self.keys)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():  # damaged
            shutil.rmtree(place)
        aside.rename(place)
        fsync_path(place.parent)
        _remove(path)
        return Pack(place, copied.facts, copied.sha256, copied.tables)

    def _refuse(self, path: Path, found: Intake, what: str, site_id: str | None) -> None:
        self.refused.mkdir(parents=True, exist_ok=True)
        place = _free(self.refused / path.name[:_LONGEST_NAME])
        try:
            shutil.move(path, place)
        except OSError:
            # Its sender's alone: one hospital's folder must not stop the round of all others.
            shutil.rmtree(place, ignore_errors=True)
            what = f"{what} It can't be moved out of the inbox: it is another account's."
        else:
            write_durably(place.with_name(f"{place.name}.reason.txt"), f"{what}\n".encode())
        found.refused.append(Refusal(path.name, what, site_id))


class _KnownError(Exception):
    """The very pack is here."""


class _NotNewError(Exception):
    """A pack is whole, from its site, and not to be used."""

    def __init__(self, what: str, site_id: str) -> None:
        super().__init__(what)
        self.what, self.site_id = what, site_id


def _whole(path: Path, keys: Path) -> Pack:
    if path.is_symlink() or not path.is_dir():
        raise PackError(
            "A pack is a folder, as `dripwatch export` writes it.",
            where=str(path),
            remedy="Unpack it, or ask the site for the folder.",
        )
    return read_pack(path, keys)


def _age_seconds(path: Path) -> float:
    """Return for how long nothing of a folder has changed, by what no sender can set."""
    changed = []
    # A sender may have closed the folder, or take away files while it is looked at.
    with suppress(OSError):
        changed.append(path.lstat().st_ctime)
        inside: Iterable[Path] = path.iterdir() if path.is_dir() else ()
        changed += [one.lstat().st_ctime for one in inside]
    return time.time() - max(changed, default=time.time())


def _remove(path: Path) -> None:
    """Remove a folder whose content is kept; where that is not allowed, it is known next time."""
    with suppress(OSError):
        shutil.rmtree(path)


def _free(path: Path) -> Path:
    """Return a path that is not taken, with a number behind it where it must be."""
    found, number = path, 1
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found
