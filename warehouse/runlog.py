"""The log of runs: JSON lines that are only added to; `ops.run` is loaded from it.

The store is a cache of the event log, which knows no runs. What each run did is kept here, so that
it outlives a store that is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from pipelines.base.files import append_line, make_private
from pipelines.base.site import Site
from warehouse.run import RunRecord

#: Raised when a line comes to mean something else; lines of a later form are left alone.
FORMAT = 1
KILLED = "killed"

_TIMES = ("started_at", "finished_at")


@dataclass(frozen=True)
class LoggedRun:
    """A run as the log tells it.

    Attributes:
        record: its row of `ops.run`; one that never ended is `running`.
        state_hash: hash of what it published; None where it published nothing.
        result: what it found and did, as `--json` told it; None where it never ended.
    """

    record: RunRecord
    state_hash: str | None = None
    result: dict[str, Any] | None = None

    def line(self) -> str:
        """Return the run as one line of JSON, without patient data as its parts are."""
        told = {"format": FORMAT, **asdict(self.record), "state_hash": self.state_hash}
        return json.dumps({**told, "result": self.result}, default=_text, ensure_ascii=True)


def _text(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(type(value).__name__)
    return value.astimezone(UTC).isoformat()


class RunLog:
    """The runs of one site, a file of JSON lines a month under `restricted/runs` (0700)."""

    def __init__(self, site: Site) -> None:
        self.root = site.restricted / "runs"

    def append(self, run: LoggedRun) -> None:
        """Add a line; the last line of a run counts. It is on the disk on return.

        Errors:
            OSError: the file cannot be written; at most half a line is there, which nobody reads.
        """
        path = make_private(self.root) / f"{run.record.started_at.astimezone(UTC):%Y-%m}.jsonl"
        append_line(path, run.line())

    def read(self, *, months: int = 0) -> list[LoggedRun]:
        """Return the runs by their ids, that is, by their start.

        Lines that a crash cut off are left out, and so are those of later versions.

        Args:
            months: only the runs of so many of the last months that had any; 0 for all.

        Errors:
            OSError: a file cannot be read.
        """
        found: dict[str, LoggedRun] = {}
        for path in sorted(self.root.glob("*.jsonl"))[-months:]:
            for line in path.read_bytes().splitlines():
                if run := _parsed(line):
                    found[run.record.run_id] = run
        return [found[run_id] for run_id in sorted(found)]

    def records(self, *, months: int = 0) -> Iterator[dict[str, object]]:
        """Yield the rows of `ops.run`; who never ended, and is no more at work, was killed.

        Args:
            months: as `read`.
        """
        for run in self.read(months=months):
            row = run.record.row(run.state_hash)
            yield row | {"status": KILLED} if row["status"] == "running" else row


def _parsed(line: bytes) -> LoggedRun | None:
    try:
        told = json.loads(line)
        if told.pop("format") != FORMAT:
            return None
        for name in _TIMES:
            told[name] = told[name] and datetime.fromisoformat(told[name])
        own = {one.name: told[one.name] for one in fields(RunRecord)}
        return LoggedRun(RunRecord(**own), told["state_hash"], told["result"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
