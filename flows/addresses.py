"""Addresses of those who are told of alerts, with secrets filled in from the environment."""

from __future__ import annotations

import os
import string
from typing import Literal
from urllib.parse import quote, urlsplit

from pipelines.base.errors import ConfigError
from pipelines.base.site import Site

Receiver = Literal["webhook", "mail"]
#: How an address of each must begin; Apprise knows many more, none of which is an e-mail.
_SCHEMES = {"webhook": ("http", "https"), "mail": ("mailto", "mailtos")}


def address(site: Site, name: str) -> str:
    """Return the address of a receiver in [announce], `$NAME` replaced; empty where none is set.

    Errors:
        ConfigError: a variable is not set, or it is no such address.
    """
    text = str(getattr(site.announce, name))
    where = f"{site.config_path}, [announce] {name}"
    try:
        given = string.Template(text).substitute(_Quoted(name == "mail"))
    except (KeyError, ValueError):
        raise ConfigError(
            "An address names a variable that the environment does not have, or has a lone `$`.",
            where=where,
            remedy="Set the variable for this account; write `$$` for a dollar sign.",
        ) from None
    if given and (urlsplit(given).scheme not in _SCHEMES[name] or not urlsplit(given).netloc):
        raise ConfigError(
            f"This is no address of a {name}.",
            where=where,
            remedy=f"Begin it with {' or '.join(one + '://' for one in _SCHEMES[name])}.",
        )
    return _as_text(given) if name == "mail" and given else given


def _as_text(given: str) -> str:
    """Ask for a plain text; Apprise would write HTML."""
    query = urlsplit(given).query
    return given if "format=" in query else f"{given}{'&' if query else '?'}format=text"


class _Quoted(dict[str, str]):
    """The environment; in an e-mail's address a password may hold signs that mean something."""

    def __init__(self, is_quoted: bool) -> None:  # noqa: FBT001 - private
        super().__init__()
        self.is_quoted = is_quoted

    def __missing__(self, name: str) -> str:
        value = os.environ[name]
        return quote(value, safe="") if self.is_quoted else value
