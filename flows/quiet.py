"""Keeping libraries from speaking: their logs quote what they work on."""

from __future__ import annotations

import logging

#: Libraries that log at work; their errors reach us as exceptions as well.
LIBRARIES = ("alembic", "apache_beam", "great_expectations", "prefect", "sqlalchemy")


def hush_libraries() -> None:
    """Silence the libraries' logs, also where a library has set levels of its own."""
    for name in (*LIBRARIES, *logging.root.manager.loggerDict):
        if name.split(".")[0] in LIBRARIES:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
