"""What one profile is asked for, passed along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb

from pipelines.sources.profile.known import Known
from pipelines.sources.profile.report import Problem


@dataclass(frozen=True)
class Asked:
    """The settings of one profile, and where problems are noted.

    Attributes:
        con: scratch database.
        known: codes that studies name.
        min_cell: smallest count that is told.
        top: codes told per code system.
        problems: files that could not be read; added to.
        advance: called with a note for each piece that is done.
    """

    con: duckdb.DuckDBPyConnection
    known: Known
    min_cell: int
    top: int
    problems: list[Problem]
    advance: Callable[[str], None]
