"""What is encrypted where it lies, and under which keys: by the folder that a file is in.

`load_site` makes a site known here. So a writer needs not be told, and none can forget: whatever
lies below a restricted folder is encrypted where `[privacy] encrypt` says so, and what was written
under other settings, or before the key was renewed, can still be read.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.base.errors import KeyFileError

if TYPE_CHECKING:
    from pipelines.base.site import Site

KEY_ID_BYTES = 8

#: Environment variable with the key of a published warehouse, for whoever has no more than that.
WAREHOUSE_KEY = "DRIPWATCH_WAREHOUSE_KEY"

#: For Parquet that one process writes and reads again: nobody needs it once the process has ended.
#: DuckDB takes such a key in the text of a statement alone, where no lasting one may stand.
SCRATCH_KEY = secrets.token_bytes(32)


@dataclass(frozen=True)
class Master:
    """What the keys of files are made from: one secret of a site's key, under a name of its own.

    Attributes:
        id: which secret, told in every encrypted file; nothing follows from it.
        secret: 32 bytes, in no file.
    """

    id: bytes
    secret: bytes = field(repr=False)

    def derive(self, purpose: str, salt: bytes | None = None) -> bytes:
        """Return 32 bytes for one purpose. Source: RFC 5869 (HKDF), with SHA-256."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = b"dripwatch at rest " + purpose.encode()
        return HKDF(SHA256(), 32, salt=salt, info=info).derive(self.secret)


_SITES: dict[Path, Site] = {}
#: The restricted folder of the site that publishes a file.
_PUBLISHED: dict[Path, Path] = {}
_MASTERS: dict[Path, tuple[Master, ...]] = {}


def know(site: Site) -> None:
    """Let what lies in a site's restricted folder be read and written as the site says."""
    folder = _normal(site.restricted)
    _SITES[folder] = site
    _PUBLISHED[_normal(site.warehouse)] = folder
    _MASTERS.pop(folder, None)


def know_published(path: Path, site: Site) -> None:
    """Let a warehouse that is made beside a site be read with the site's key, if it needs one."""
    _PUBLISHED[_normal(path)] = _normal(site.restricted)


def forget_keys(site: Site) -> None:
    """Read the site's key again when it is next needed: it has been renewed."""
    _MASTERS.pop(_normal(site.restricted), None)


def encrypts(path: Path) -> bool:
    """Return whether what is written to a path is to be encrypted."""
    folder = folder_of(path)
    return folder is not None and _SITES[folder].privacy.encrypt


def encrypts_any() -> bool:
    """Return whether any site that is known here encrypts."""
    return any(site.privacy.encrypt for site in _SITES.values())


def spill_folder() -> Path | None:
    """Return where the one site that is known here spills; None where it is not made, or not one.

    Without a folder of its own a connection would spill into the one that a run was started in.
    """
    found = [site.spill for site in _SITES.values()]
    return found[0] if len(found) == 1 and found[0].is_dir() else None


def masters(path: Path) -> tuple[Master, ...]:
    """Return what the keys of a file can have been made from, newest first.

    Errors:
        KeyFileError: the site's key cannot be read, or the file is in no site's restricted folder.
    """
    folder = folder_of(path) or _PUBLISHED.get(_normal(path)) or _beside(path)
    if folder is None:
        raise KeyFileError(
            "This file is encrypted, and belongs to no site whose settings were read.",
            where=str(path),
            remedy=f"A published warehouse opens with its key in {WAREHOUSE_KEY} "
            "(`dripwatch key warehouse` at its site tells it); other files where they were.",
        )
    if folder not in _MASTERS:
        _MASTERS[folder] = _made(_SITES[folder])
    return _MASTERS[folder]


def wrong_key(path: Path) -> KeyFileError:
    """Return the error of a file that no secret of the site's key opens."""
    return KeyFileError(
        "A file is encrypted under another key than the site's.",
        where=str(path),
        remedy="Restore the site's key, all lines of it, from its backup (`[key]` in site.toml "
        "says where it belongs). A key that was made anew opens nothing. If it is this file alone, "
        "it is damaged: restore it from its backup.",
        next_run="stops here again; nothing was changed",
    )


def _made(site: Site) -> tuple[Master, ...]:
    from pipelines.base.keys import load_key

    key = load_key(site)
    chain = (key.before(number) for number in range(key.n_renewals, -1, -1))
    return tuple(
        Master(one.derive("at rest id", KEY_ID_BYTES), one.derive("at rest")) for one in chain
    )


def below(path: Path) -> tuple[str, ...]:
    """Return the parts of a path below its restricted folder; all of them where it is in none."""
    whole = _normal(path)
    folder = folder_of(path)
    return whole.relative_to(folder).parts if folder else whole.parts


def folder_of(path: Path) -> Path | None:
    """Return the restricted folder that a path lies in; None where no site is known to have it."""
    if not _SITES:
        return None
    whole = _normal(path)
    return next((one for one in (whole, *whole.parents) if one in _SITES), None)


def _beside(path: Path) -> Path | None:
    """Return the restricted folder of the site in whose own folder a path lies: of another date."""
    whole = _normal(path)
    found = (one for one, site in _SITES.items() if whole.is_relative_to(_normal(site.root)))
    return next(found, None)


def _normal(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve would follow links
