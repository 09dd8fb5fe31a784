"""Where the site's secret key comes from: environment, keyring or a private file.

A key is 64 or more hex digits. Where it was renewed, later secrets follow the first, one a line
(in the environment and a keyring also separated by commas); all of them are needed.
"""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Callable
from typing import Any

from pipelines.base import vault
from pipelines.base.errors import KeyFileError
from pipelines.base.files import write_durably
from pipelines.base.private import read_private
from pipelines.base.site import Site
from pipelines.base.sitekey import SiteKey as SiteKey  # part of what this module offers
from pipelines.base.sitekey import encode_parts as encode_parts

MIN_KEY_BYTES = 32
_MIN_DISTINCT_BYTES = 8
_KEEP = "Never make a new key for a site that has a log: all its keys would change."


def new_key() -> str:
    """Return a fresh key of 32 random bytes as hex digits."""
    return secrets.token_hex(MIN_KEY_BYTES)


def load_key(site: Site) -> SiteKey:
    """Read the site's key: from the environment, else the keyring, else the file.

    Errors:
        KeyFileError: absent, malformed, weak, or a file that others can read or that isn't ours;
            a keyring that is named and can't be asked.
    """
    text, where = _source(site)
    return _parse(text, where)


def key_source(site: Site) -> str:
    """Return where the key is read from, for people: never the key."""
    if os.environ.get(site.key.env) is not None:
        return f"environment variable {site.key.env}"
    if site.key.keyring:
        return f"keyring {site.key.keyring}"
    return str(site.at(site.key.file))


def _source(site: Site) -> tuple[str, str]:
    where = key_source(site)
    if (text := os.environ.get(site.key.env)) is not None:
        return text, where
    if site.key.keyring:
        return _asked(site, where), where
    absent = KeyFileError(
        "The site has no key.",
        where=where,
        remedy=f"Set {site.key.env}, or restore the key file from its backup. {_KEEP}",
    )
    return read_private(site.at(site.key.file), "The key file", absent), where


def _asked(site: Site, where: str) -> str:
    found = _keyring(where, lambda ring: ring.get_password(site.key.keyring, site.site.id))
    if found is None:
        raise KeyFileError(
            f"The keyring has no key of site {site.site.id}.",
            where=where,
            remedy=f"`keyring set {site.key.keyring} {site.site.id}` as the account of the "
            f"refresh. {_KEEP}",
        )
    return str(found)


def _keyring(where: str, ask: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - an optional library
    try:
        return ask(importlib.import_module("keyring"))
    except ImportError:
        raise KeyFileError(
            "The key is said to be in a keyring, and Python's `keyring` is not installed.",
            where=where,
            remedy="pip install keyring, or empty `[key] keyring` and use the file.",
        ) from None
    except Exception:  # its text could quote what it holds
        raise KeyFileError(
            "The keyring could not be asked: it is locked, or has no backend.",
            where=where,
            remedy="Unlock it for the account of the refresh, or use the file.",
        ) from None


def add_secret(site: Site) -> None:
    """Add a fresh secret to the end of the site's key, in the file or keyring that it is in.

    Whoever reads the key meanwhile reads it with or without the secret; a log that was written
    without it is still read and written without it.

    Errors:
        KeyFileError: the key comes from the environment, which only its owner can change.
        OSError: the file cannot be written.
    """
    text, where = _source(site)
    _parse(text, where)
    longer = "\n".join([*_lines(text), new_key()]) + "\n"
    if os.environ.get(site.key.env) is not None:
        raise KeyFileError(
            "The key comes from the environment, which Dripwatch cannot change.",
            where=where,
            remedy="Append a comma and a new secret (`openssl rand -hex 32`) to the variable, "
            "keep what was there, and run this again.",
        )
    if site.key.keyring:
        name = site.key.keyring
        _keyring(where, lambda ring: ring.set_password(name, site.site.id, longer.strip()))
    else:
        write_durably(site.at(site.key.file), longer.encode(), mode=0o600)
    vault.forget_keys(site)


def _lines(text: str) -> list[str]:
    return text.replace(",", "\n").strip().splitlines()


def _parse(text: str, where: str) -> SiteKey:
    """Return the key that hex digits spell; no error shows any of them."""
    first, *later = (_secret(line, where) for line in _lines(text) or [""])
    if len({first, *later}) <= len(later):
        raise KeyFileError(
            "The key holds one secret twice.",
            where=where,
            remedy="Keep each once, in the order in which they were added.",
        )
    return SiteKey(first, tuple(later))


def _secret(line: str, where: str) -> bytes:
    digits = line.strip()
    if not digits:
        raise KeyFileError(
            "The key is empty.",
            where=where,
            remedy=f"Give it the site's key, or unset the variable to use the file. {_KEEP}",
        )
    if not digits.isascii() or not digits.isalnum():  # fromhex would skip spaces inside
        raise _malformed(where)
    try:
        secret = bytes.fromhex(digits)
    except ValueError:
        raise _malformed(where) from None
    if len(secret) < MIN_KEY_BYTES:
        raise KeyFileError(
            f"The key has {len(secret)} bytes; it needs {MIN_KEY_BYTES} or more.",
            where=where,
            remedy=f"Check that it was copied whole (64 or more hex digits). {_KEEP}",
        )
    if len(set(secret)) < _MIN_DISTINCT_BYTES:
        raise KeyFileError(
            "The key is no random number: it repeats few bytes.",
            where=where,
            remedy=f"Use the key that was made for this site. {_KEEP}",
        )
    return secret


def _malformed(where: str) -> KeyFileError:
    return KeyFileError(
        "The key is not written in hex digits.",
        where=where,
        remedy=f"It must be 64 or more of 0-9 and a-f on one line. {_KEEP}",
    )
