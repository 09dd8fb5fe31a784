"""Keeping libraries from speaking: their logs quote what they work on."""

from __future__ import annotations

import logging

#: Libraries that log at work; their errors reach us as exceptions as well.
LIBRARIES = ("alembic", "apache_beam", "great_expectations", "prefect", "sqlalchemy")


def hush_libraries() -> None:
    """Silence the libraries' logs for good, whatever levels they set on import."""
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        # Their modules may give their own loggers a level; here their records end.
        logger.propagate = False
        logger.handlers = [logging.NullHandler()]
