"""The journal: what a run says and does, a JSON object a line, for machines that watch machines.

It holds what the console says and no more: no value, key, name or date of a patient. Each line has
the run's id, a level, a stage and a kind; `jq` finds a night in it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TypeVar

from flows.conduct import HasConsole, safe_error
from flows.console import Console, Step
from flows.reply import as_ours
from flows.run import RunResult, Stage, StageResult
from pipelines.base.errors import DripwatchError
from pipelines.base.files import make_private
from pipelines.base.site import Site

ContextT = TypeVar("ContextT", bound=HasConsole)

#: A run writes some ten kilobytes: a file lasts a year or so, and all of them ten.
MAX_BYTES = 4 << 20
KEPT_FILES = 9


def journal_path(site: Site) -> Path:
    """Return the path of a site's journal; older ones lie beside it, with a number."""
    return site.restricted / "journal" / "dripwatch.jsonl"


class Journal:
    """The journal of one run of a site; `restricted/journal/dripwatch.jsonl`, 0600.

    What is written before `open` waits for it, so that a run that is refused leaves no trace in the
    folder of a site that never ran. A journal that cannot be written never costs a night.

    Attributes:
        path: its file.
        run_id: the run's id.
        console: the run's console; whatever is said there is written here too.
    """

    def __init__(self, site: Site, run_id: str, console: Console) -> None:
        self.path = journal_path(site)
        self.console: Console = _Overheard(console, self)
        self.run_id = run_id
        self._head = {"site_id": site.site.id, "run_id": run_id}
        self._stage: str | None = None
        # A logger of its own: what a library's settings do to the others does not reach it.
        self._logger = logging.Logger("dripwatch.journal")
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._handler: _Lines | None = None
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether the run has begun to write, or would have if it could."""
        return self._is_open

    def open(self, *, make: bool = True) -> None:
        """Begin to write.

        Args:
            make: make the journal, and begin a new file where it has grown long, which only the
                holder of the site's lock may do. False: write only if there is one.
        """
        if self._handler or not (make or self.path.exists()):
            return
        self._is_open = True
        try:
            make_private(self.path.parent)
            self._handler = _Lines(self.path, backupCount=KEPT_FILES)
            if make and self.path.stat().st_size > MAX_BYTES:
                self._handler.doRollover()
        except OSError:
            return
        self._logger.addHandler(self._handler)
        for level, line in self._waiting:
            self._logger.log(level, line)
        self._waiting.clear()

    def close(self) -> None:
        """Close the file; what waits for it is dropped."""
        if self._handler:
            self._logger.removeHandler(self._handler)
            with suppress(OSError):  # it writes what is left, and the disk may be full
                self._handler.close()
            self._handler = None
        self._waiting.clear()

    def write(
        self, kind: str, message: str = "", *, level: int = logging.INFO, **facts: object
    ) -> None:
        """Write a line.

        Args:
            kind: what it is about, such as `stage_ended`; one of few words, for filters.
            message: a sentence, without patient data.
            level: of `logging`.
            facts: further members, JSON-ready; those that are None are left out.
        """
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": logging.getLevelName(level).lower(),
            **self._head,
            "stage": self._stage,
            "kind": kind,
            "message": message,
            **{name: value for name, value in facts.items() if value is not None},
        }
        if self._handler:
            self._logger.log(level, line)
        else:
            self._waiting.append((level, line))

    def failed(self, error: DripwatchError, kind: str = "run_failed") -> None:
        """Write how the run, or a stage, failed."""
        self.write(
            kind,
            error.what,
            level=logging.ERROR,
            error=type(error).__name__,
            exit_code=int(error.exit_code),
            where=error.where,
            remedy=error.remedy,
        )

    def ended(self, result: RunResult) -> None:
        """Write what must be said of a run, and that it ended."""
        for remark in result.remarks:
            self.write("remark", remark, level=logging.WARNING)
        self.write(
            "run_ended",
            result.sentence,
            exit_code=int(result.exit_code),
            seconds=round(result.seconds, 3),
            n_new_batches=result.n_new_batches,
            n_held=len(result.held),
            is_changed=result.is_changed,
        )

    def over(self, stages: Sequence[Stage[ContextT]]) -> list[Stage[ContextT]]:
        """Return the same stages, whose beginnings and ends are written."""
        return [replace(stage, work=self._watched(stage)) for stage in stages]

    def _watched(self, stage: Stage[ContextT]) -> Any:  # noqa: ANN401 - the stage's own work
        def work(context: ContextT, step: Step) -> StageResult:
            self._stage, began = stage.name, time.monotonic()
            self.write("stage_started")
            try:
                result = stage.work(context, step)
                self._stage_ended(result, time.monotonic() - began)
            except Exception as error:
                self.failed(safe_error(error), "stage_failed")
                raise
            finally:
                self._stage = None
            return result

        return work

    def _stage_ended(self, result: StageResult, seconds: float) -> None:
        self.write(
            "stage_ended",
            result.note,
            seconds=round(seconds, 3),
            rows_in=result.rows_in,
            rows_out=result.rows_out,
            quarantined=result.quarantined,
            held=result.held,
        )


@contextmanager
def journal_of(site: Site, run_id: str, console: Console) -> Iterator[Journal]:
    """Keep the journal of a run while the `with` block lasts; the block opens it.

    How the block fails is written, also where it never came to open the journal.
    """
    journal = Journal(site, run_id, console)
    try:
        yield journal
    except Exception as error:
        journal.open(make=False)
        journal.failed(as_ours(error))
        raise
    except BaseException:
        journal.write("run_stopped", "Stopped by a signal.", level=logging.WARNING)
        raise
    finally:
        journal.close()


def written_by(site: Site, run_id: str) -> list[dict[str, Any]]:
    """Return what a run wrote into its site's journal, as far as it is still kept.

    Errors:
        OSError: a file cannot be read.
    """
    folder, found = journal_path(site).parent, []
    marker = f'"run_id": "{run_id}"'.encode("ascii")
    # The higher its number, the older the file.
    files = sorted(folder.glob("dripwatch.jsonl*"), key=lambda path: -_number(path))
    for line in (line for path in files for line in path.read_bytes().splitlines()):
        if marker in line:
            with suppress(ValueError):  # a line that a crash cut off
                found.append(json.loads(line))
    return found


def _number(path: Path) -> int:
    end = path.suffix.removeprefix(".")
    return int(end) if end.isdigit() else 0


class _Lines(RotatingFileHandler):
    """A file for its owner alone; a full disk is no reason to stop, nor to say anything twice."""

    def __init__(self, path: Path, **options: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(path, **options)
        self.setFormatter(_AsJson())

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="ascii", opener=_private)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Say nothing: the run itself will meet the same disk, and tell."""


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the line, whose members stand in the record's message."""
        return json.dumps(record.msg, ensure_ascii=True, default=str)


class _Overheard:
    """A console whose every sentence goes to the journal too; its tables are of the result."""

    def __init__(self, console: Console, journal: Journal) -> None:
        self._console, self._journal = console, journal

    def say(self, text: str) -> None:
        """Print a line for the reader, and write it down."""
        self._console.say(text)
        self._journal.write("said", text)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table."""
        self._console.table(title, header, rows)

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Show a stage while the `with` block lasts."""
        return self._console.step(name)
