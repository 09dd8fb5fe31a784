"""Errors that a user can cause: what happened, where, what to do, and what the next run will do.

Each cause has its own class and its own exit code. Codes are stable: a number is never reused,
because hospitals wire them into their schedulers.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Process exit codes of every command; the meaning of a number never changes."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    CONFIG = 3
    KEY = 4
    DELIVERY = 5
    HELD = 6
    LOCKED = 7
    STORAGE = 8
    RECONCILIATION = 9
    SERVER = 10
    LOG = 11
    PROBLEMS = 12
    QUERY = 13
    PACK = 14
    LATE = 15
    INTERRUPTED = 130


#: One sentence for each code: printed by the documentation and checked for completeness by a test.
EXIT_MEANING: dict[ExitCode, tuple[str, str]] = {
    ExitCode.OK: ("Done, or nothing new to do.", "Nothing."),
    ExitCode.INTERNAL: (
        "A fault in Dripwatch itself.",
        "Keep the log and report it; the warehouse still holds the last good night.",
    ),
    ExitCode.USAGE: ("The command line was not understood.", "Read `dripwatch COMMAND --help`."),
    ExitCode.CONFIG: (
        "site.toml, a mapping or a study is wrong.",
        "Mend the line that the message names; nothing was read.",
    ),
    ExitCode.KEY: (
        "The site's key is missing, weak or readable by others.",
        "Set the variable or `chmod 600` the key file; never make a new key for an old log.",
    ),
    ExitCode.DELIVERY: (
        "A delivery could not be read.",
        "Ask for the delivery again; other deliveries of the night were not applied either.",
    ),
    ExitCode.HELD: (
        "At least one batch is held because too many of its rows were rejected.",
        "`dripwatch quarantine list`, then mend the mapping or `dripwatch quarantine release`.",
    ),
    ExitCode.LOCKED: ("Another run holds the site's lock.", "Wait for it, or see `doctor`."),
    ExitCode.STORAGE: (
        "A file could not be written, read or replaced.",
        "Free disk or mend permissions; the next run continues from the last committed batch.",
    ),
    ExitCode.RECONCILIATION: (
        "Rows in do not equal rows accounted for.",
        "Nothing was committed. Report it: this is never the hospital's fault.",
    ),
    ExitCode.SERVER: (
        "The configured Prefect server does not answer.",
        "Start it, or empty `[prefect] api_url` to run in-process.",
    ),
    ExitCode.LOG: (
        "The event log is damaged or was written under unknown schemas.",
        "Restore the named batch from backup; nothing was changed.",
    ),
    ExitCode.PROBLEMS: (
        "`doctor` or `study check` found something that would fail, or `replay` a table that is "
        "not what the log says.",
        "Each finding names its remedy.",
    ),
    ExitCode.QUERY: ("The SQL given to `dripwatch sql` is wrong.", "Mend the statement."),
    ExitCode.PACK: (
        "A pack for pooling is damaged, not from whom it says, old, or of another study.",
        "The message says which pack and why; ask that site for it again. `pool` pooled nothing; "
        "`coordinate` goes on with the packs of the others, and tells this before who is late.",
    ),
    ExitCode.LATE: (
        "At least one hospital's pack of this quarter is not there; what is there was pooled.",
        "Ask the hospitals that are named; when their packs come, the next run pools again.",
    ),
    ExitCode.INTERRUPTED: (
        "Stopped from the keyboard or by a signal.",
        "Run it again: it continues where it was.",
    ),
}


class DripwatchError(Exception):
    """A failure that the user can understand and mend; printed without a traceback.

    Attributes:
        what: what happened, one sentence, without any value of a patient.
        where: file, line, batch or row that it happened in.
        remedy: what to do about it.
        next_run: what the next run will do if nothing is done; None where it is obvious.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(
        self, what: str, *, remedy: str, where: str | None = None, next_run: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.next_run = next_run

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where:    {self.where}")
        lines.append(f"  remedy:   {self.remedy}")
        if self.next_run:
            lines.append(f"  next run: {self.next_run}")
        return "\n".join(lines)


class ConfigError(DripwatchError):
    """site.toml, a mapping or a study does not say what it must."""

    exit_code = ExitCode.CONFIG


class KeyFileError(DripwatchError):
    """The site's key is missing, too short, or readable by others."""

    exit_code = ExitCode.KEY


class DeliveryError(DripwatchError):
    """A delivered file cannot be read as its mapping says."""

    exit_code = ExitCode.DELIVERY


class LockedError(DripwatchError):
    """Another run is at work on this site."""

    exit_code = ExitCode.LOCKED


class StorageError(DripwatchError):
    """A file cannot be written, read or replaced."""

    exit_code = ExitCode.STORAGE


class PassingStorageError(StorageError):
    """A file could not be used now, and may be usable in a moment."""


class ReconciliationError(DripwatchError):
    """Rows read do not equal rows accounted for."""

    exit_code = ExitCode.RECONCILIATION


class ServerError(DripwatchError):
    """The configured Prefect server does not answer."""

    exit_code = ExitCode.SERVER


class LogError(DripwatchError):
    """A committed batch is damaged, incomplete or written under an unknown schema."""

    exit_code = ExitCode.LOG


class QueryError(DripwatchError):
    """The user's SQL cannot be run."""

    exit_code = ExitCode.QUERY


class PackError(DripwatchError):
    """A site's pack cannot be pooled: it was changed, repeats an old one, or counts another way."""

    exit_code = ExitCode.PACK
