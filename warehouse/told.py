"""What a site has told outside, by pages and packs alike: what comes next goes on from there.

Whoever has the page of one night and a pack of the next can compare. So both are told by one rule
from one state: packs are recorded in the log, what pages told since is in `restricted/told.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.base import sealed
from pipelines.base.errors import StorageError
from pipelines.base.site import Site
from pipelines.base.storage import storing
from pipelines.disclosure.release import Release

Row = dict[str, Any]

#: The recorded fact of a pack.
EXPORTED = "PackExported"
FILE, PAGE = "told.json", "index.html"
_FORMAT = 1
_NUMBER = re.compile(r'<meta name="dripwatch-told" content="(\d+)">')
_HEAD_BYTES = 4096


class NotKnownError(StorageError):
    """What was told last is not known, so nothing new may be told."""


@dataclass(frozen=True)
class Told:
    """What is known outside.

    Attributes:
        number: how many states there were before this one; a page says which it shows.
        after_pack: number of the newest pack when it was told.
        state: hash of the warehouse that it was told of.
        releases: of each study, the counts that are told.
        figures: of a page, what else it told, by name; see `warehouse.report.held`.
        moved: of each study, the rows of all units that `state` told anew, before and now.
    """

    number: int = 0
    after_pack: int = 0
    state: str = ""
    releases: Mapping[str, Release] = field(default_factory=dict)
    figures: Mapping[str, Row] = field(default_factory=dict)
    moved: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        releases = {name: json.loads(one.to_json()) for name, one in sorted(self.releases.items())}
        told = {
            "format": _FORMAT,
            "number": self.number,
            "after_pack": self.after_pack,
            "state": self.state,
            "releases": releases,
            "figures": dict(sorted(self.figures.items())),
            "moved": {name: list(rows) for name, rows in sorted(self.moved.items())},
        }
        return json.dumps(told, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Told:
        """Return what was told from the text of `to_json`.

        Errors:
            ValueError, KeyError, TypeError: it is no such text.
        """
        told = json.loads(text)
        if told["format"] != _FORMAT:
            raise ValueError(told["format"])
        return cls(
            int(told["number"]),
            int(told["after_pack"]),
            str(told["state"]),
            {name: Release.from_json(json.dumps(one)) for name, one in told["releases"].items()},
            told["figures"],
            told["moved"],
        )


def load_told(site: Site, packs: Sequence[Row]) -> Told:
    """Return what a site has told so far; nothing where there is neither page nor pack.

    Args:
        site: whose.
        packs: its `PackExported` facts, oldest first.

    Errors:
        NotKnownError: the file is damaged or missing, or older than the page in its place.
    """
    path = site.restricted / FILE
    told = Told()
    try:
        told = Told.from_json(sealed.read_bytes(path).decode())
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, RecursionError, sealed.SealedError):
        raise _not_known(site, "is damaged") from None
    if number_of(site.report / PAGE) > told.number:
        raise _not_known(site, "is older than the page" if path.exists() else "is missing")
    return _after_packs(told, packs)


def _after_packs(told: Told, packs: Sequence[Row]) -> Told:
    """Return what is told with the packs that came after the last page."""
    newest = max((row["pack_number"] or 0 for row in packs), default=0)
    if newest <= told.after_pack:
        return told
    since = sorted((row for row in packs if row["release"]), key=lambda row: row["pack_number"])
    found = {
        row["study_id"]: Release.from_json(row["release"])
        for row in since
        if row["pack_number"] > told.after_pack
    }
    return replace(told, after_pack=newest, releases={**told.releases, **found})


def save_told(site: Site, told: Told) -> None:
    """Record what a page is about to tell; it is on the disk on return.

    Before the page, not after it: a page that is not there after a crash is taken as told.

    Errors:
        StorageError: it cannot be written.
    """
    path = site.restricted / FILE
    with storing("recording what the report tells", path):
        sealed.write_bytes(path, told.to_json().encode())


def begin_anew(site: Site) -> None:
    """Let the next page be held against packs alone, whatever pages have told.

    For pages that nobody outside has seen: while a hospital's history was still being loaded. The
    numbers of states go on, so that a backup of what was told before is older than the next page.

    Errors:
        StorageError: it cannot be recorded.
    """
    number = number_of(site.report / PAGE)
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, sealed.SealedError):
        text = sealed.read_bytes(site.restricted / FILE).decode()
        number = max(number, Told.from_json(text).number)
    save_told(site, Told(number))


def seal_again(site: Site) -> None:
    """Write what was told anew, as the site's settings and newest secret say, where it is there.

    Errors:
        StorageError: it cannot be written.
    """
    path = site.restricted / FILE
    if path.is_file():
        # A damaged one stays as it is: the next page or pack says so.
        with suppress(sealed.SealedError), storing("sealing what was told", path):
            sealed.copy(path, path)


def number_of(page: Path) -> int:
    """Return which state a page says that it shows; 0 where there is none, or it says nothing."""
    if not page.is_file():
        return 0
    with page.open(encoding="utf-8", errors="replace") as stream:
        found = _NUMBER.search(stream.read(_HEAD_BYTES))
    return int(found[1]) if found else 0


def _not_known(site: Site, what: str) -> NotKnownError:
    page = site.report / PAGE
    return NotKnownError(
        f"What pages have told is not known: {FILE} {what}.",
        where=str(site.restricted / FILE),
        remedy=f"Restore it from the newest backup. Without one, remove {FILE} and {page}: then "
        "pages begin anew, and whoever kept an old one can see what changed since, child by child.",
        next_run="The page stays as it is, and nothing is exported",
    )
