"""Who asked the map of identifiers, when and why: a line each, sealed, and never about whom.

A reason is free text, and people write names into it. Each line is sealed alone, so that one can be
added while another is damaged; that a line was taken away shows nowhere.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from pipelines.base import sealed
from pipelines.base.errors import KeyFileError
from pipelines.base.files import alone_with, append_line, make_private, write_durably
from pipelines.base.site import Site
from pipelines.base.storage import storing

_SEALED = "sealed"


class Asked:
    """The notes of a site, oldest first.

    Args:
        site: whose.
    """

    def __init__(self, site: Site) -> None:
        self.path: Path = site.restricted / "idmap" / "asked.jsonl"

    def add(self, told: dict[str, Any]) -> None:
        """Add a note; it is on the disk on return.

        Errors:
            StorageError: it cannot be written.
            KeyFileError: the site's key cannot be read.
        """
        with storing("noting that the map was asked", self.path):
            make_private(self.path.parent)  # there is none before the first patient
            append_line(self.path, self._sealed(json.dumps(told).encode()))

    def notes(self) -> tuple[list[dict[str, Any]], int]:
        """Return the notes, and how many lines cannot be read or are not sealed.

        Errors:
            StorageError: the file cannot be read.
            KeyFileError: all that can be read is sealed under another key than the site's.
        """
        found, n_unread, wrong = [], 0, None
        for line in self._lines():
            try:
                found.append(dict(json.loads(self._opened(line))))
            except KeyFileError as error:
                n_unread, wrong = n_unread + 1, error
            except (ValueError, KeyError, TypeError, sealed.SealedError):
                n_unread += 1
        if wrong is not None and not found:
            raise wrong
        return found, n_unread

    def seal_again(self) -> None:
        """Seal every line under the newest secret, where there are any; others stay as they are.

        Errors:
            StorageError: the file cannot be written; nothing has changed.
        """
        if not self.path.exists():
            return
        with storing("sealing the notes of who asked anew", self.path), alone_with(self.path):
            lines = [self._again(line) for line in self._lines()]
            write_durably(self.path, "".join(f"{one}\n" for one in lines).encode(), mode=0o600)

    def _lines(self) -> list[str]:
        with storing("reading who asked the map", self.path):
            if not self.path.exists():
                return []
            text = self.path.read_text(encoding="utf-8", errors="replace")
        return [line for line in text.split("\n") if line]

    def _again(self, line: str) -> str:
        try:
            return self._sealed(self._opened(line))
        except (KeyFileError, ValueError, KeyError, TypeError, sealed.SealedError):
            return line

    def _sealed(self, note: bytes) -> str:
        return json.dumps({_SEALED: base64.b64encode(sealed.seal(note, self.path)).decode()})

    def _opened(self, line: str) -> bytes:
        """Return a note; whoever cannot seal one could have written a plain line."""
        text = json.loads(line)[_SEALED]
        return sealed.unseal(base64.b64decode(text, validate=True), self.path)
